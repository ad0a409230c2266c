//! The messages that make up an agent's answer.

/// The messages that make up an agent's answer: all are streamed, the last one is the answer.
///
/// What an agent says before it uses a tool ("I will look at the file") is no part of its answer; Claude Code and
/// `codex exec` draw the line at the same place.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// The last message that is not empty, as far as it has come.
    answer: String,
    /// Whether the next piece begins a message.
    is_new: bool,
}

/// What stands between two messages where they are shown one after the other.
const BETWEEN: &str = "\n\n";

impl Messages {
    /// Says that what comes next is another message.
    pub(crate) fn begin(&mut self) {
        self.is_new = true;
    }

    /// Takes in a piece of the current message, and says what is to be shown for it.
    pub(crate) fn push(&mut self, piece: &str) -> Option<String> {
        if piece.is_empty() {
            return None;
        }
        let mut shown = String::new();
        if std::mem::take(&mut self.is_new) && !self.answer.is_empty() {
            self.answer.clear();
            shown.push_str(BETWEEN);
        }
        self.answer.push_str(piece);
        shown.push_str(piece);
        Some(shown)
    }

    /// Takes in the whole of the current message, and says what of it was not shown yet.
    pub(crate) fn complete(&mut self, whole: &str) -> Option<String> {
        if self.is_new {
            return self.push(whole);
        }
        let shown =
            whole.strip_prefix(self.answer.as_str()).filter(|rest| !rest.is_empty()).map(str::to_owned);
        if !whole.is_empty() {
            whole.clone_into(&mut self.answer);
        }
        shown
    }

    /// The answer, as far as it has come.
    pub(crate) fn answer(&self) -> Option<String> {
        (!self.answer.trim().is_empty()).then(|| self.answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_is_the_answer_and_all_are_shown() {
        let mut messages = Messages::default();
        let mut shown = String::new();
        messages.begin();
        shown.extend(messages.push("I will "));
        shown.extend(messages.push("look."));
        shown.extend(messages.complete("I will look."));
        messages.begin();
        shown.extend(messages.push(""));
        assert_eq!(messages.answer().as_deref(), Some("I will look."), "an empty message is none");
        shown.extend(messages.push("It is "));
        shown.extend(messages.complete("It is fine."));
        assert_eq!(shown, "I will look.\n\nIt is fine.");
        assert_eq!(messages.answer().as_deref(), Some("It is fine."));
    }

    #[test]
    fn white_space_is_no_answer() {
        let mut messages = Messages::default();
        assert_eq!(messages.push(" \n"), Some(" \n".to_owned()));
        assert_eq!(messages.answer(), None);
    }
}
