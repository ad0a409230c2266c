//! What an agent is refused, and what it is allowed, stands in the journal, the report and the audit log.

use std::time::Duration;

use aiswitch_coordinator::{
    AgentSpec, AuditDecision, CancellationToken, Home, Limits, Outcome, PermissionMode, RunEventKind,
};

use crate::support::{self, coordinator, id, plan};

/// An adapter that calls these before it answers.
fn adapter(calls: &[&str]) -> AgentSpec {
    let said = calls.iter().fold(String::new(), |said, call| said + "echo '" + call + "'; ");
    support::adapter("{}", &said)
}

#[tokio::test]
async fn a_refused_call_does_nothing_and_is_journaled_reported_and_audited() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    let agent = adapter(&[
        r#"{"jsonrpc":"2.0","id":1,"method":"env.switch","params":{"preset":"other","variables":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"task.output","params":{"task_id":"another","text":"forged"}}"#,
    ]);
    let mut refused = Vec::new();
    let report = coordinator([agent.build(id("a"))])
        .with_home(home.clone())
        .run(plan("hello", &["a"]), CancellationToken::new(), |event| {
            if let RunEventKind::Refused { method, reason } = &event.kind {
                refused.push((method.clone(), reason.clone()));
            }
        })
        .await
        .expect("it runs");
    assert_eq!(
        (report.agents[0].status, report.agents[0].answer.as_deref()),
        (Outcome::Completed, Some("done"))
    );
    let expected =
        [("env.switch", "no agent may call `env.switch`"), ("task.output", "task `another` is not its own")]
            .map(|(method, reason)| (method.to_owned(), reason.to_owned()));
    assert_eq!(refused, expected);
    let warned =
        expected.clone().map(|(method, reason)| format!("agent `a` was refused `{method}`: {reason}"));
    assert_eq!(report.warnings, warned);
    let journal = home.runs().events(&report.run_id).expect("a journal").filter_map(Result::ok);
    assert_eq!(journal.filter(|event| matches!(event.kind, RunEventKind::Refused { .. })).count(), 2);
    let audited: Vec<_> = home
        .audit()
        .lines()
        .expect("a log")
        .map(|line| line.expect("a whole line"))
        .map(|line| (line.actor, line.channel, line.action, line.object, line.decision, line.detail))
        .collect();
    let line = |(method, reason): (String, String)| {
        let (actor, channel) = ("agent:a".to_owned(), "adapter".to_owned());
        (actor, channel, method, report.run_id.to_string(), AuditDecision::Denied, Some(reason))
    };
    assert_eq!(audited, expected.map(line));
    assert_eq!(home.audit().verify().expect("it can be read").broken, None);
}

#[tokio::test]
async fn what_an_agent_is_allowed_beyond_looking_is_audited_and_what_it_is_denied_by_its_mode_is_not() {
    for (mode, expected) in [(PermissionMode::ReadOnly, 0), (PermissionMode::Write, 1)] {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::new(folder.path());
        let ask = r#"{"jsonrpc":"2.0","id":1,"method":"permission.request","params":{"task_id":"'"$task"'","tool":"shell","question":"make"}}"#;
        let spec = AgentSpec {
            modes: Some(vec![PermissionMode::ReadOnly, PermissionMode::Write]),
            ..adapter(&[ask])
        };
        let report = coordinator([spec.build(id("a"))])
            .with_home(home.clone())
            .execute_parallel(plan("hello", &["a"]).with_mode(mode))
            .await
            .expect("it runs");
        assert_eq!(report.warnings, Vec::<String>::new(), "{mode}");
        let allowed: Vec<_> =
            home.audit().lines().expect("a log").map(|line| line.expect("a whole line")).collect();
        assert_eq!(allowed.len(), expected, "{mode}: {allowed:?}");
        for line in allowed {
            let found = (line.actor.as_str(), line.action.as_str(), line.decision, line.detail.as_deref());
            assert_eq!(found, ("agent:a", "shell", AuditDecision::Allowed, Some("make")));
        }
    }
}

#[tokio::test]
async fn a_flood_of_refused_calls_does_not_flood_the_audit_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    let call = r#"{"jsonrpc":"2.0","method":"env.rollback"}"#;
    let flood = format!("x'; i=0; while [ $i -lt 3000 ]; do echo '{call}'; i=$((i+1)); done; echo '");
    let report = coordinator([adapter(&[&flood]).build(id("a"))])
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    assert_eq!(report.agents[0].status, Outcome::Completed);
    let lines: Vec<_> =
        home.audit().lines().expect("a log").map(|line| line.expect("a whole line")).collect();
    assert_eq!(lines.len(), 1000);
    let last = lines.last().and_then(|line| line.detail.as_deref());
    assert_eq!(last, Some("what this run decides from here on stands in its journal alone"));
}

#[tokio::test]
async fn fault_33_a_run_in_mode_yolo_stops_once_the_audit_log_cannot_hold_what_it_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    let ask = r#"{"jsonrpc":"2.0","id":1,"method":"permission.request","params":{"task_id":"'"$task"'","tool":"shell","question":"make"}}"#;
    // It breaks the log that stands there since the run began, asks, and would work on for ever.
    let script =
        format!("x'; echo broken >>{}; echo '{ask}'; cat >/dev/null; echo '", home.audit_file(1).display());
    let modes = Some(vec![PermissionMode::Write, PermissionMode::Yolo]);
    let limits = Limits { stop_grace: Duration::from_millis(200), ..Limits::default() };
    let report = coordinator([AgentSpec { modes, ..adapter(&[&script]) }.build(id("a"))])
        .with_limits(limits)
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]).with_mode(PermissionMode::Yolo))
        .await
        .expect("it runs");
    let agent = &report.agents[0];
    let reason = "the audit log cannot hold what mode `yolo` allowed";
    assert_eq!((agent.status, agent.reason.as_deref()), (Outcome::Cancelled, Some(reason)));
    assert!(report.warnings[0].starts_with("the audit log does not hold what was decided: "), "{report:?}");
}
