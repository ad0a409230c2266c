//! The test service of the conformance cases.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiswitch_rpc::{CallError, Context, ErrorObject, RequestMethod, Router};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// How large the big result is.
const BIG_RESULT_BYTES: usize = 8 * 1024;

macro_rules! method {
    ($marker:ident, $name:literal, $params:ty => $result:ty) => {
        struct $marker;
        impl RequestMethod for $marker {
            const NAME: &'static str = $name;
            type Params = $params;
            type Result = $result;
        }
    };
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Operands {
    ByPlace((Number, Number)),
    ByName { minuend: Number, subtrahend: Number },
}

type Number = serde_json::Number;

/// A result that cannot be written down to its end.
struct BadResult;

impl Serialize for BadResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeSeq};
        let mut seq = serializer.serialize_seq(None)?;
        seq.serialize_element("half")?;
        Err(S::Error::custom("on purpose"))
    }
}

impl<'de> Deserialize<'de> for BadResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

method!(Subtract, "subtract", Operands => Value);
method!(Sum, "sum", Vec<i64> => i64);
method!(EchoRaw, "echo_raw", Box<RawValue> => Box<RawValue>);
method!(RawLen, "raw_len", Box<RawValue> => usize);
method!(Sleep, "sleep", [u64; 1] => String);
method!(SleepIgnoreCancel, "sleep_ignore_cancel", [u64; 1] => String);
method!(BlockThread, "block_thread", [u64; 1] => String);
method!(Bad, "bad_result", () => BadResult);
method!(PrettyRaw, "pretty_raw", () => Box<RawValue>);
method!(CallMeBack, "call_me_back", (String, Value) => Value);

fn subtract(operands: Operands) -> Result<Value, ErrorObject> {
    let (Operands::ByPlace((left, right)) | Operands::ByName { minuend: left, subtrahend: right }) = operands;
    match (left.as_i64(), right.as_i64(), left.as_f64(), right.as_f64()) {
        (Some(left), Some(right), ..) => Ok(json!(left - right)),
        (_, _, Some(left), Some(right)) => Ok(json!(left - right)),
        _ => Err(ErrorObject::invalid_params("too large")),
    }
}

async fn sleep(ms: u64) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "slept".to_owned()
}

fn called_back<T>(answer: Result<T, CallError>) -> Result<T, ErrorObject> {
    answer.map_err(|error| match error {
        CallError::Rpc { code, message, data } => ErrorObject { code, message, data },
        other => ErrorObject::internal(other),
    })
}

async fn call_me_back_64(context: Context) -> Result<Value, ErrorObject> {
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..64 {
        let peer = context.peer();
        calls.spawn(async move { peer.call_untyped::<Value>("foo", &[number]).await });
    }
    let mut count = 0;
    while let Some(call) = calls.join_next().await {
        called_back(call.map_err(ErrorObject::internal)?)?;
        count += 1;
    }
    Ok(json!(count))
}

/// The router of the service.
pub(crate) fn service() -> Router {
    let pushed = Arc::new(Mutex::new(Vec::<Value>::new()));
    let taken = pushed.clone();
    let push = move |params: Value| {
        if let Ok(mut pushed) = pushed.lock() {
            pushed.push(params[0].clone());
        }
    };
    let take = move || taken.lock().map(|taken| taken.clone()).unwrap_or_default();
    simple(Router::new())
        .request::<Sleep>(|[ms], context| async move {
            tokio::select! {
                slept = sleep(ms) => Ok(slept),
                () = context.cancelled() => Err(ErrorObject::request_cancelled()),
            }
        })
        .request::<SleepIgnoreCancel>(|[ms], _context| async move { Ok(sleep(ms).await) })
        .request::<BlockThread>(|[ms], _context| async move {
            tokio::task::spawn_blocking(move || block_thread(ms)).await.map_err(ErrorObject::internal)
        })
        .request_untyped("drop_responder", |_params, _context| async move {
            let (responder, answer) = tokio::sync::oneshot::channel();
            drop(responder);
            answer.await.map_err(ErrorObject::internal)
        })
        .request_untyped("emit3", |_params, context| async move {
            for number in 1..=3 {
                called_back(context.peer().notify_untyped("n", &[number]).await)?;
            }
            Ok(json!("done"))
        })
        .notification_untyped("push", push)
        .request_untyped("take_pushed", move |_params, _context| {
            let list = take();
            async move { Ok(Value::Array(list)) }
        })
        .request::<CallMeBack>(|(method, params), context| async move {
            called_back(context.peer().call_untyped(&method, &params).await)
        })
        .request_untyped("call_me_back_64", |_params, context| call_me_back_64(context))
}

#[expect(clippy::disallowed_methods, reason = "the service is asked to block a thread for a time")]
fn block_thread(ms: u64) -> String {
    std::thread::sleep(Duration::from_millis(ms));
    "blocked".to_owned()
}

fn simple(router: Router) -> Router {
    router
        .request::<Subtract>(|operands, _context| async move { subtract(operands) })
        .request::<Sum>(|numbers, _context| async move { Ok(numbers.iter().sum()) })
        .request_untyped("get_data", |_params, _context| async move { Ok(json!(["hello", 5])) })
        .notification_untyped("update", drop)
        .notification_untyped("notify_hello", drop)
        .notification_untyped("notify_sum", drop)
        .request_untyped("echo", |params, _context| async move { Ok(params) })
        .request::<EchoRaw>(|params, _context| async move { Ok(params) })
        .request::<RawLen>(|params, _context| async move { Ok(params.get().len()) })
        .request_untyped("null", |_params, _context| async move { Ok(Value::Null) })
        .request_untyped("fail", |_params, _context| async move {
            Err(ErrorObject::new(-32000, "boom").with_data(json!({"k": 1})))
        })
        .request_untyped("panic", |params, _context| async move {
            panic_on_purpose(&params);
            Ok(params)
        })
        .notification_untyped("panic", |params| panic_on_purpose(&params))
        .request::<Bad>(|(), _context| async move { Ok(BadResult) })
        .request::<PrettyRaw>(|(), _context| async move {
            RawValue::from_string("{\n  \"a\": [\n    1,\n    2\n  ]\n}".to_owned())
                .map_err(ErrorObject::internal)
        })
        .request_untyped("big_result", |_params, _context| async move {
            Ok(Value::String("x".repeat(BIG_RESULT_BYTES)))
        })
}

fn panic_on_purpose(params: &Value) {
    assert!(params.is_string(), "on purpose: params are never a string");
}
