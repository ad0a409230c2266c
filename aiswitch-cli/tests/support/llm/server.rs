//! The server reads requests from one connection, plans an answer to each, and plays it.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::ask::{Ask, Reply};
use super::directive::{Break, Directive, Fault, Refusal, split};
use super::http::{Connection, Request, Waited};
use super::log::{Ended, Log, Recorded};
use super::{Api, anthropic, chat, gemini, responses};

const ECHO_CHARS_MAX: usize = 200;
const JSON: &str = "content-type: application/json\r\n";
const AUTH_HEADERS: [&str; 3] = ["authorization", "x-api-key", "x-goog-api-key"];

/// What an answer will be, decided before the first byte of it is sent.
#[derive(Debug)]
struct Plan {
    stall: Duration,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Whole { status: u16, headers: String, text: String },
    Stream { frames: Vec<String>, slow: Duration, midstall: Duration, break_off: Option<Break> },
}

impl Body {
    fn json(status: u16, document: &Value) -> Self {
        Self::Whole { status, headers: JSON.to_owned(), text: document.to_string() }
    }
}

/// Answers the requests of one connection until either side closes it.
///
/// With a key, every request that brings another one is refused.
pub(super) async fn serve(stream: TcpStream, log: &Log, key: Option<&str>) {
    let mut connection = Connection::new(stream);
    // A request that cannot be read ends its connection, as it would at a provider.
    while let Ok(Some(request)) = connection.read_request().await {
        let mut recorded = Recorded {
            method: request.method.clone(),
            path: request.path.clone(),
            api: None,
            model: None,
            auth_header: AUTH_HEADERS.into_iter().find(|name| request.header(name).is_some()),
            tools: 0,
            answers: 0,
            directive: None,
            ended: None,
        };
        let plan = plan(&request, &mut recorded, (log, key));
        let number = log.begin(recorded);
        let ended = play(plan, &mut connection).await.unwrap_or(Ended::ClientGone);
        log.end(number, ended);
        if !matches!(ended, Ended::Answered(_)) || request.header("connection") == Some("close") {
            return;
        }
    }
}

fn plan(request: &Request, recorded: &mut Recorded, (log, key): (&Log, Option<&str>)) -> Plan {
    let at_once = |body| Plan { stall: Duration::ZERO, body };
    let Some(api) = api_of(request) else {
        return at_once(match request.path.as_str() {
            "/v1/messages/count_tokens" => Body::json(200, &anthropic::token_count()),
            path if path.ends_with(":countTokens") => Body::json(200, &gemini::token_count()),
            path => Body::json(404, &json!({"error": {"message": format!("the mock has no `{path}`")}})),
        });
    };
    recorded.api = Some(api);
    if key.is_some_and(|key| sent_key(request) != Some(key)) {
        return at_once(Body::json(401, &error(api, 401, &format!("mock says 401: {}", reason(401)))));
    }
    let Ok(body) = serde_json::from_slice(&request.body) else {
        return at_once(Body::json(400, &error(api, 400, "the body is not JSON")));
    };
    let ask = match api {
        Api::Anthropic => anthropic::read(&body),
        Api::Responses => responses::read(&body),
        Api::Chat => chat::read(&body),
        Api::Gemini => gemini::read(&request.path, &body),
    };
    recorded.model.clone_from(&ask.model);
    recorded.tools = ask.tools.len();
    recorded.answers = ask.answers();
    let directive = match directive_of(&ask, api) {
        Ok(directive) => directive,
        Err(refusal) => {
            return at_once(Body::json(400, &error(api, 400, &format!("mock directive: {refusal}"))));
        }
    };
    recorded.directive = directive.as_ref().map(|directive| directive.source.clone());
    let Some(directive) = directive else {
        let pieces = split(&echo(&ask), 1);
        return at_once(answer(api, &ask, &Reply::Text(pieces), log.next_answer()));
    };
    let fault = directive.fault.filter(|_| log.fault_happens(api, &directive, !ask.tools.is_empty()));
    Plan { stall: directive.stall, body: scripted(api, &ask, &directive, fault, log.next_answer()) }
}

