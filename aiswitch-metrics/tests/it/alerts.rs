//! Alerts: when they fire, for how long, and what is known of them after a process has ended.

use aiswitch_metrics::{
    ALERT_SOURCES_MAX, AgentStatus, Alert, AlertCondition, AlertRule, AlertState, MemoryMetricsStore, Metric,
    MetricsStore, Sample, Source, SqliteMetricsStore, TOLD_WITHIN, Telling, WARM_UP_SAMPLES, alerts,
    forget_alerts, judge_alerts, settle_alerts,
};
use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;

use crate::stores::{at, noon, sample};

const ABOVE_10: AlertCondition = AlertCondition::Above(10.0);

/// What the state of one alert takes at most, however long its series is; most of it are the figures of its detector.
const NOTE_BYTES_MAX: usize = 24 * 1024;

fn rule(condition: AlertCondition, pending_s: i64, keep_s: i64) -> AlertRule {
    AlertRule {
        pending_for: TimeDelta::seconds(pending_s),
        keep_firing_for: TimeDelta::seconds(keep_s),
        ..AlertRule::new("heavy", Metric::MEMORY_BYTES, condition)
    }
}

fn of_claude(rule: AlertRule) -> AlertRule {
    AlertRule { source: Some(Source::Agent("claude".to_owned())), ..rule }
}

/// A state with its times in seconds.
fn words(alert: &Alert) -> String {
    let seconds = |time: chrono::DateTime<chrono::Utc>| (time - noon()).num_seconds();
    match alert.state {
        AlertState::Inactive => "inactive".to_owned(),
        AlertState::Pending { since } => format!("pending {}", seconds(since)),
        AlertState::Firing { since, .. } => format!("firing {}", seconds(since)),
        AlertState::Resolved { since, until } => format!("resolved {} {}", seconds(since), seconds(until)),
    }
}

/// Tells all that there is to tell, each in its turn, as a process does that is not killed.
fn tell_all(
    store: &dyn MetricsStore,
    rules: &[AlertRule],
    mut tellings: Vec<Telling>,
    now: DateTime<Utc>,
) -> Vec<Alert> {
    let mut told = Vec::new();
    while !tellings.is_empty() {
        assert!(tellings.iter().all(|telling| !telling.is_late), "{tellings:?}");
        let these: Vec<Alert> = tellings.drain(..).map(|telling| telling.alert).collect();
        tellings = settle_alerts(store, rules, &these, now).expect("it can be written");
        told.extend(these);
    }
    told
}

/// What is told of steps, and shown before: a figure at a second, or only the time. Each is judged by a process of its own.
fn told(rule: &AlertRule, steps: &[(i64, Option<f64>)]) -> Vec<String> {
    let home = TempDir::new().expect("a folder");
    let (memory, mut of_files, mut of_memory) = (MemoryMetricsStore::new(), Vec::new(), Vec::new());
    for (second, value) in steps {
        let samples: Vec<Sample> =
            value.iter().map(|value| sample("claude", *second, &Metric::MEMORY_BYTES, *value)).collect();
        let reopened = SqliteMetricsStore::at(home.path().join("metrics.db"));
        for (store, told) in [(&reopened as &dyn MetricsStore, &mut of_files), (&memory, &mut of_memory)] {
            let judged = judge_alerts(store, std::slice::from_ref(rule), &samples, at(*second));
            assert!(judged.problem.is_none() && judged.unreadable.is_empty(), "{judged:?}");
            let has_told = tell_all(store, std::slice::from_ref(rule), judged.tellings, at(*second));
            told.extend(has_told.iter().map(words));
            let known = alerts(store, std::slice::from_ref(rule), at(*second)).expect("it can be read");
            let untold = |alert: &&Alert| match alert.state {
                AlertState::Pending { .. } => true,
                AlertState::Inactive => told.last().is_some_and(|last| last.starts_with("pending")),
                _ => false,
            };
            let shown: Vec<String> = known.iter().filter(untold).map(words).collect();
            told.extend(shown.into_iter().filter(|words| told.last() != Some(words)).collect::<Vec<_>>());
            let firing: Vec<&Alert> = known.iter().filter(|alert| alert.state.is_firing()).collect();
            assert!(firing.iter().all(|alert| !alert.is_untold), "{known:?}");
            assert_eq!(firing.len(), judged.firing.len());
            assert!(firing.iter().zip(&judged.firing).all(|(known, judged)| known.state == judged.state));
        }
    }
    assert_eq!(of_files, of_memory);
    of_files
}

