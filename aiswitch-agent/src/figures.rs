//! The way back to an agent that asked for its own newest figures.

use std::collections::BTreeMap;

use aiswitch_rpc::ErrorObject;
use tokio::sync::mpsc;

/// The way back to an agent that asked for its own newest figures; one that is dropped says that nobody keeps any.
#[derive(Clone, Debug)]
pub struct FiguresReply(mpsc::Sender<Figures>);

/// Figures by name, or why there are none.
type Figures = Result<BTreeMap<String, f64>, ErrorObject>;

impl FiguresReply {
    /// The way back, and where the answer comes in.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Figures>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Answers; only the first answer is heard.
    pub fn answer(self, figures: Figures) {
        // An error means that it was answered already, or that nobody waits any more.
        drop(self.0.try_send(figures));
    }
}

impl PartialEq for FiguresReply {
    /// Whether both answer the same question.
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}