fn scripted(api: Api, ask: &Ask, directive: &Directive, fault: Option<Fault>, number: u64) -> Body {
    match fault {
        Some(Fault::Status(status)) => {
            let retry = directive.retry_after_s.map(|seconds| format!("retry-after: {seconds}\r\n"));
            let message = format!("mock says {status}: {}", reason(status));
            Body::Whole {
                status,
                headers: format!("{JSON}{}", retry.unwrap_or_default()),
                text: error(api, status, &message).to_string(),
            }
        }
        Some(Fault::Garbage) => Body::Whole {
            status: 200,
            headers: "content-type: text/html\r\n".to_owned(),
            text: "<html>this is no answer of a model</html>".to_owned(),
        },
        Some(Fault::Break(_)) | None => {
            let call = directive.tool.as_ref().filter(|_| !ask.has_tool_result());
            let reply = call
                .and_then(|command| ask.shell_call(command))
                .unwrap_or_else(|| Reply::Text(directive.pieces()));
            let mut body = answer(api, ask, &reply, number);
            if let Body::Stream { slow, midstall, break_off, .. } = &mut body {
                *slow = directive.slow;
                *midstall = directive.midstall;
                if let Some(Fault::Break(how)) = fault {
                    *break_off = Some(how);
                }
            }
            body
        }
    }
}

fn answer(api: Api, ask: &Ask, reply: &Reply, number: u64) -> Body {
    let model = ask.model.as_deref().unwrap_or("mock-model");
    let id = format!("mock{number:08}");
    if !ask.stream {
        let document = match api {
            Api::Anthropic => anthropic::whole(reply, model, &id),
            Api::Responses => responses::whole(reply, model, &id),
            Api::Chat => chat::whole(reply, model, &id),
            Api::Gemini => gemini::whole(reply, model, &id),
        };
        return Body::json(200, &document);
    }
    let frames = match api {
        Api::Anthropic => anthropic::stream(reply, model, &id),
        Api::Responses => responses::stream(reply, model, &id),
        Api::Chat => chat::stream(reply, model, &id),
        Api::Gemini => gemini::stream(reply, model, &id),
    };
    Body::Stream { frames, slow: Duration::ZERO, midstall: Duration::ZERO, break_off: None }
}

async fn play(plan: Plan, connection: &mut Connection) -> io::Result<Ended> {
    if connection.wait(plan.stall).await == Waited::ClientGone {
        return Ok(Ended::ClientGone);
    }
    match plan.body {
        Body::Whole { status, headers, text } => {
            connection.send(status, &headers, &text).await?;
            Ok(Ended::Answered(status))
        }
        Body::Stream { frames, slow, midstall, break_off } => {
            connection.start_stream().await?;
            let middle = frames.len() / 2;
            for (number, frame) in frames.iter().enumerate() {
                let in_the_middle = number == middle;
                match break_off.filter(|_| in_the_middle) {
                    Some(Break::Drop) => return Ok(Ended::Dropped),
                    Some(Break::Unfinished) => break,
                    None => {}
                }
                let pause = if in_the_middle { slow + midstall } else { slow };
                if !pause.is_zero() && connection.wait(pause).await == Waited::ClientGone {
                    return Ok(Ended::ClientGone);
                }
                connection.send_frame(frame).await?;
            }
            connection.end_stream().await?;
            Ok(Ended::Answered(200))
        }
    }
}

/// The key that a request brings.
fn sent_key(request: &Request) -> Option<&str> {
    let header = AUTH_HEADERS.into_iter().find_map(|name| request.header(name))?;
    Some(header.strip_prefix("Bearer ").unwrap_or(header))
}

fn api_of(request: &Request) -> Option<Api> {
    let path = request.path.as_str();
    if request.method != "POST" {
        return None;
    }
    match path {
        "/v1/messages" => Some(Api::Anthropic),
        "/v1/responses" => Some(Api::Responses),
        "/v1/chat/completions" => Some(Api::Chat),
        _ if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") => {
            Some(Api::Gemini)
        }
        _ => None,
    }
}

/// The directive of the latest prompt of the turn that has one for this API.
fn directive_of(ask: &Ask, api: Api) -> Result<Option<Directive>, Refusal> {
    for prompt in ask.prompts().rev() {
        if let Some(directive) = Directive::find(prompt, api)? {
            return Ok(Some(directive));
        }
    }
    Ok(None)
}

/// The last words of the user, without directives for other APIs.
fn echo(ask: &Ask) -> String {
    let prompt = ask.prompts().next_back().unwrap_or_default();
    let words = prompt.split("[[mock ").next().unwrap_or_default().trim();
    format!("echo: {}", words.chars().take(ECHO_CHARS_MAX).collect::<String>())
}

fn error(api: Api, status: u16, message: &str) -> Value {
    match api {
        Api::Anthropic => anthropic::error(status, message),
        Api::Responses | Api::Chat => chat::error(status, message),
        Api::Gemini => gemini::error(status, message),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "bad request",
        401 => "invalid api key",
        403 => "permission denied",
        404 => "not found",
        429 => "rate limited",
        529 => "overloaded",
        500.. => "server error",
        _ => "refused",
    }
}