#[test]
fn an_alert_fires_once_it_was_so_for_long_enough_and_as_long_as_it_is_so() {
    let (high, low, time) = (Some(11.0), Some(10.0), None);
    let above = |pending_s, keep_s| rule(ABOVE_10, pending_s, keep_s);
    let below = rule(AlertCondition::Below(10.5), 0, 0);
    for (rule, steps, expected) in [
        (
            above(0, 0),
            &[(0, low), (10, high), (20, high), (30, low)][..],
            &["firing 10", "resolved 10 30"][..],
        ),
        (
            above(20, 0),
            &[(0, high), (10, high), (20, high), (30, low)],
            &["pending 0", "firing 20", "resolved 20 30"],
        ),
        // It comes and goes: never for long enough, or one alert all the while.
        (
            above(20, 0),
            &[(0, high), (10, low), (20, high), (30, low)],
            &["pending 0", "inactive", "pending 20", "inactive"],
        ),
        (
            above(0, 30),
            &[(0, high), (10, low), (20, high), (30, low), (50, low), (60, low)],
            &["firing 0", "resolved 0 60"],
        ),
        (above(0, 30), &[(0, high), (10, low), (39, time), (40, time)], &["firing 0", "resolved 0 40"]),
        // It fires anew after it had ended.
        (above(0, 0), &[(0, high), (10, low), (20, high)], &["firing 0", "resolved 0 10", "firing 20"]),
        // Time alone has nothing fire.
        (above(20, 0), &[(0, high), (20, time), (290, time)], &["pending 0"]),
        (below, &[(0, high), (10, low), (20, high)], &["firing 10", "resolved 10 20"]),
        (above(0, 0), &[(0, Some(f64::NAN)), (10, Some(f64::INFINITY)), (20, Some(-11.0))], &[]),
    ] {
        assert_eq!(told(&rule, steps), expected, "{rule:?} {steps:?}");
    }
}

#[test]
fn a_gap_is_neither_0_nor_the_figure_before_it() {
    let high = Some(11.0);
    for (rule, steps, expected) in [
        // Whether it was so in the gap is not known.
        (
            rule(ABOVE_10, 60, 0),
            &[(0, high), (400, high), (459, high), (460, high)][..],
            &["pending 0", "pending 400", "firing 460"][..],
        ),
        (rule(ABOVE_10, 0, 0), &[(0, high), (300, None), (301, None)], &["firing 0", "resolved 0 300"]),
        (rule(ABOVE_10, 0, 60), &[(0, high), (359, None), (360, None)], &["firing 0", "resolved 0 360"]),
        (rule(AlertCondition::Below(5.0), 0, 0), &[(0, high), (1_000, None)], &[]),
    ] {
        assert_eq!(told(&rule, steps), expected, "{rule:?} {steps:?}");
    }
}

#[test]
fn absence_fires_by_time_alone_and_ends_with_a_figure() {
    let absent = of_claude(rule(AlertCondition::Absent(TimeDelta::seconds(60)), 0, 0));
    let steps =
        [(0, None), (59, None), (60, None), (70, Some(1.0)), (129, None), (130, None), (900, Some(1.0))];
    assert_eq!(told(&absent, &steps), ["firing 60", "resolved 60 70", "firing 130", "resolved 130 900"]);
}

#[test]
fn a_clock_that_goes_back_neither_ends_an_alert_nor_holds_it_up() {
    let (high, low) = (Some(11.0), Some(1.0));
    for (rule, steps, expected) in [
        // By a little: another process was late.
        (
            rule(ABOVE_10, 20, 0),
            &[(0, high), (10, high), (5, high), (20, high)][..],
            &["pending 0", "firing 20"][..],
        ),
        // By hours: as much of each time has passed as before.
        (
            rule(ABOVE_10, 20, 0),
            &[(0, high), (10, high), (-7_200, high), (-7_190, high)],
            &["pending 0", "pending -7210", "firing -7190"],
        ),
        (
            rule(ABOVE_10, 0, 30),
            &[(0, high), (10, low), (-7_200, low), (-7_171, low), (-7_170, low)],
            &["firing 0", "resolved -7210 -7170"],
        ),
        (
            rule(ABOVE_10, 0, 0),
            &[(0, high), (-7_200, None), (-7_190, low)],
            &["firing 0", "resolved -7200 -7190"],
        ),
        // And by hours ahead, which is a gap.
        (rule(ABOVE_10, 0, 0), &[(0, high), (7_200, high)], &["firing 0", "resolved 0 300", "firing 7200"]),
    ] {
        assert_eq!(told(&rule, steps), expected, "{rule:?} {steps:?}");
    }
}

