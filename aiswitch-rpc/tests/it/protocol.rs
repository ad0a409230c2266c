//! The aiswitch protocol on the wire, and `PROTOCOL.md` against the code.

use aiswitch_rpc::blocking::Connection;
use aiswitch_rpc::protocol::{
    AgentId, AgentInitialize, AgentRestart, AgentShutdown, AgentStatus, EnvRollback, EnvSnapshot, EnvSwitch,
    Kind, METHODS, MetricsQuery, MetricsReport, PermissionMode, PermissionRequest, Sender, TaskAssign,
    TaskCancel, TaskId, TaskOutput, TaskResult, TaskResultGet, TaskStatus, TaskStatusGet, TokensUsage,
};
use aiswitch_rpc::{NotificationMethod, Options, RequestMethod, Router};
use serde_json::{Value, json};

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

/// The examples of the document: a message and its answer, if it has one.
fn examples(method: &str) -> Vec<(Value, Option<Value>)> {
    let mut examples: Vec<(Value, Option<Value>)> = Vec::new();
    for line in PROTOCOL.lines().filter_map(|line| line.strip_prefix(['→', '←'])) {
        let message: Value =
            serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{line}: {error}"));
        match message.get("method") {
            Some(_) => examples.push((message, None)),
            None => examples.last_mut().expect("an answer follows a request").1 = Some(message),
        }
    }
    examples.retain(|(message, _)| message["method"] == method);
    assert!(!examples.is_empty(), "`{method}` has no example");
    examples
}

/// Whether all members of `part` are in `whole`, at any depth.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, part)| is_part(part, whole.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part(part, whole))
        }
        _ => part == whole,
    }
}

/// What one side writes when it is sent `message`.
fn send(message: &Value, router: Router) -> Vec<Value> {
    let mut output = Vec::new();
    let input = format!("{message}\n");
    Connection::new(input.as_bytes(), &mut output, router, Options::default())
        .serve()
        .expect("the stream is whole");
    let output = String::from_utf8(output).expect("JSON is UTF-8");
    output.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn check_request<M: RequestMethod>() {
    for (request, answer) in examples(M::NAME) {
        let answer = answer.unwrap_or_else(|| panic!("the example of `{}` has no answer", M::NAME));
        let (params, result) = (request["params"].clone(), answer["result"].clone());
        let router = Router::new().request::<M>(move |read, _context| {
            assert!(is_part(&params, &serde_json::to_value(&read).unwrap()), "{params}");
            let result = serde_json::from_value(result.clone()).unwrap();
            async move { Ok(result) }
        });
        let written = send(&request, router);
        assert_eq!(written.len(), 1);
        assert_eq!(written[0]["id"], answer["id"]);
        assert!(is_part(&answer["result"], &written[0]["result"]), "{answer} is not {}", written[0]);
    }
}

fn check_notification<N: NotificationMethod>() {
    for (notification, answer) in examples(N::NAME) {
        assert_eq!((notification.get("id"), answer), (None, None));
        let (sender, receiver) = std::sync::mpsc::channel();
        let router = Router::new().notification::<N>(move |read| {
            sender.send(serde_json::to_value(&read).unwrap()).unwrap();
        });
        assert_eq!(send(&notification, router), Vec::<Value>::new());
        assert!(is_part(&notification["params"], &receiver.try_recv().unwrap()), "{notification}");
    }
}

#[test]
fn every_example_of_the_document_is_understood_and_answered_as_it_stands_there() {
    check_request::<AgentInitialize>();
    check_request::<AgentShutdown>();
    check_request::<AgentStatus>();
    check_request::<AgentRestart>();
    check_request::<TaskAssign>();
    check_notification::<TaskCancel>();
    check_notification::<TaskOutput>();
    check_request::<TaskStatusGet>();
    check_request::<TaskResultGet>();
    check_request::<PermissionRequest>();
    check_request::<EnvSwitch>();
    check_request::<EnvSnapshot>();
    check_request::<EnvRollback>();
    check_notification::<MetricsReport>();
    check_request::<MetricsQuery>();
    check_notification::<TokensUsage>();
}

#[cfg(feature = "schema")]
#[test]
fn the_kept_schema_is_that_of_the_code() {
    let made = serde_json::to_string_pretty(&aiswitch_rpc::protocol::schema()).unwrap() + "\n";
    let kept = include_str!("../../protocol.schema.json");
    assert!(made == kept, "`protocol.schema.json` is out of date; it must be:\n{made}");
    let methods = aiswitch_rpc::protocol::schema()["methods"].as_object().unwrap().len();
    assert_eq!(methods, METHODS.len());
}
