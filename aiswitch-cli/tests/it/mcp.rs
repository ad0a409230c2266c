//! `aiswitch mcp` with a client on its pipes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Shown, WITHIN, aiswitch, await_agents, configure, kept_runs, send, show, start};
use crate::sandbox::{Sandbox, holds_within};

/// A server, and its client.
struct Client {
    server: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// What came beside answers.
    told: Vec<Value>,
}

impl Client {
    fn of(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut command = aiswitch(sandbox, &[&["mcp"], args].concat());
        let mut server = start(command.stdin(Stdio::piped()));
        let stdin = server.stdin.take();
        let stdout = BufReader::new(server.stdout.take().unwrap());
        let mut client = Self { server, stdin, stdout, told: Vec::new() };
        let hello = client.ask("initialize", &json!({"protocolVersion": "2025-06-18", "capabilities": {}}));
        assert_eq!(
            (&hello["protocolVersion"], &hello["serverInfo"]["name"]),
            (&json!("2025-06-18"), &json!("aiswitch"))
        );
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        client
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn request(&mut self, id: u64, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }

    /// The response to a request.
    fn response(&mut self, id: u64) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the server has ended");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message;
            }
            self.told.push(message);
        }
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.request(1, method, params);
        let response = self.response(1);
        response.get("result").unwrap_or_else(|| panic!("{response}")).clone()
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.ask("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// Goes away, as a client does that ends.
    fn end(mut self) -> Shown {
        drop(self.stdin.take());
        self.server.wait_with_output().unwrap().into()
    }
}

/// What a tool says to the model.
fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

#[test]
fn a_client_asks_agents_and_reads_the_report_again() {
    let sandbox = Sandbox::new();
    let mut client = Client::of(&sandbox, &[]);
    let tools = client.ask("tools/list", &json!({}));
    let names: Vec<&str> =
        tools["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["run", "agents", "result"]);
    assert_eq!(tools["tools"][0]["inputSchema"]["required"], json!(["prompt"]));

    let asked = json!({"prompt": "Say hello", "agents": ["left=echo", "right=echo"], "sequential": true});
    let params = json!({"name": "run", "arguments": asked, "_meta": {"progressToken": "p"}});
    let ran = client.ask("tools/call", &params);
    assert!(text(&ran).starts_with("## left\n\nSay hello\n\n## right\n\n"), "{ran}");
    assert_eq!((&ran["isError"], &ran["structuredContent"]["status"]), (&json!(false), &json!("completed")));
    assert_eq!(ran["structuredContent"]["mode"], "sequential");
    let progress: Vec<&Value> = client.told.iter().map(|told| &told["params"]).collect();
    assert!(
        progress.len() >= 2 && progress.iter().all(|params| params["progressToken"] == "p"),
        "{progress:?}"
    );
    assert!(progress[0]["message"].as_str().unwrap().starts_with("left  "), "{progress:?}");

    assert_eq!(client.call("result", &json!({"run": "last"}))["structuredContent"], ran["structuredContent"]);
    let known = client.call("agents", &json!({}));
    assert!(
        known["structuredContent"]["agents"].as_array().unwrap().iter().any(|agent| agent["name"] == "echo")
    );
    let ended = client.end();
    assert_eq!((ended.stderr.as_str(), ended.code), ("", Some(0)));
}

#[test]
fn what_a_client_may_not_have_or_says_wrong_is_told_to_its_model_and_starts_nothing() {
    let sandbox = Sandbox::new();
    let mut client = Client::of(&sandbox, &[]);
    let refused = [
        (
            json!({"prompt": "x", "agents": ["echo"], "mode": "write"}),
            "mode `write` is asked for, and this server gives at most `read-only`\n  hint: start the server with: aiswitch mcp --mode write",
        ),
        (
            json!({"prompt": "x", "agents": ["echo"], "mode": "yolo"}),
            "at most `read-only`\n  hint: run it at a terminal: aiswitch run --mode yolo",
        ),
        (json!({"prompt": "x", "agents": ["echo@work"]}), "agent `echo` is asked for under a preset"),
        (
            json!({"prompt": "x", "agents": ["cluade"]}),
            "agent `cluade` is not known\n  hint: did you mean `claude`?",
        ),
        (json!({"prompt": "x", "aggregate": "judge", "agents": ["echo"]}), "judge"),
        (json!({"prompt": "x", "agnets": ["echo"]}), "unknown field `agnets`"),
        (json!({"agents": ["echo"]}), "missing field `prompt`"),
        (json!({"prompt": "x", "timeout": "soon"}), "soon"),
        (json!({"prompt": "x", "budget_usd": -1}), "-1 is no amount of dollars"),
    ];
    for (arguments, why) in refused {
        let result = client.call("run", &arguments);
        assert!(
            result["isError"] == true && text(&result).starts_with("error: ") && text(&result).contains(why),
            "{arguments}: {result}"
        );
    }
    client.request(7, "tools/call", &json!({"name": "rnu"}));
    assert_eq!(client.response(7)["error"]["code"], -32602);
    client.request(8, "resources/list", &json!({}));
    assert_eq!(client.response(8)["error"]["code"], -32601);
    assert_eq!(client.end().code, Some(0));
    assert_eq!(kept_runs(&sandbox).len(), 0);
}

#[test]
fn a_server_that_may_write_gives_it_and_an_agent_that_fails_is_an_error() {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "agents.yaml",
        "agents: {bad: {driver: command, command: [/bin/false], modes: [read-only, write]}}\n",
    );
    let mut client = Client::of(&sandbox, &["--mode", "write"]);
    let ran = client.call("run", &json!({"prompt": "x", "agents": ["bad"], "mode": "write"}));
    assert!(ran["isError"] == true && text(&ran) == "bad failed: it ended with exit code 1", "{ran}");
    assert_eq!(ran["structuredContent"]["agents"][0]["status"], "failed");
    assert_eq!(client.end().code, Some(0));
}

/// A server that waits for an agent that waits for ever, but stops when it is asked to.
fn stalled(sandbox: &Sandbox) -> Client {
    configure(sandbox, "agents.yaml", "agents: {stalls: {driver: echo, args: [--stall]}}\n");
    let mut client = Client::of(sandbox, &[]);
    client.request(
        2,
        "tools/call",
        &json!({"name": "run", "arguments": {"prompt": "x", "agents": ["stalls"]}}),
    );
    await_agents(sandbox, 1);
    assert!(holds_within(WITHIN, || show(sandbox, &["ps", "--json"]).json()[0]["pid"].is_u64()));
    client
}

#[test]
fn a_run_is_stopped_when_its_client_cancels_it_goes_away_or_the_server_is_told_to_end() {
    let stopped = |sandbox: &Sandbox| {
        let report = || show(sandbox, &["result", "last", "--json"]);
        assert!(holds_within(WITHIN, || report().code == Some(0)));
        assert_eq!(report().json()["status"], "cancelled");
    };
    let sandbox = Sandbox::new();
    let mut client = stalled(&sandbox);
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}));
    stopped(&sandbox);
    // The server goes on.
    assert_eq!(client.ask("ping", &json!({})), json!({}));
    assert_eq!(client.end().code, Some(0));

    let sandbox = Sandbox::new();
    assert_eq!(stalled(&sandbox).end().code, Some(0));
    stopped(&sandbox);

    let sandbox = Sandbox::new();
    let client = stalled(&sandbox);
    send(&client.server, Signal::TERM);
    let Client { server, stdin: _open, .. } = client;
    assert_eq!(Shown::from(server.wait_with_output().unwrap()).code, Some(143));
    stopped(&sandbox);
}
