//! Whole programs that speak with each other: callers and servers over pipes, and standard streams that are no pipes.
#![expect(clippy::disallowed_methods, reason = "a test of programs must start them")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::echo_adapter::example;

/// A program that is ended when the test ends.
struct Program(Child);

impl Program {
    fn start(arguments: &[&str], input: impl Into<Stdio>, output: impl Into<Stdio>) -> Self {
        let mut command = Command::new(example("conformance_peer"));
        let child = command.args(arguments).stdin(input).stdout(output).stderr(Stdio::piped()).spawn();
        Self(child.expect("the program can be started"))
    }

    /// What came of each call, by its method, once so many are told.
    fn outcomes(&mut self, count: usize) -> BTreeMap<String, String> {
        let told = BufReader::new(self.0.stderr.take().expect("its stderr is a pipe"));
        let outcomes = told.lines().filter_map(|line| {
            let line = line.expect("it tells text");
            let rest = line.strip_prefix("Outcome { call: \"")?.to_owned();
            let (method, outcome) = rest.split_once("\", outcome: ").expect("an outcome has a method");
            Some((method.to_owned(), outcome.to_owned()))
        });
        outcomes.take(count).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Two programs, each at one end of a pair of pipes.
fn connected(left: &[&str], right: &[&str]) -> (Program, Program) {
    let (left_input, right_output) = std::io::pipe().unwrap();
    let (right_input, left_output) = std::io::pipe().unwrap();
    (Program::start(left, left_input, left_output), Program::start(right, right_input, right_output))
}

#[test]
fn a_client_program_calls_a_server_program_in_either_framing() {
    for framing in ["ndjson", "content-length"] {
        let calls = [
            "--call",
            r#"{"call":"subtract","params":[42,23]}"#,
            "--call",
            r#"{"call":"fail","params":[]}"#,
            "--call",
            r#"{"call":"nowhere","params":[]}"#,
            "--call",
            r#"{"call":"sleep","params":[60000],"timeout_ms":50}"#,
        ];
        let client = [&["--framing", framing, "--role", "client"][..], &calls].concat();
        let (mut client, _server) = connected(&client, &["--framing", framing, "--role", "server"]);
        let outcomes = client.outcomes(4);
        assert_eq!(outcomes["subtract"], "Ok(Number(19)) }", "{framing}");
        assert!(outcomes["fail"].starts_with("Err(") && outcomes["fail"].contains("-32000"), "{outcomes:?}");
        assert!(outcomes["nowhere"].contains("-32601"), "{outcomes:?}");
        assert!(outcomes["sleep"].starts_with("Err(TimedOut"), "{outcomes:?}");
    }
}

#[test]
fn two_peer_programs_call_each_other_over_one_pair_of_pipes() {
    let peer = ["--role", "peer", "--call", r#"{"call":"call_me_back","params":["subtract",[5,3]]}"#];
    let (mut left, mut right) = connected(&peer, &peer);
    for outcomes in [left.outcomes(1), right.outcomes(1)] {
        assert_eq!(outcomes["call_me_back"], "Ok(Number(2)) }");
    }
}

#[test]
fn a_program_whose_streams_are_plain_files_is_served_by_threads() {
    let folder = std::env::temp_dir().join(format!("aiswitch-rpc-programs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (input, output) = (folder.join("in"), folder.join("out"));
    let mut lines = File::create(&input).unwrap();
    // More than the threads hold at once, in both directions.
    let text = "x".repeat(100_000);
    for id in 0..20 {
        writeln!(lines, r#"{{"jsonrpc":"2.0","id":{id},"method":"echo","params":["{text}"]}}"#).unwrap();
    }
    let mut program =
        Program::start(&["--role", "server"], File::open(&input).unwrap(), File::create(&output).unwrap());
    assert!(program.0.wait().unwrap().success());
    let answers = std::fs::read_to_string(&output).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let mut ids: Vec<u64> = answers
        .lines()
        .map(|line| {
            let answer: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(answer["result"][0], text.as_str());
            answer["id"].as_u64().unwrap()
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
}
