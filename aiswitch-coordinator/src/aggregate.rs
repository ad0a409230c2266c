//! How several answers become one; pure.

use std::fmt::Write;

use aiswitch_agent::AgentId;

use crate::{AgentReport, Aggregate, Answer, Outcome};

/// The most bytes of earlier answers that one step of a sequence is given; each has an equal share.
pub const HAND_OVER_BYTES_MAX: usize = 512 * 1024;

/// What a judge is asked behind the prompt and all answers.
const JUDGE_QUESTION: &str = "\
The answers above were given to the task before them. Decide which of them is the best: right, complete and to the point.
Say why in a few words, and end with one line that names its agent as it stands in `agent=`, in this form:
best: NAME";

/// What somebody is asked who is to put all answers together.
const SYNTHESIS_QUESTION: &str = "\
The answers above were given to the task before them. Write the one answer to the task that is made of what is right in
them. Where they contradict each other, decide, and say so. Print that answer alone.";

/// What the judge of a plan is asked behind the answers; `None` where none is needed.
pub(crate) fn question(aggregate: Aggregate) -> Option<&'static str> {
    match aggregate {
        Aggregate::List | Aggregate::First | Aggregate::Vote => None,
        Aggregate::Judge => Some(JUDGE_QUESTION),
        Aggregate::Synthesize => Some(SYNTHESIS_QUESTION),
    }
}

/// Makes one answer of those of the agents that completed; `None` when none did.
///
/// For [`Aggregate::Judge`] and [`Aggregate::Synthesize`] the last report is that of the judge. A judge names the best answer
/// by a line `best: NAME`, of which the last counts. [`Answer::by`] says how the answer was made: it is
/// [`Aggregate::List`] where a vote has no winner, or the judge did not do its part.
pub fn aggregate_results(aggregate: Aggregate, reports: &[AgentReport]) -> Option<Answer> {
    let (judge, others) = match reports.split_last() {
        Some((judge, others)) if aggregate.needs_judge() => (Some(judge), others),
        _ => (None, reports),
    };
    let completed: Vec<&AgentReport> = others.iter().filter(|report| is_answer(report)).collect();
    let verdict = judge.filter(|judge| is_answer(judge)).and_then(|judge| judge.answer.as_deref());
    let chosen = match aggregate {
        Aggregate::List => None,
        Aggregate::First => first(&completed).map(|report| vec![report]),
        Aggregate::Vote => winners(&completed),
        Aggregate::Judge => verdict.and_then(|verdict| named(verdict, &completed)).map(|report| vec![report]),
        Aggregate::Synthesize => verdict.is_some().then(|| completed.clone()),
    };
    let by = if chosen.is_some() { aggregate } else { Aggregate::List };
    let chosen = chosen.unwrap_or(completed);
    let text = match (by, chosen.as_slice()) {
        (_, []) => return None,
        (Aggregate::Synthesize, _) => verdict?.to_owned(),
        (Aggregate::List, [_, _, ..]) => sections(&chosen),
        (_, [report, ..]) => report.answer.clone()?,
    };
    Some(Answer { by, agents: chosen.iter().map(|report| report.id.clone()).collect(), text })
}

fn is_answer(report: &AgentReport) -> bool {
    report.status == Outcome::Completed && report.answer.is_some()
}

/// The answer that was complete first. Not by `ended_at`: somebody may have set the clock meanwhile.
fn first<'a>(completed: &[&'a AgentReport]) -> Option<&'a AgentReport> {
    let ended = |report: &&AgentReport| {
        report.started_at.map(|at| at.timestamp_millis().saturating_add_unsigned(report.duration_ms))
    };
    completed.iter().copied().min_by_key(ended)
}

/// The agents that gave the answer which more gave than any other.
fn winners<'a>(completed: &[&'a AgentReport]) -> Option<Vec<&'a AgentReport>> {
    let mut groups: Vec<Vec<&AgentReport>> = Vec::new();
    for report in completed {
        let text = |report: &AgentReport| report.answer.as_deref().map(|text| text.trim().to_owned());
        match groups.iter_mut().find(|group| text(group[0]) == text(report)) {
            Some(group) => group.push(report),
            None => groups.push(vec![report]),
        }
    }
    let most = groups.iter().map(Vec::len).max()?;
    let mut winners = groups.into_iter().filter(|group| group.len() == most);
    winners.next().filter(|_| winners.next().is_none())
}

/// The answer that a judge names in the last line of the form `best: NAME`.
fn named<'a>(verdict: &str, completed: &[&'a AgentReport]) -> Option<&'a AgentReport> {
    let name = verdict.lines().rev().find_map(|line| {
        // Models put words in bold type and names in quotes.
        let plain = line.replace(['*', '`', '"', '\''], "");
        let (word, name) = plain.split_once(':')?;
        word.trim().eq_ignore_ascii_case("best").then(|| name.trim().trim_end_matches('.').to_owned())
    })?;
    completed.iter().copied().find(|report| report.id.as_ref().eq_ignore_ascii_case(&name))
}

/// Several answers, each under its agent's name.
fn sections(reports: &[&AgentReport]) -> String {
    let section = |report: &&AgentReport| {
        format!("## {}\n\n{}", report.id, report.answer.as_deref().unwrap_or_default().trim_end())
    };
    reports.iter().map(section).collect::<Vec<_>>().join("\n\n")
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
