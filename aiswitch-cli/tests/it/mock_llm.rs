//! The mock LLM itself, asked over real connections.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::llm::{Api, Ended, MockLlm};

const WITHIN: Duration = Duration::from_secs(10);

fn post(llm: &MockLlm, path: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(llm.url().trim_start_matches("http://")).unwrap();
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nx-api-key: k\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}

fn read(mut stream: TcpStream) -> String {
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn chat(prompt: &str, stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

#[test]
fn every_api_answers_with_the_text_of_the_directive() {
    let llm = MockLlm::start();
    let prompt = "[[mock text=PONG chunks=1]]";
    let messages = json!([{"role": "user", "content": prompt}]);
    for (path, body) in [
        ("/v1/messages", json!({"messages": messages})),
        ("/v1/messages", json!({"messages": messages, "stream": true})),
        ("/v1/responses", json!({"input": prompt})),
        ("/v1/responses", json!({"input": messages, "stream": true})),
        ("/v1/chat/completions", json!({"messages": messages})),
        ("/v1/chat/completions", json!({"messages": messages, "stream": true})),
        ("/v1beta/models/g:generateContent", json!({"contents": [{"parts": [{"text": prompt}]}]})),
        (
            "/v1beta/models/g:streamGenerateContent?alt=sse",
            json!({"contents": [{"parts": [{"text": prompt}]}]}),
        ),
    ] {
        let response = read(post(&llm, path, &body));
        assert!(response.starts_with("HTTP/1.1 200 "), "{path}: {response}");
        assert!(response.contains("\"PONG\""), "{path}: {response}");
    }
    let apis: Vec<Api> = llm.requests().iter().filter_map(|request| request.api).collect();
    assert_eq!(apis.len(), 8);
    assert!(llm.requests().iter().all(|request| request.auth_header == Some("x-api-key")));
}

#[test]
fn a_prompt_without_a_directive_is_echoed() {
    let llm = MockLlm::start();
    let response =
        read(post(&llm, "/v1/chat/completions", &chat("hello [[mock for=gemini status=500]]", false)));
    assert!(response.contains("\"echo: hello\""), "{response}");
}

#[test]
fn a_fault_happens_as_often_as_it_is_told_to() {
    let llm = MockLlm::start();
    let prompt = "[[mock status=429 times=2 retry_after=7 text=AFTER]]";
    let ask = || read(post(&llm, "/v1/chat/completions", &chat(prompt, true)));
    for _ in 0..2 {
        let refused = ask();
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        assert!(refused.contains("retry-after: 7\r\n"), "{refused}");
        assert!(refused.contains("mock says 429: rate limited"), "{refused}");
    }
    assert!(ask().contains("data: [DONE]"));
    let ended: Vec<_> = llm.requests().iter().map(|request| request.ended).collect();
    assert_eq!(ended, [429, 429, 200].map(|status| Some(Ended::Answered(status))));
}

#[test]
fn a_dropped_stream_breaks_off_in_its_middle() {
    let llm = MockLlm::start();
    let response = read(post(&llm, "/v1/chat/completions", &chat("[[mock drop=1 text=ABCD]]", true)));
    assert!(response.contains("\"A\"") && !response.contains("[DONE]"), "{response}");
    assert!(!response.ends_with("0\r\n\r\n"), "{response}");
    let requests = llm.wait_for(WITHIN, |requests| requests[0].ended.is_some());
    assert_eq!(requests[0].ended, Some(Ended::Dropped));
}

#[test]
fn an_unfinished_stream_ends_well_without_its_end() {
    let llm = MockLlm::start();
    let response = read(post(&llm, "/v1/chat/completions", &chat("[[mock unfinished=1 text=ABCD]]", true)));
    assert!(response.contains("\"A\"") && !response.contains("[DONE]"), "{response}");
    assert!(response.ends_with("0\r\n\r\n"), "{response}");
}

#[test]
fn a_client_that_leaves_during_a_stall_is_noticed() {
    let llm = MockLlm::start();
    let stream = post(&llm, "/v1/chat/completions", &chat("[[mock stall=3600]]", true));
    let requests = llm.wait_for(WITHIN, |requests| requests.len() == 1);
    assert_eq!(requests[0].ended, None);
    drop(stream);
    let requests = llm.wait_for(WITHIN, |requests| requests[0].ended.is_some());
    assert_eq!(requests[0].ended, Some(Ended::ClientGone));
}

#[test]
fn a_stall_in_the_middle_comes_after_the_first_frames() {
    let llm = MockLlm::start();
    let mut stream = post(&llm, "/v1/chat/completions", &chat("[[mock midstall=3600 text=ABCD]]", true));
    let mut seen = String::new();
    while !seen.contains("\"A\"") {
        let mut bytes = [0; 512];
        let length = stream.read(&mut bytes).unwrap();
        assert_ne!(length, 0, "the stream ended after {seen}");
        seen.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    assert_eq!(llm.requests()[0].ended, None);
}

#[test]
fn a_directive_that_cannot_be_followed_is_a_bad_request() {
    let llm = MockLlm::start();
    let response = read(post(&llm, "/v1/chat/completions", &chat("[[mock txet=HI]]", true)));
    assert!(response.starts_with("HTTP/1.1 400 ") && response.contains("txet"), "{response}");
}

#[test]
fn nothing_listens_after_a_mock_is_dropped() {
    let llm = MockLlm::start();
    let mut stream = post(&llm, "/v1/chat/completions", &chat("[[mock stall=3600]]", true));
    llm.wait_for(WITHIN, |requests| requests.len() == 1);
    drop(llm);
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let ended = stream.read(&mut [0]);
    assert!(
        matches!(&ended, Ok(0)) || matches!(&ended, Err(error) if error.kind() == ErrorKind::ConnectionReset),
        "{ended:?}"
    );
}
