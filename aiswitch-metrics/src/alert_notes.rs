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
    if rules.is_empty() {
        return Ok(());
    }
    let notes = store.notes(BEGINNING)?;
    let names: Vec<String> = rules.iter().map(name_of).collect();
    let judge_rule = |place: usize, note: Option<&str>| judge(&rules[place], note, (samples, now));
    let note_of =
        |name: &String| notes.iter().find(|(known, _)| known == name).map(|(_, note)| note.as_str());
    // A figure changes what is known; time alone rarely does, so that it is judged first whether it did.
    let of_time = |place: usize, name| {
        let has_figures = samples.iter().any(|sample| rules[place].is_about(&sample.source));
        (!has_figures).then(|| judge_rule(place, note_of(name))).filter(|made| !made.is_new)
    };
    let mut all: Vec<Option<Made>> =
        names.iter().enumerate().map(|(place, name)| of_time(place, name)).collect();
    // All at once: each writing waits for the disk.
    let left: Vec<&str> =
        all.iter().zip(&names).filter(|(made, _)| made.is_none()).map(|(_, name)| name.as_str()).collect();
    if !left.is_empty() {
        store.change_notes(&left, &mut |name, note| {
            let place = names.iter().position(|other| other == name)?;
            Some(written(&all[place].insert(judge_rule(place, note)).state))
        })?;
    }
    for (rule, mut made) in rules.iter().zip(all).filter_map(|(rule, made)| Some((rule, made?))) {
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
    let is_told = |rule: &&AlertRule| told.iter().any(|alert| alert.rule == rule.name);
    let rules: Vec<(String, &AlertRule)> =
        rules.iter().filter(is_told).map(|rule| (name_of(rule), rule)).collect();
    let names: Vec<&str> = rules.iter().map(|(name, _)| name.as_str()).collect();
    let mut tellings = Vec::new();
    store.change_notes(&names, &mut |name, note| {
        let known = rules.iter().find(|(other, _)| other == name);
        let known = known.and_then(|(_, rule)| Some((rule, read(rule, note?).ok()??)));
        let Some((rule, mut state)) = known else { return note.map(str::to_owned) };
        tellings.append(&mut state.settle(rule, told, now));
        Some(written(&state))
    })?;
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
        let name = name_of(rule);
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
    let is_gone = |name: &&str| rules.iter().all(|rule| name.strip_prefix(BEGINNING) != Some(&rule.name));
    let notes = store.notes(BEGINNING)?;
    let gone: Vec<&str> = notes.iter().map(|(name, _)| name.as_str()).filter(is_gone).collect();
    if gone.is_empty() { Ok(()) } else { store.change_notes(&gone, &mut |_, _| None) }
}

/// The name of a rule's note.
fn name_of(rule: &AlertRule) -> String {
    format!("{BEGINNING}{}", rule.name)
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