#[test]
fn what_a_process_took_is_over_with_it() {
    let mut last = sample("claude", 10, &Metric::MEMORY_BYTES, 11.0);
    last.figures.push((Metric::STATUS, f64::from(AgentStatus::Stopped.code())));
    last.figures.push((Metric::ERROR_COUNT, 1.0));
    let failed = AlertRule::new("failed", Metric::ERROR_COUNT, AlertCondition::Above(0.0));
    let rules = [rule(ABOVE_10, 0, 0), failed];
    let store = MemoryMetricsStore::new();
    let judged = judge_alerts(&store, &rules, &[last], at(10));
    let told = tell_all(&store, &rules, judged.tellings, at(10));
    let told: Vec<String> = told.iter().map(|alert| alert.rule.clone() + " " + &words(alert)).collect();
    assert_eq!(told, ["heavy firing 10", "failed firing 10", "heavy resolved 10 10"]);
}

#[test]
fn a_rule_is_about_those_whom_it_names() {
    let store = MemoryMetricsStore::new();
    let system = Sample { source: Source::System, ..sample("", 0, &Metric::CPU_PERCENT, 11.0) };
    let samples = [
        sample("claude", 0, &Metric::CPU_PERCENT, 11.0),
        sample("codex", 0, &Metric::CPU_PERCENT, 11.0),
        sample("", 0, &Metric::CPU_PERCENT, 11.0),
        system,
    ];
    let each = AlertRule::new("each", Metric::CPU_PERCENT, ABOVE_10);
    let one = AlertRule { name: "one".to_owned(), ..of_claude(each.clone()) };
    let machine = AlertRule { name: "machine".to_owned(), source: Some(Source::System), ..each.clone() };
    let judged = judge_alerts(&store, &[each, one, machine], &samples, at(0));
    let fired: Vec<String> =
        judged.firing.iter().map(|alert| format!("{} {}", alert.rule, alert.source)).collect();
    assert_eq!(fired, ["each claude", "each codex", "one claude", "machine (system)"]);
}

#[test]
fn several_processes_fire_once_and_lose_nothing() {
    const ROUNDS: i64 = 20;
    let home = TempDir::new().expect("a folder");
    let path = home.path().join("metrics.db");
    let told: Vec<Alert> = std::thread::scope(|scope| {
        let process = |number: i64| {
            let path = &path;
            move || {
                let store = SqliteMetricsStore::at(path);
                let rules = [rule(ABOVE_10, 2, 0)];
                let mut told = Vec::new();
                for second in 0..ROUNDS {
                    let own = format!("agent-{number}");
                    let samples =
                        [&own, "shared"].map(|agent| sample(agent, second, &Metric::MEMORY_BYTES, 11.0));
                    let judged = judge_alerts(&store, &rules, &samples, at(second));
                    assert!(judged.problem.is_none(), "{judged:?}");
                    told.extend(tell_all(&store, &rules, judged.tellings, at(second)));
                }
                told
            }
        };
        let processes: Vec<_> = (0..4).map(|number| scope.spawn(process(number))).collect();
        processes.into_iter().flat_map(|process| process.join().expect("no panic")).collect()
    });
    let mut fired: Vec<String> = told.iter().map(|alert| alert.source.to_string()).collect();
    fired.sort();
    assert_eq!(fired, ["agent-0", "agent-1", "agent-2", "agent-3", "shared"], "{told:?}");
    assert!(told.iter().all(|alert| alert.state.is_firing()), "{told:?}");
}

