//! The state of alerts as notes of a store, which several processes share.

use chrono::{DateTime, Utc};

use crate::alert_state::RuleState;
use crate::{Alert, AlertRule, MetricsError, MetricsStore, Sample};

/// What the names of the notes begin with; the rule's name follows.
const BEGINNING: &str = "alert/";

/// What came of a judgement.
#[derive(Debug, Default)]
pub struct Judged {
    /// Alerts that came to another state, each as it was right after, in their order; no other process is told the same.
    pub changes: Vec<Alert>,
    /// The alerts that fire now, whoever judged them.
    pub firing: Vec<Alert>,
    /// Samples of more sources than a rule follows.
    pub crowd: u64,
    /// Rules whose state could not be read, and begins anew.
    pub unreadable: Vec<String>,
    /// Why not all rules were judged.
    pub problem: Option<MetricsError>,
}

/// Judges samples and the time by rules.
///
/// What is known of a rule is a note of the store, changed by one process at a time: what one has told, no other tells, and
/// none begins anew when a process ends. Samples come in the order of their times; those that a store would not take are
/// passed over.
pub fn judge_alerts(
    store: &dyn MetricsStore,
    rules: &[AlertRule],
    samples: &[Sample],
    now: DateTime<Utc>,
) -> Judged {
    let mut judged = Judged::default();
    if let Err(problem) = judge_all(store, rules, (samples, now), &mut judged) {
        judged.problem = Some(problem);
    }
    judged
}

fn judge_all(
    store: &dyn MetricsStore,
    rules: &[AlertRule],
    (samples, now): (&[Sample], DateTime<Utc>),
    judged: &mut Judged,
) -> Result<(), MetricsError> {
    let notes = if rules.is_empty() { Vec::new() } else { store.notes(BEGINNING)? };
    for rule in rules {
        let name = format!("{BEGINNING}{}", rule.name);
        let note = notes.iter().find(|(known, _)| *known == name).map(|(_, note)| note.as_str());
        let mut made = judge(rule, note, (samples, now));
        // Time alone rarely changes anything.
        if made.is_new {
            store.change_note(&name, &mut |note| {
                made = judge(rule, note, (samples, now));
                Some(serde_json::to_string(&made.state).expect("its keys are strings"))
            })?;
        }
        judged.changes.append(&mut made.changes);
        judged.firing.extend(made.state.alerts(rule).filter(|alert| alert.state.is_firing()));
        judged.crowd += made.crowd;
        judged.unreadable.extend(made.is_unreadable.then(|| rule.name.clone()));
    }
    Ok(())
}

/// How all alerts of the rules are; nothing is changed, and nobody is told.
///
/// # Errors
/// The store cannot be read.
pub fn alerts(
    store: &dyn MetricsStore,
    rules: &[AlertRule],
    now: DateTime<Utc>,
) -> Result<Vec<Alert>, MetricsError> {
    let notes = store.notes(BEGINNING)?;
    let of_rule = |rule: &AlertRule| {
        let name = format!("{BEGINNING}{}", rule.name);
        let note = notes.iter().find(|(known, _)| *known == name).map(|(_, note)| note.as_str());
        judge(rule, note, (&[], now)).state.alerts(rule).collect::<Vec<_>>()
    };
    Ok(rules.iter().flat_map(of_rule).collect())
}

/// Lets go of what is known of rules that are not among these.
///
/// # Errors
/// The store cannot be read or written.
pub fn forget_alerts(store: &dyn MetricsStore, rules: &[AlertRule]) -> Result<(), MetricsError> {
    for (name, _) in store.notes(BEGINNING)? {
        if rules.iter().all(|rule| name.strip_prefix(BEGINNING) != Some(&rule.name)) {
            store.change_note(&name, &mut |_| None)?;
        }
    }
    Ok(())
}

/// What one judgement of one rule made.
struct Made {
    state: RuleState,
    changes: Vec<Alert>,
    crowd: u64,
    is_new: bool,
    is_unreadable: bool,
}

fn judge(rule: &AlertRule, note: Option<&str>, (samples, now): (&[Sample], DateTime<Utc>)) -> Made {
    let read: Option<Result<RuleState, _>> = note.map(serde_json::from_str);
    let is_unreadable = matches!(read, Some(Err(_)));
    let before = read.and_then(Result::ok).filter(|state| state.is_of(rule));
    let mut state = before.clone().unwrap_or_else(|| RuleState::new(rule));
    let (changes, crowd) = state.judge(rule, samples, now);
    let is_new = before.as_ref() != Some(&state);
    Made { state, changes, crowd, is_new, is_unreadable }
}
