//! The state of alerts as notes of a store, which several processes share.

use chrono::{DateTime, Utc};

use crate::alert_state::{RuleJudged, RuleState};
use crate::{Alert, AlertRule, MetricsError, MetricsStore, Sample, Telling};

/// What the names of the notes begin with; the rule's name follows.
const BEGINNING: &str = "alert/";

/// What came of a judgement.
#[derive(Debug, Default)]
pub struct Judged {
    /// What this process is to tell, and then to [settle](settle_alerts); no other process tells the same meanwhile.
    pub tellings: Vec<Telling>,
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
/// What is known of a rule is a note of the store, changed by one process at a time: what one tells, no other does, and none
/// begins anew when a process ends. What is to be told stays in the note until it is settled; when that is not done within
/// [`TOLD_WITHIN`](crate::TOLD_WITHIN), since the process was killed, the next judgement by any process has it told. Samples
/// come in the order of their times; those that a store would not take are passed over.
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
                Some(written(&made.state))
            })?;
        }
        judged.tellings.append(&mut made.judged.tellings);
        judged.firing.extend(made.state.alerts(rule).filter(|alert| alert.state.is_firing()));
        judged.crowd += made.judged.crowd;
        judged.unreadable.extend(made.is_unreadable.then(|| rule.name.clone()));
    }
    Ok(())
}

/// Notes that alerts were told, and says what this process is to tell next: what waited for that.
///
/// # Errors
/// The store cannot be written. What is not noted as told will be told once more.
pub fn settle_alerts(
    store: &dyn MetricsStore,
    rules: &[AlertRule],
    told: &[Alert],
    now: DateTime<Utc>,
) -> Result<Vec<Telling>, MetricsError> {
    let mut tellings = Vec::new();
    for rule in rules {
        let of_rule: Vec<Alert> = told.iter().filter(|alert| alert.rule == rule.name).cloned().collect();
        if of_rule.is_empty() {
            continue;
        }
        let mut next = Vec::new();
        store.change_note(&format!("{BEGINNING}{}", rule.name), &mut |note| {
            let note = note?;
            let Some(mut state) = read(rule, note).ok().flatten() else { return Some(note.to_owned()) };
            next = state.settle(rule, &of_rule, now);
            Some(written(&state))
        })?;
        tellings.append(&mut next);
    }
    Ok(tellings)
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
    judged: RuleJudged,
    is_new: bool,
    is_unreadable: bool,
}

fn judge(rule: &AlertRule, note: Option<&str>, (samples, now): (&[Sample], DateTime<Utc>)) -> Made {
    let known = note.map_or(Ok(None), |note| read(rule, note));
    let is_unreadable = known.is_err();
    let before = known.ok().flatten();
    let mut state = before.clone().unwrap_or_else(|| RuleState::new(rule));
    let judged = state.judge(rule, samples, now);
    let is_new = before.as_ref() != Some(&state);
    Made { state, judged, is_new, is_unreadable }
}

/// What a note knows of a rule; `None` where it is of another rule of that name.
fn read(rule: &AlertRule, note: &str) -> Result<Option<RuleState>, serde_json::Error> {
    let state: RuleState = serde_json::from_str(note)?;
    Ok(Some(state).filter(|state| state.is_of(rule)))
}

fn written(state: &RuleState) -> String {
    serde_json::to_string(state).expect("its keys are strings")
}
