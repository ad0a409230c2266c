//! Writers that are killed at any point: what they had been told is written is there.
//!
//! The long form: `AISWITCH_LOCK_DATABASE_KILLS=1000 cargo test --release -p aiswitch-lock --test it database_killed`.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use aiswitch_lock::database::Database;
use tempfile::TempDir;

use crate::child::{self, number, spawn};
use crate::database::{SCHEMA, add};
use crate::support::{Random, eventually};

const WRITERS: u64 = 2;

#[test]
fn nothing_that_was_acknowledged_is_lost_when_writers_are_killed() {
    let test = "database_killed::nothing_that_was_acknowledged_is_lost_when_writers_are_killed";
    if let Some((role, folder)) = child::role() {
        return write_on(&role, &folder);
    }
    let home = TempDir::new().unwrap();
    let mut random = Random::new();
    let rounds = number("AISWITCH_LOCK_DATABASE_KILLS", 15);
    let mut acknowledged = 0;
    for round in 0..rounds {
        let before = acknowledgements(home.path()).len();
        let role = |writer| format!("{}", round * WRITERS + writer);
        let mut writers: Vec<_> =
            (0..WRITERS).map(|writer| spawn(test, &role(writer), home.path())).collect();
        eventually("something was written", || acknowledgements(home.path()).len() > before);
        std::thread::park_timeout(Duration::from_micros(random.below(30_000)));
        writers.iter_mut().for_each(child::Process::kill);

        let database = Database::open(home.path().join("entries.db"), &SCHEMA).unwrap();
        let told = acknowledgements(home.path());
        let kept: HashSet<(u64, u64)> = database
            .read(|view| {
                let mut rows = view.prepare("SELECT writer, number FROM entry")?;
                let pairs = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
                pairs.map(|pair| pair.map(|(w, n)| (w.cast_unsigned(), n.cast_unsigned()))).collect()
            })
            .unwrap();
        let lost: Vec<_> = told.iter().filter(|entry| !kept.contains(entry)).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        // A writer may be killed between a write and its note.
        assert!(kept.len() as u64 <= told.len() as u64 + (round + 1) * WRITERS, "round {round}");
        acknowledged = told.len();
        if round % 10 == 0 || round + 1 == rounds {
            assert_eq!(database.check().unwrap(), Vec::<String>::new(), "round {round}");
        }
    }
    println!("{rounds} rounds with {WRITERS} writers: {acknowledged} acknowledged, 0 lost");
}

/// Writes entries and notes each one that it was told is written, until it is killed.
fn write_on(role: &str, folder: &Path) {
    let database = Database::open(folder.join("entries.db"), &SCHEMA).unwrap();
    // A killed process does not lose what it has given to the kernel, so a file does as well as a pipe.
    let mut notes = OpenOptions::new().append(true).create(true).open(folder.join("acknowledged")).unwrap();
    for number in 0.. {
        add(&database, role.parse().unwrap(), number).unwrap();
        // In one piece, so that neither the other writer nor the kill comes between.
        notes.write_all(format!("{role} {number}\n").as_bytes()).unwrap();
    }
}

fn acknowledgements(folder: &Path) -> Vec<(u64, u64)> {
    let notes = fs::read_to_string(folder.join("acknowledged")).unwrap_or_default();
    let whole = notes.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole
        .map(|line| line.split_once(' ').unwrap())
        .map(|(writer, number)| (writer.parse().unwrap(), number.parse().unwrap()))
        .collect()
}