#[test]
fn what_its_process_did_not_tell_another_tells_late_and_in_order() {
    let home = TempDir::new().expect("a folder");
    let path = home.path().join("metrics.db");
    let (killed, others) = (SqliteMetricsStore::at(&path), SqliteMetricsStore::at(&path));
    let rules = [rule(ABOVE_10, 0, 0)];
    let judge = |store: &SqliteMetricsStore, second, values: &[f64]| -> Vec<(String, bool)> {
        let sample = |value: &f64| sample("claude", second, &Metric::MEMORY_BYTES, *value);
        let samples: Vec<Sample> = values.iter().map(sample).collect();
        let judged = judge_alerts(store, &rules, &samples, at(second));
        assert!(judged.problem.is_none(), "{judged:?}");
        judged.tellings.iter().map(|telling| (words(&telling.alert), telling.is_late)).collect()
    };
    let fires = "firing 0".to_owned();
    // It takes this to tell it, and is killed.
    assert_eq!(judge(&killed, 0, &[11.0]), [(fires.clone(), false)]);
    let within = TOLD_WITHIN.num_seconds();
    // Nobody knows that yet, and nobody is told that it is over who was not told that it fired.
    assert_eq!(judge(&others, 10, &[1.0]), []);
    assert_eq!(judge(&others, within - 1, &[]), []);
    let known = alerts(&others, &rules, at(within - 1)).expect("it can be read");
    assert!(known[0].is_untold && !known[0].state.is_firing(), "{known:?}");
    // The first who looks afterwards tells it, and no other does.
    assert_eq!(judge(&others, within, &[]), [(fires.clone(), true)]);
    assert_eq!(judge(&others, within, &[]), []);
    // Who is killed as well leaves it to the next.
    assert_eq!(judge(&others, 2 * within, &[]), [(fires, true)]);
    let fired = Alert { state: AlertState::Firing { since: at(0), clear_since: None }, ..known[0].clone() };
    let next = settle_alerts(&others, &rules, &[fired], at(2 * within)).expect("it can be written");
    let [Telling { alert, is_late: true }] = &next[..] else { panic!("{next:?}") };
    assert_eq!(words(alert), "resolved 0 10");
    assert_eq!(
        settle_alerts(&others, &rules, std::slice::from_ref(alert), at(2 * within)).expect("it is"),
        []
    );
    let known = alerts(&others, &rules, at(2 * within)).expect("it can be read");
    assert!(!known[0].is_untold, "{known:?}");
    assert_eq!(judge(&others, 4 * within, &[]), []);
}

#[test]
fn what_is_to_be_told_is_bounded_and_none_of_it_is_swallowed() {
    let store = MemoryMetricsStore::new();
    let rules = [rule(ABOVE_10, 0, 0)];
    let mut told = 0;
    // Nobody settles what is taken.
    for second in 0..210 {
        let value = if second % 2 == 0 { 11.0 } else { 1.0 };
        let sample = sample("claude", second / 4, &Metric::MEMORY_BYTES, value);
        told += judge_alerts(&store, &rules, &[sample], at(second / 4)).tellings.len();
    }
    assert_eq!(told, 1 + 210 - 2 * ALERT_SOURCES_MAX);
    let note_bytes = store.notes("").expect("it can be read")[0].1.len();
    assert!(note_bytes < 2 * ALERT_SOURCES_MAX * 256, "{note_bytes}");
}

#[test]
fn what_a_detector_has_learnt_outlives_its_process() {
    let anomaly = rule(AlertCondition::Anomaly, 0, 25);
    let home = TempDir::new().expect("a folder");
    let (memory, mut of_files, mut of_memory) = (MemoryMetricsStore::new(), Vec::new(), Vec::new());
    let normal = |second: i64| 50.0 + f64::from(i32::try_from(second / 10 * 37 % 101).expect("small")) / 10.0;
    let last = 10 * i64::try_from(2 * WARM_UP_SAMPLES).expect("small");
    let seconds: Vec<i64> = (0..=last + 30).step_by(10).collect();
    for batch in seconds.chunks(25) {
        let value = |second: i64| if second == last { 5_000.0 } else { normal(second) };
        let samples: Vec<Sample> = batch
            .iter()
            .map(|second| sample("claude", *second, &Metric::MEMORY_BYTES, value(*second)))
            .collect();
        let now = samples[samples.len() - 1].at;
        let reopened = SqliteMetricsStore::at(home.path().join("metrics.db"));
        for (store, told) in [(&reopened as &dyn MetricsStore, &mut of_files), (&memory, &mut of_memory)] {
            let judged = judge_alerts(store, std::slice::from_ref(&anomaly), &samples, now);
            told.extend(tell_all(store, std::slice::from_ref(&anomaly), judged.tellings, now));
        }
        let notes = reopened.notes("").expect("it can be read");
        assert!(notes[0].1.len() < NOTE_BYTES_MAX, "{}", notes[0].1.len());
        let known = alerts(&reopened, std::slice::from_ref(&anomaly), now).expect("it can be read");
        let seen = u64::try_from(batch[batch.len() - 1] / 10 + 1).expect("positive");
        assert_eq!(known[0].warm_up_left, Some(WARM_UP_SAMPLES.saturating_sub(seen)));
    }
    assert_eq!(of_files, of_memory);
    let told: Vec<String> = of_files.iter().map(words).collect();
    assert_eq!(told, [format!("firing {last}")]);
    assert!(of_files[0].score.is_some_and(|score| score > 0.77), "{of_files:?}");
}

