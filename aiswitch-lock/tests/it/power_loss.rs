//! A loss of power at any moment: what a writer had been told is written is there afterwards.
//!
//! A writer's system calls are recorded by `strace`. For each beginning of the record images of the disk are made: with
//! nothing of what was not synced yet, with all of it, and with any part of it, sector by sector. Each is opened anew.
//! What is not synced: what was written to a file since the last `fsync` of it, and the making and removing of a name since
//! that of its folder.
#![expect(clippy::disallowed_methods, reason = "the recorder is a program")]

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use aiswitch_lock::database::Database;
use tempfile::TempDir;

use crate::child::{self, command};
use crate::database::{SCHEMA, add};
use crate::support::Random;

/// How often the writer opens the database, and how much it writes each time.
const OPENS: u64 = 3;
const WRITES: u64 = 6;

/// What a disk writes in one piece, in bytes.
const SECTOR: usize = 512;

/// How many images with any part of what is not synced are made of each beginning.
const TORN: usize = 2;

/// Each file of the database but the one that SQLite makes anew from the others.
const FILES: [&str; 3] = ["entries.db", "entries.db-wal", "entries.db-journal"];

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_power_fails_at_any_moment() {
    let test = "power_loss::nothing_that_was_acknowledged_is_lost_when_the_power_fails_at_any_moment";
    if let Some((_, folder)) = child::role() {
        return write_some(&folder);
    }
    let home = TempDir::new().unwrap();
    let home_path = fs::canonicalize(home.path()).unwrap();
    let Some(record) = record(test, &home_path) else {
        println!("skipped: the replay of a loss of power: install strace");
        return;
    };
    let steps: Vec<Step> = record.lines().filter_map(|line| step(line, &home_path)).collect();
    let mut random = Random::new();
    let (mut disk, mut acknowledged, mut images) = (Disk::default(), 0, 0);
    for step in &steps {
        match step {
            Step::Acknowledge => acknowledged += 1,
            step => disk.apply(step),
        }
        let mut any = |kind: usize| match kind {
            0 => false,
            1 => true,
            _ => random.below(2) == 0,
        };
        for kind in 0..2 + TORN {
            assert_kept(&disk.image(|| any(kind)), acknowledged, &format!("{step:?} {kind}"));
            images += 1;
        }
    }
    assert_eq!(acknowledged, OPENS * WRITES);
    println!("{} steps, {images} images: {acknowledged} acknowledged, 0 lost", steps.len());
}

/// Writes entries and notes each one that it was told is written; closes the database, which folds its log, and goes on.
fn write_some(folder: &Path) {
    let mut notes = OpenOptions::new().append(true).create(true).open(folder.join("acknowledged")).unwrap();
    for open in 0..OPENS {
        let database = Database::open(folder.join("entries.db"), &SCHEMA).unwrap();
        for write in 0..WRITES {
            add(&database, 0, open * WRITES + write).unwrap();
            notes.write_all(b"!").unwrap();
        }
    }
}

/// What a writer asked of the system; `None` without `strace`.
fn record(test: &str, folder: &Path) -> Option<String> {
    let path = folder.join("record");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "65536", "-o"]).arg(&path);
    strace.args(["-e", "trace=openat,write,pwrite64,ftruncate,fsync,fdatasync,unlink,unlinkat,rename", "--"]);
    let writer = command(test, "writer", folder);
    strace.arg(writer.get_program()).args(writer.get_args());
    strace.envs(writer.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = strace.output().ok()?;
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Some(fs::read_to_string(path).unwrap())
}

/// What happened to the files of the database.
#[derive(Debug)]
enum Step {
    Create(String),
    Write { file: String, at: usize, bytes: Vec<u8> },
    Cut { file: String, length: usize },
    Sync(String),
    Remove(String),
    SyncFolder,
    Acknowledge,
}

