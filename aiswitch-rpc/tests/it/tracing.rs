//! What is traced, and what is not.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use aiswitch_rpc::{Options, Router};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{pair, within};

/// Writes down the name and the fields of every span.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<String>>);

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0.lock().unwrap(), " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Notes {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        write!(self.0.lock().unwrap(), "\n{}", span.metadata().name()).unwrap();
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, _event: &Event<'_>) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[tokio::test]
async fn a_span_tells_the_method_and_never_the_params() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let echo = Router::new().request_untyped("echo", |params, _context| async move { Ok(params) });
    let ((peer, client), (_, server)) = pair(Router::new(), echo, Options::default());
    let work = async {
        peer.call_untyped::<serde_json::Value>("echo", &["a secret"]).await.unwrap();
        peer.close();
    };
    let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
    client.unwrap();
    server.unwrap();
    let notes = notes.0.lock().unwrap().clone();
    assert!(notes.contains("rpc_call method=\"echo\" body_bytes="), "{notes}");
    assert!(notes.contains("rpc_request method=\"echo\" id="), "{notes}");
    assert!(!notes.contains("secret"), "{notes}");
}
