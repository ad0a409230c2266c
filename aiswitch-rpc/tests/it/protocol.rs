//! The aiswitch protocol on the wire, and `PROTOCOL.md` against the code.

use aiswitch_rpc::protocol::{
    AgentId, AgentInitialize, AgentRestart, AgentShutdown, AgentStatus, EnvRollback, EnvSnapshot, EnvSwitch,
    Kind, METHODS, MetricsQuery, MetricsReport, PermissionMode, PermissionRequest, Sender, TaskAssign,
    TaskCancel, TaskId, TaskOutput, TaskResult, TaskResultGet, TaskStatus, TaskStatusGet, TokensUsage,
};
use aiswitch_rpc::{NotificationMethod, RequestMethod};
use serde_json::json;

const PROTOCOL: &str = include_str!("../../PROTOCOL.md");

#[test]
fn the_table_of_methods_is_that_of_the_document() {
    let rows: Vec<String> = PROTOCOL
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).take(4).collect::<Vec<_>>().join("|"))
        .collect();
    let table: Vec<String> = METHODS
        .iter()
        .map(|(name, sender, kind)| {
            let sender = match sender {
                Sender::Coordinator => "coordinator",
                Sender::Agent => "agent",
                Sender::Both => "both",
            };
            let kind = match kind {
                Kind::Request => "request",
                Kind::Notification => "notification",
            };
            format!("|`{name}`|{sender}|{kind}")
        })
        .collect();
    assert_eq!(rows, table);
}

#[test]
fn every_method_of_the_table_has_its_marker_type() {
    let requests = [
        AgentInitialize::NAME,
        AgentShutdown::NAME,
        AgentStatus::NAME,
        AgentRestart::NAME,
        TaskAssign::NAME,
        TaskStatusGet::NAME,
        TaskResultGet::NAME,
        PermissionRequest::NAME,
        EnvSwitch::NAME,
        EnvSnapshot::NAME,
        EnvRollback::NAME,
        MetricsQuery::NAME,
    ];
    let notifications = [TaskCancel::NAME, TaskOutput::NAME, MetricsReport::NAME, TokensUsage::NAME];
    for (name, _, kind) in METHODS {
        let (these, others) = match kind {
            Kind::Request => (&requests[..], &notifications[..]),
            Kind::Notification => (&notifications[..], &requests[..]),
        };
        assert!(these.contains(name) && !others.contains(name), "{name}");
    }
    assert_eq!(METHODS.len(), requests.len() + notifications.len());
}

#[test]
fn ids_obey_their_rule_and_the_error_names_it() {
    for good in ["a", "0", "claude-2", "a_b", &"x".repeat(64)] {
        assert_eq!(AgentId::try_from(good).unwrap().to_string(), good);
    }
    for bad in ["", "-a", "_a", "A", "a b", "a/b", "ä", &"x".repeat(65)] {
        let error = bad.parse::<AgentId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("agent id `{bad}` is not valid: it must match ^[a-z0-9][a-z0-9_-]{{0,63}}$")
        );
    }
    assert!(TaskId::try_from("01K9X-Claude").is_ok());
    assert!(TaskId::try_from("x".repeat(129).as_str()).is_err());
    assert!(serde_json::from_value::<AgentId>(json!("../x")).is_err());
}

#[test]
fn modes_are_written_as_on_the_command_line() {
    for (mode, word) in [
        (PermissionMode::ReadOnly, "read-only"),
        (PermissionMode::Write, "write"),
        (PermissionMode::Yolo, "yolo"),
    ] {
        assert_eq!(mode.to_string(), word);
        assert_eq!(word.parse::<PermissionMode>().unwrap(), mode);
        assert_eq!(serde_json::to_value(mode).unwrap(), json!(word));
    }
    let error = "Write".parse::<PermissionMode>().unwrap_err();
    assert_eq!(error.to_string(), "mode `Write` is not known: use `read-only`, `write` or `yolo`");
}

#[test]
fn what_is_not_known_is_null_and_may_be_absent() {
    let result = TaskResult::new(TaskStatus::RateLimited);
    let wire = serde_json::to_value(&result).unwrap();
    assert_eq!(wire["status"], "rate_limited");
    assert_eq!(wire["usage"], json!(null));
    assert_eq!(serde_json::from_value::<TaskResult>(json!({"status": "rate_limited"})).unwrap(), result);
}