/// Reads a line of the record; what is about other files is nothing.
fn step(line: &str, folder: &Path) -> Option<Step> {
    let call = line.split_once(' ')?.1.trim_start();
    let (name, rest) = call.split_once('(')?;
    assert!(!call.contains("unfinished"), "the writer has one thread: {line}");
    let (arguments, result) = rest.rsplit_once(") ")?;
    if result.trim_start_matches([' ', '=']).starts_with('-') {
        return None;
    }
    let texts: Vec<Vec<u8>> = arguments.split(['<', '>', '"']).skip(1).step_by(2).map(unhex).collect();
    let path = |place: usize| String::from_utf8(texts.get(place)?.clone()).ok();
    let file = |path: String| {
        let name = Path::new(&path).strip_prefix(folder).ok()?.to_str()?.to_owned();
        FILES.contains(&name.as_str()).then_some(name)
    };
    let number = || arguments.rsplit(", ").next()?.parse().ok();
    match name {
        "openat" if arguments.contains("O_CREAT") => file(path(1)?).map(Step::Create),
        "write" if path(0)?.ends_with("/acknowledged") => Some(Step::Acknowledge),
        "pwrite64" => {
            Some(Step::Write { file: file(path(0)?)?, at: number()?, bytes: texts.get(1)?.clone() })
        }
        "ftruncate" => Some(Step::Cut { file: file(path(0)?)?, length: number()? }),
        "fsync" | "fdatasync" if Path::new(&path(0)?) == folder => Some(Step::SyncFolder),
        "fsync" | "fdatasync" => file(path(0)?).map(Step::Sync),
        "unlink" => file(path(0)?).map(Step::Remove),
        "write" | "unlinkat" | "rename" => {
            let is_ours = texts.iter().any(|text| file(String::from_utf8_lossy(text).into_owned()).is_some());
            assert!(!is_ours, "a step that this test does not know: {line}");
            None
        }
        _ => None,
    }
}

/// A text of the record, in which each byte is `\xNN`.
fn unhex(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(&byte[..2], 16).unwrap()).collect()
}

/// The files of a disk: what is on it for sure, and what may be.
#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Default)]
struct File {
    /// Whether its name is there for sure.
    has_name: bool,
    /// Whether its name was made or removed since.
    renamed: Option<bool>,
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut { length: usize },
}

impl Disk {
    fn file(&mut self, name: &str) -> &mut File {
        self.files.entry(name.to_owned()).or_default()
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(name) => {
                let file = self.file(name);
                // Opening a file that is there makes nothing; one that was removed begins empty.
                match file.renamed {
                    Some(false) => {
                        *file = File { has_name: file.has_name, renamed: Some(true), ..File::default() };
                    }
                    None if !file.has_name => file.renamed = Some(true),
                    _ => {}
                }
            }
            Step::Write { file: name, at, bytes } => {
                self.file(name).since.push(Change::Write { at: *at, bytes: bytes.clone() });
            }
            Step::Cut { file: name, length } => self.file(name).since.push(Change::Cut { length: *length }),
            Step::Sync(name) => {
                let file = self.file(name);
                for change in std::mem::take(&mut file.since) {
                    change.make(&mut file.synced, || true);
                }
            }
            Step::Remove(name) => self.file(name).renamed = Some(false),
            Step::SyncFolder => {
                for file in self.files.values_mut() {
                    file.has_name = file.renamed.take().unwrap_or(file.has_name);
                    if !file.has_name {
                        *file = File::default();
                    }
                }
            }
            Step::Acknowledge => {}
        }
    }

    /// What may be on the disk; `arrived` says of each thing that is not synced whether it is there.
    fn image(&self, mut arrived: impl FnMut() -> bool) -> BTreeMap<&str, Vec<u8>> {
        let mut image = BTreeMap::new();
        for (name, file) in &self.files {
            let has_name = match file.renamed {
                Some(has_name) if arrived() => has_name,
                _ => file.has_name,
            };
            if has_name {
                let mut content = file.synced.clone();
                file.since.iter().for_each(|change| change.make(&mut content, &mut arrived));
                image.insert(name.as_str(), content);
            }
        }
        image
    }
}

impl Change {
    /// Makes it, each sector for itself.
    fn make(&self, content: &mut Vec<u8>, mut arrived: impl FnMut() -> bool) {
        match self {
            Self::Cut { length } if arrived() => content.resize(*length, 0),
            Self::Cut { .. } => {}
            Self::Write { at, bytes } => {
                let mut at = *at;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (sector, more) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
                    if arrived() {
                        let end = at + sector.len();
                        content.resize(content.len().max(end), 0);
                        content[at..end].copy_from_slice(sector);
                    }
                    at += sector.len();
                    rest = more;
                }
            }
        }
    }
}

/// Opens an image and looks whether all is there that was acknowledged.
fn assert_kept(image: &BTreeMap<&str, Vec<u8>>, acknowledged: u64, place: &str) {
    let folder = TempDir::new().unwrap();
    for (name, content) in image {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let database = Database::open(folder.path().join("entries.db"), &SCHEMA)
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(database.check().unwrap(), Vec::<String>::new(), "{place}");
    let kept: HashSet<i64> = database
        .read(|view| {
            let mut rows = view.prepare("SELECT number FROM entry")?;
            rows.query_map([], |row| row.get(0))?.collect()
        })
        .unwrap();
    let lost: Vec<u64> = (0..acknowledged).filter(|number| !kept.contains(&number.cast_signed())).collect();
    assert!(lost.is_empty(), "{place}: {lost:?} of {acknowledged} are lost");
}