#[test]
fn a_rule_that_became_another_one_begins_anew_and_one_that_is_gone_is_forgotten() {
    let store = MemoryMetricsStore::new();
    let high = [sample("claude", 0, &Metric::MEMORY_BYTES, 11.0)];
    let before = rule(ABOVE_10, 0, 0);
    assert_eq!(judge_alerts(&store, std::slice::from_ref(&before), &high, at(0)).tellings.len(), 1);
    let longer = AlertRule { keep_firing_for: TimeDelta::seconds(9), ..before.clone() };
    assert_eq!(alerts(&store, std::slice::from_ref(&longer), at(1)).expect("it can be read").len(), 1);
    let other = AlertRule { condition: AlertCondition::Above(5.0), ..before.clone() };
    assert_eq!(alerts(&store, std::slice::from_ref(&other), at(1)).expect("it can be read"), []);
    forget_alerts(&store, std::slice::from_ref(&before)).expect("it can be written");
    assert_eq!(store.notes("").expect("it can be read").len(), 1);
    forget_alerts(&store, &[]).expect("it can be written");
    assert_eq!(store.notes("").expect("it can be read"), []);
}

#[test]
fn what_is_known_is_bounded_and_a_note_that_is_damaged_is_told_of() {
    let store = MemoryMetricsStore::new();
    let rules = [rule(ABOVE_10, 0, 0)];
    let crowd: Vec<Sample> = (0..ALERT_SOURCES_MAX + 3)
        .map(|number| sample(&format!("agent-{number}"), 0, &Metric::MEMORY_BYTES, 1.0))
        .collect();
    assert_eq!(judge_alerts(&store, &rules, &crowd, at(0)).crowd, 3);
    // Those that tell nothing any more make room.
    let day = 86_400;
    assert_eq!(judge_alerts(&store, &rules, &[], at(15 * day)).crowd, 0);
    let later = [sample("later", 15 * day, &Metric::MEMORY_BYTES, 11.0)];
    assert_eq!(judge_alerts(&store, &rules, &later, at(15 * day)).tellings.len(), 1);

    let (name, _) = store.notes("").expect("it can be read").remove(0);
    store
        .change_notes(&[&name], &mut |_, note| note.map(|note| note[1..].to_owned()))
        .expect("it can be written");
    let judged = judge_alerts(&store, &rules, &later, at(15 * day));
    assert_eq!((judged.unreadable, judged.tellings.len()), (vec!["heavy".to_owned()], 1));
    assert!(judge_alerts(&store, &rules, &later, at(15 * day)).unreadable.is_empty());
}

#[test]
fn a_rule_that_can_never_fire_is_refused() {
    let fits = rule(ABOVE_10, 0, 0);
    assert_eq!(fits.check(), Ok(()));
    let load = AlertRule { metric: Metric::LOAD_1M, ..fits.clone() };
    let system = AlertRule { source: Some(Source::System), ..fits.clone() };
    for (rule, expected) in [
        (
            AlertRule { name: "a b\n".to_owned(), ..fits.clone() },
            "`a b\\n` cannot be a rule's name, which has 1 to 64 letters, digits, `-`, `_` and `.`",
        ),
        (rule(AlertCondition::Above(f64::NAN), 0, 0), "`NaN` is no limit of a figure"),
        (rule(ABOVE_10, -1, 0), "`for` is longer than 30 days, or negative"),
        (rule(ABOVE_10, 0, 86_400 * 31), "`keep_firing_for` is longer than 30 days, or negative"),
        (
            rule(AlertCondition::Anomaly, 1, 0),
            "`for` cannot stand beside `anomaly`, which is told by one sample; `keep_firing_for` can",
        ),
        (
            rule(AlertCondition::Absent(TimeDelta::minutes(1)), 0, 0),
            "`absent` needs `agent` or `system: true`: whose figures are to come",
        ),
        (load, "`load_1m` is told by the machine alone: `system: true`, and no `agent`"),
        (system, "`memory_bytes` is not told by the machine, so `system: true` cannot stand beside it"),
    ] {
        assert_eq!(rule.check().expect_err("it is refused").to_string(), expected);
    }
}
