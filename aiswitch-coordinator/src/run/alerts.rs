//! What a run does about alerts: it tells of them, holds back starts, pauses and cancels agents.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiswitch_metrics::{Alert, AlertState, Judged, MetricsError, Source, Telling, settle_alerts};
use chrono::{DateTime, Utc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use super::pause::Hold;
use super::{Run, panic_message};
use crate::alert_command::{COMMAND_TIMEOUT, CommandPlace, Commands, Ended};
use crate::{AlertAction, AlertReport, AlertSink, RunEvent, RunEventKind, Watch, chain, clock};

/// How many alerts a report has; the log and the journal have all.
const ALERTS_MAX: usize = 1_000;

/// What to tell next, once it is noted what was told.
type Settled = Result<Vec<Telling>, MetricsError>;

/// What a run knows of alerts.
#[derive(Debug)]
pub(super) struct Alerts {
    /// Those that fire, with the place of their watch.
    firing: BTreeSet<(usize, Source)>,
    /// Those that fired, or were resolved, while it went on.
    pub(super) reports: Vec<AlertReport>,
    pub(super) commands: Commands,
    /// Those that are told to so many commands still, by the number of their telling.
    telling: BTreeMap<u64, (Alert, usize)>,
    tellings: u64,
    /// Those that were told, which the store is to note.
    told: Vec<Alert>,
    /// At most one.
    pub(super) settling: JoinSet<Settled>,
}

impl Alerts {
    pub(super) fn new(place: CommandPlace) -> Self {
        Self {
            firing: BTreeSet::new(),
            reports: Vec::new(),
            commands: Commands::new(place),
            telling: BTreeMap::new(),
            tellings: 0,
            told: Vec::new(),
            settling: JoinSet::new(),
        }
    }
}

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Looks which alerts fire before anything starts.
    pub(super) async fn begin_alerts(&mut self) {
        self.sampling.begin(clock::now());
        let cancel = self.start.cancel.clone();
        let written = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            written = self.sampling.written() => written,
        };
        if let Some(written) = written {
            self.sampled(written);
        }
    }

    /// Tells of alerts that came to fire or were resolved, and does what their watches say.
    pub(super) fn judged(&mut self, judged: Judged) {
        for rule in &judged.unreadable {
            self.warn(format!("what was known of alert `{rule}` could not be read, and begins anew"));
        }
        if judged.crowd > 0 {
            self.warn("not all agents are watched by rules of alerts: there are too many".to_owned());
        }
        self.tell_alerts(judged.tellings);
        let before = std::mem::take(&mut self.alerts.firing);
        let mut firing: BTreeSet<(usize, Source)> = judged
            .firing
            .iter()
            .filter_map(|alert| Some((self.watch_of(alert)?, alert.source.clone())))
            .collect();
        if let Some(problem) = judged.problem {
            self.warn(format!("not all alerts are known: {}", chain(&problem)));
            firing.extend(before.iter().cloned());
        }
        self.alerts.firing.clone_from(&firing);
        for (watch, source) in before.difference(&firing) {
            self.end_alert_pauses(*watch, source);
        }
        for alert in judged.firing {
            if let Some(watch) = self.watch_of(&alert)
                && !before.contains(&(watch, alert.source.clone()))
            {
                self.act(watch, &alert);
            }
        }
    }

    fn watch_of(&self, alert: &Alert) -> Option<usize> {
        self.start.alerts.iter().position(|watch| watch.rule.name == alert.rule)
    }

    fn tell_alerts(&mut self, tellings: Vec<Telling>) {
        for telling in tellings {
            self.tell_alert(telling);
        }
        self.settle();
    }

    /// Tells the sinks of an alert that it came to fire or was resolved.
    fn tell_alert(&mut self, Telling { alert, is_late }: Telling) {
        let (from, until) = match alert.state {
            AlertState::Firing { since, .. } => (since, None),
            AlertState::Resolved { since, until } => (since, Some(until)),
            AlertState::Inactive | AlertState::Pending { .. } => return,
        };
        let Some(watch) = self.watch_of(&alert).map(|watch| self.start.alerts[watch].clone()) else { return };
        let mut report = self.report_of(&watch, &alert, from);
        (report.until, report.told_late) = (until, is_late);
        self.keep_report(report.clone());
        self.alerts.tellings += 1;
        let (number, mut commands, mut is_told_to_all) = (self.alerts.tellings, 0, true);
        for sink in watch.sinks {
            match sink {
                AlertSink::Log => report.log(self.start.id),
                AlertSink::Event => {
                    let index = self.slots_of(&alert.source).next();
                    let index = index.filter(|_| alert.source.agent().is_some());
                    self.tell(index, RunEventKind::Alert { alert: report.clone() });
                }
                AlertSink::Command(argv) => match self.alerts.commands.add(number, argv, report.clone()) {
                    None => commands += 1,
                    Some(problem) => {
                        is_told_to_all = false;
                        self.warn(problem);
                    }
                },
            }
        }
        match (is_told_to_all, commands) {
            (true, 0) => self.alerts.told.push(alert),
            (true, _) => drop(self.alerts.telling.insert(number, (alert, commands))),
            // It is not noted as told, so that it is told once more.
            (false, _) => {}
        }
    }

    /// Starts noting what was told, unless that is done already.
    fn settle(&mut self) {
        let Some(store) = self.start.metrics.clone().filter(|_| self.alerts.settling.is_empty()) else {
            return;
        };
        let told = std::mem::take(&mut self.alerts.told);
        if !told.is_empty() {
            let rules = self.sampling.rules();
            let now = clock::now();
            self.alerts.settling.spawn_blocking(move || settle_alerts(&*store, &rules, &told, now));
        }
    }

    /// Tells what waited for what was told.
    pub(super) fn settled(&mut self, settled: Result<Settled, JoinError>) {
        let problem = match settled {
            Ok(Ok(tellings)) => return self.tell_alerts(tellings),
            Ok(Err(error)) => chain(&error),
            Err(error) => panic_message(error),
        };
        self.warn(format!(
            "an alert was told, which is not noted, so that it will be told once more: {problem}"
        ));
        self.settle();
    }

    /// What is told of an alert: what was told when it began to fire, or what there is to tell of it now.
    fn report_of(&self, watch: &Watch, alert: &Alert, from: DateTime<Utc>) -> AlertReport {
        let is_it = |report: &&AlertReport| {
            report.rule == alert.rule
                && report.agent.as_deref() == alert.source.agent()
                && report.until.is_none()
        };
        let known = self.alerts.reports.iter().rfind(is_it);
        known.cloned().unwrap_or_else(|| watch.report(&alert.source, alert.value, from))
    }

    fn keep_report(&mut self, report: AlertReport) {
        let is_it = |known: &&mut AlertReport| {
            known.rule == report.rule && known.agent == report.agent && known.until.is_none()
        };
        if let Some(known) = self.alerts.reports.iter_mut().rfind(is_it) {
            *known = report;
        } else if self.alerts.reports.len() < ALERTS_MAX {
            self.alerts.reports.push(report);
        } else {
            self.warn(format!("there were more than {ALERTS_MAX} alerts; the journal has them all"));
        }
    }

    /// The agents that an alert is about: the one of its name, and all where it is about the machine.
    fn slots_of<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = usize> + 'a {
        let is_meant = |index: &usize| {
            let id = self.start.ready.agents[*index].id();
            source.agent().is_none_or(|agent| agent == AsRef::<str>::as_ref(id))
        };
        (0..self.slots.len()).filter(is_meant)
    }

    /// Does what a watch says about the agents that work already.
    fn act(&mut self, place: usize, alert: &Alert) {
        let AlertState::Firing { since, .. } = alert.state else { return };
        let watch = self.start.alerts[place].clone();
        let report = self.report_of(&watch, alert, since);
        let meant: Vec<usize> =
            self.slots_of(&alert.source).filter(|index| self.slots[*index].is_at_work()).collect();
        match watch.action {
            Some(AlertAction::Pause) => {
                let hold = Hold::Alert { watch: place, until: Instant::now() + watch.pause_max };
                for index in meant {
                    self.keep_report(report.clone());
                    self.pause(index, hold, report.reason());
                }
            }
            Some(AlertAction::Cancel) => {
                for index in meant {
                    self.keep_report(report.clone());
                    self.slots[index].cancel_for(report.reason());
                }
            }
            Some(AlertAction::Throttle) | None => {}
        }
    }

    /// The rule of an alert that holds back further starts.
    pub(super) fn throttled_by(&self) -> Option<&str> {
        let watches = self.alerts.firing.iter().map(|(watch, _)| &self.start.alerts[*watch]);
        let mut throttling = watches.filter(|watch| watch.action == Some(AlertAction::Throttle));
        throttling.next().map(|watch| watch.rule.name.as_str())
    }

    fn end_alert_pauses(&mut self, ended: usize, source: &Source) {
        let meant: Vec<usize> = self.slots_of(source).collect();
        for index in meant {
            self.resume(index, |hold| matches!(hold, Hold::Alert { watch, .. } if *watch == ended));
        }
    }

    /// Has agents go on that an alert paused for as long as its watch allows.
    pub(super) fn end_long_pauses(&mut self) {
        let now = Instant::now();
        for index in 0..self.slots.len() {
            let is_over = |hold: &Hold| matches!(hold, Hold::Alert { until, .. } if *until <= now);
            if !self.slots[index].holds.iter().any(is_over) {
                continue;
            }
            self.resume(index, is_over);
            let id = self.id(index);
            self.warn(format!(
                "agent `{id}` goes on, since its alert allows no longer pause, and fires still"
            ));
        }
    }

    /// Takes note of how a program ended that was told of an alert.
    pub(super) fn command_ended(&mut self, ended: Result<Ended, JoinError>) {
        let Ended { telling, problem } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                return self.warn(format!("a command of an alert was not run: {}", panic_message(error)));
            }
        };
        // What a command was given and made nothing of is told as well.
        if let Some((alert, left)) = self.alerts.telling.remove(&telling) {
            match left {
                1 => self.alerts.told.push(alert),
                _ => drop(self.alerts.telling.insert(telling, (alert, left - 1))),
            }
        }
        if let Some(problem) = problem {
            self.warn(problem);
        }
        self.settle();
    }

    /// Waits for the programs that are told of alerts, for a time, and until it is noted what was told.
    pub(super) async fn end_alerts(&mut self) {
        let bound = Instant::now() + COMMAND_TIMEOUT + Duration::from_secs(1);
        loop {
            let left = bound.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                Some(settled) = self.alerts.settling.join_next() => self.settled(settled),
                Ok(Some(ended)) = timeout(left, self.alerts.commands.ended()) => self.command_ended(ended),
                else => break,
            }
        }
        let left = self.alerts.commands.kill().await;
        if left > 0 {
            self.warn(format!(
                "{left} alerts were not told to their commands in time; the next run tells them"
            ));
        }
    }
}
