//! How several answers become one; pure.

use std::fmt::Write;

use aiswitch_agent::AgentId;

use crate::{AgentReport, Aggregate, Answer, Outcome};

/// The most bytes of earlier answers that one step of a sequence is given; each has an equal share.
pub const HAND_OVER_BYTES_MAX: usize = 512 * 1024;

/// Makes one answer of those of the agents that completed; `None` when none did.
pub fn aggregate_results(aggregate: Aggregate, reports: &[AgentReport]) -> Option<Answer> {
    let mut completed: Vec<&AgentReport> =
        reports.iter().filter(|report| report.status == Outcome::Completed).collect();
    if aggregate == Aggregate::First {
        // Not by `ended_at`: somebody may have set the clock meanwhile.
        completed.sort_by_key(|report| {
            report.started_at.map(|at| at.timestamp_millis().saturating_add_unsigned(report.duration_ms))
        });
        completed.truncate(1);
    }
    let answers: Vec<(&AgentId, &str)> =
        completed.iter().filter_map(|report| Some((&report.id, report.answer.as_deref()?))).collect();
    let text = match answers.as_slice() {
        [] => return None,
        [(_, text)] => (*text).to_owned(),
        several => {
            let sections: Vec<String> =
                several.iter().map(|(agent, text)| format!("## {agent}\n\n{}", text.trim_end())).collect();
            sections.join("\n\n")
        }
    };
    Some(Answer { by: aggregate, agents: answers.iter().map(|(agent, _)| (*agent).clone()).collect(), text })
}

/// The prompt of a step that is given earlier answers, and whose answers had to be cut.
///
/// The original prompt comes first, then the answers in the order in which they were given, each as it stands:
///
/// ```text
/// the prompt
///
/// <answers>
/// <answer agent="claude">
/// the text
/// </answer>
/// </answers>
/// ```
///
/// Together they have at most [`HAND_OVER_BYTES_MAX`] bytes: an answer beyond its share is cut at the end of a
/// character, and its element says `cut="true"`. Without earlier answers the prompt stays as it is.
pub fn hand_over<'a>(prompt: &str, answers: &[(&'a AgentId, &str)]) -> (String, Vec<&'a AgentId>) {
    let Some(share) = HAND_OVER_BYTES_MAX.checked_div(answers.len()) else {
        return (prompt.to_owned(), Vec::new());
    };
    let mut whole = format!("{prompt}\n\n<answers>\n");
    let mut cut = Vec::new();
    for (agent, text) in answers {
        let kept = &text[..text.floor_char_boundary(share)];
        let note = if kept.len() < text.len() { " cut=\"true\"" } else { "" };
        if !note.is_empty() {
            cut.push(*agent);
        }
        writeln!(whole, "<answer agent=\"{agent}\"{note}>\n{}\n</answer>", kept.trim_end())
            .expect("writing into a string cannot fail");
    }
    whole.push_str("</answers>");
    (whole, cut)
}
