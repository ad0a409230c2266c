//! A store that several processes share.
#![expect(clippy::disallowed_methods, reason = "these tests are about several processes")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aiswitch_lock::ProcessMark;
use aiswitch_lock::database::{Database, Schema};
use aiswitch_tokens::{
    Amount, NanoUsd, Quota, QuotaMode, QuotaScope, ReserveRequest, Reserved, SqliteUsageStore, UsageQuery,
    UsageRecord, UsageStore, UsageSum,
};
use jiff::{SignedDuration, Timestamp};

use crate::store::record;

const FOLDER: &str = "AISWITCH_TOKENS_TEST_FOLDER";
const NOON: &str = "2026-11-23T12:00:00Z";

/// A test of this program in a process of its own, which is ended with the test.
struct Process(Child);

impl Process {
    fn start(test: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// What it says behind `told `, which it does once.
    fn told(&mut self) -> u64 {
        let lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        let told = lines.map(Result::unwrap).find_map(|line| Some(line.split_once("told ")?.1.to_owned()));
        told.unwrap().parse().unwrap()
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn store(folder: &Path) -> SqliteUsageStore {
    SqliteUsageStore::at(folder.join("usage.db"))
}

/// The folder that this process shares with the test; `None` in the test itself.
fn shared() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

#[test]
fn what_eight_processes_tell_three_times_each_counts_once() {
    let test = "processes::what_eight_processes_tell_three_times_each_counts_once";
    let records = |output| -> Vec<UsageRecord> {
        (0..200).map(|number| record(&number.to_string(), NOON, output)).collect()
    };
    if let Some(folder) = shared() {
        let store = store(&folder);
        // Partial reports, in another order by every process.
        for round in 0..3 {
            store.track_usage(&records(1 + (u64::from(std::process::id()) + round) % 3)).unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let processes: Vec<Process> = (0..8).map(|_| Process::start(test, folder.path())).collect();
    processes.into_iter().for_each(Process::end);
    let mut kept = Vec::new();
    store(folder.path()).records(&UsageQuery::default(), &mut |record| kept.push(record)).unwrap();
    assert_eq!(kept.len(), 200);
    assert!(kept.iter().all(|record| record.usage.unwrap().output_tokens == Some(3)));
}

#[test]
fn fifty_reservations_of_five_processes_for_ten_places_are_ten_until_their_owners_end() {
    let test =
        "processes::fifty_reservations_of_five_processes_for_ten_places_are_ten_until_their_owners_end";
    let now: Timestamp = NOON.parse().unwrap();
    let reserve = |store: &SqliteUsageStore| {
        let request = ReserveRequest {
            agent: "claude".into(),
            preset: None,
            estimate: Some(Amount { tokens: 100, usd: NanoUsd(0) }),
            owner: ProcessMark::own(),
            until: now + SignedDuration::from_hours(1),
        };
        matches!(store.reserve(&request, now).unwrap(), Reserved::Granted { .. })
    };
    if let Some(folder) = shared() {
        let store = store(&folder);
        let granted = (0..10).filter(|_| reserve(&store)).count();
        println!("told {granted}");
        // What it set aside is free again when it ends, so it stays until all have asked.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let quota = Quota {
        scope: QuotaScope::Agent("claude".into()),
        tokens: Some(1_000),
        usd: None,
        mode: QuotaMode::Hard,
        zone: "UTC".into(),
    };
    store.set_quota_limit(&quota).unwrap();
    let mut processes: Vec<Process> = (0..5).map(|_| Process::start(test, folder.path())).collect();
    assert_eq!(processes.iter_mut().map(Process::told).sum::<u64>(), 10);
    assert!(!reserve(&store));
    drop(processes);
    assert!((0..10).all(|_| reserve(&store)) && !reserve(&store), "those who set it aside were killed");
}

#[test]
fn a_store_of_the_first_version_goes_on_in_the_present_one() {
    const FIRST: Schema = Schema {
        application_id: 0x6169_5553,
        migrations: &["
            CREATE TABLE usage (
                source TEXT NOT NULL, message TEXT NOT NULL, at_ms INTEGER NOT NULL, agent TEXT NOT NULL,
                model TEXT, preset TEXT, task TEXT, run TEXT, session TEXT,
                input INTEGER, output INTEGER, cache_read INTEGER, cache_write INTEGER, reasoning INTEGER, total INTEGER,
                cost_nanos INTEGER, cost_source TEXT NOT NULL,
                PRIMARY KEY (source, message)
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX usage_at ON usage (at_ms, source, message);
            CREATE INDEX usage_agent_at ON usage (agent, at_ms, source, message);
        "],
    };
    let folder = tempfile::tempdir().unwrap();
    let first = Database::open(folder.path().join("usage.db"), &FIRST).unwrap();
    let sql = "INSERT INTO usage VALUES ('a', 'm', 1700000000000, 'claude', NULL, NULL, NULL, ?1, NULL,
        1, 2, NULL, NULL, NULL, 3, NULL, 'unknown')";
    first.write(|change| change.execute(sql, [None::<String>])).unwrap();
    drop(first);
    let store = store(folder.path());
    let mut sums = 0;
    let count = &mut |sum: &UsageSum<'_>| {
        sums += sum.records;
        true
    };
    store.sums(&UsageQuery::default(), count).unwrap();
    let mut requests = Vec::new();
    store.records(&UsageQuery::default(), &mut |record| requests.push(record.requests)).unwrap();
    assert_eq!((sums, requests), (1, vec![Some(1)]));
}
