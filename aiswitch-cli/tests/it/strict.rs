//! What others could change is not used, wherever it stands, until `doctor --fix` has closed it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Shown, configure, kept_runs, show, show_fed};
use crate::sandbox::Sandbox;

/// Every kind of file and folder that a home has, but those of runs; `*` stands for any name.
const HOME: &[&str] = &[
    "",
    "config",
    "config/agents.yaml",
    "config/presets.yaml",
    "config/coordination.yaml",
    "config/recipients.txt",
    "config/secrets.age",
    "keys",
    "keys/identity.txt",
    "locks",
    "locks/*",
    "state",
    "state/agents.json",
    "state/tasks.json",
    "state/runs.db",
    "audit",
    "audit/audit.head",
    "audit/audit-*",
    "runs",
];

/// Every kind of file and folder that a run keeps.
const RUN: &[&str] = &[
    "",
    "report.json",
    "events.jsonl",
    "agents",
    "agents/cat",
    "agents/cat/stdout.log",
    "agents/cat/stderr.log",
];

/// What makes others able to change a file or folder.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Group,
    Others,
    Link,
    Foreign,
}

const FAULTS: [Fault; 4] = [Fault::Group, Fault::Others, Fault::Link, Fault::Foreign];

/// A user that no file of the tests belongs to.
const NOBODY: u32 = 65534;

/// A home in which every kind of file is there.
fn full() -> Sandbox {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {cat: {driver: command, command: [/bin/cat]}}\n");
    configure(&sandbox, "coordination.yaml", "max_parallel: 2\n");
    for (args, input) in [
        (&["doctor", "--fix"][..], ""),
        (&["secrets", "init"], ""),
        (&["secrets", "set", "work", "A_KEY"], "sk-0123456789"),
        (&["run", "-a", "cat", "--lock", "x", "hello"], ""),
    ] {
        let shown = show_fed(&sandbox, args, input);
        assert!(matches!(shown.code, Some(0 | 20)), "{args:?}: {shown}");
    }
    sandbox
}

/// The path of one kind; a `*` at its end is the first name that fits.
fn path(root: &Path, kind: &str) -> PathBuf {
    let Some(start) = kind.strip_suffix('*') else {
        // Joined with nothing, a path ends in a slash, which would follow a link.
        return if kind.is_empty() { root.to_owned() } else { root.join(kind) };
    };
    let (folder, start) = start.rsplit_once('/').unwrap();
    let mut fitting = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    fitting.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start)).unwrap()
}

/// Brings a fault about; gives what takes it away again, or `None` where this user cannot.
fn spoil(path: &Path, fault: Fault) -> Option<Box<dyn FnOnce()>> {
    let path = path.to_owned();
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
    let widen = |bits: u32| fs::set_permissions(&path, Permissions::from_mode(mode | bits)).unwrap();
    match fault {
        Fault::Group => widen(0o020),
        Fault::Others => widen(0o002),
        Fault::Foreign => chown(&path, Some(NOBODY), None).ok()?,
        Fault::Link => {
            let target = path.with_file_name(format!("{}~", path.file_name().unwrap().to_str().unwrap()));
            fs::rename(&path, &target).unwrap();
            symlink(&target, &path).unwrap();
            return Some(Box::new(move || {
                fs::remove_file(&path).unwrap();
                fs::rename(&target, &path).unwrap();
            }));
        }
    }
    Some(Box::new(move || {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        if fault == Fault::Foreign {
            chown(&path, Some(rustix::process::geteuid().as_raw()), None).unwrap();
        }
    }))
}

/// Whether a command was refused because of this path, with what to do about it.
fn is_refused(shown: &Shown, path: &Path, fault: Fault) -> bool {
    let why = match fault {
        Fault::Group | Fault::Others => "others may change it (mode 0",
        Fault::Link => "it is a symbolic link",
        Fault::Foreign => "it belongs to user 65534",
    };
    let hint = match fault {
        Fault::Group | Fault::Others => "hint: aiswitch doctor --fix closes it",
        Fault::Link => "hint: aiswitch doctor --fix follows no link",
        Fault::Foreign => "hint: make it your own, or remove it: chown",
    };
    let told = format!("`{}` is not used: {why}", path.display());
    shown.code == Some(2)
        && shown.stdout.is_empty()
        && shown.stderr.contains(&told)
        && shown.stderr.contains(hint)
}

/// Goes through all kinds and faults; how many there were.
fn each(root: &Path, kinds: &[&str], check: impl Fn(&Path, Fault)) -> usize {
    let mut count = 0;
    for kind in kinds {
        for fault in FAULTS {
            let path = path(root, kind);
            let Some(mend) = spoil(&path, fault) else {
                eprintln!("skipped: a file of somebody else's needs root");
                continue;
            };
            check(&path, fault);
            mend();
            count += 1;
        }
    }
    count
}

#[test]
fn no_verb_reads_or_writes_a_home_in_which_others_could_change_something() {
    let sandbox = full();
    let reads: &[&[&str]] = &[&["preset", "list"], &["runs"], &["locks", "list"], &["audit", "verify"]];
    let writes: &[&[&str]] = &[
        &["preset", "add", "other", "A=1"],
        &["secrets", "rotate"],
        &["run", "-a", "cat", "hello"],
        &["apply", "work", "--", "/bin/true"],
    ];
    let before = (kept_runs(&sandbox).len(), show(&sandbox, &["preset", "list"]).stdout);
    let checked = each(&sandbox.aiswitch_home(), HOME, |path, fault| {
        for args in reads.iter().chain(writes) {
            let shown = show(&sandbox, args);
            assert!(is_refused(&shown, path, fault), "{args:?}, {path:?}, {fault:?}: {shown}");
        }
    });
    assert!(checked >= HOME.len() * 3, "{checked}");
    assert_eq!((kept_runs(&sandbox).len(), show(&sandbox, &["preset", "list"]).stdout), before);
}

#[test]
fn what_a_run_has_kept_is_not_shown_if_others_could_change_it() {
    let sandbox = full();
    let run = kept_runs(&sandbox).pop().unwrap();
    let checked = each(&run, RUN, |path, fault| {
        for args in [&["result"][..], &["logs", "last"], &["logs", "last", "-a", "cat"], &["leak-check"]] {
            let shown = show(&sandbox, args);
            assert!(is_refused(&shown, path, fault), "{args:?}, {path:?}, {fault:?}: {shown}");
        }
        let other = show(&sandbox, &["preset", "list"]);
        assert_eq!(other.code, Some(0), "what a run has kept is of no matter to others: {other}");
    });
    assert!(checked >= RUN.len() * 3, "{checked}");
    assert_eq!(show(&sandbox, &["result"]).stdout, "hello\n");
}

#[test]
fn doctor_closes_what_is_open_and_says_so_and_leaves_links_and_what_is_anothers_alone() {
    let sandbox = full();
    let root = sandbox.aiswitch_home();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let doctor = |args: &[&str]| {
        let shown = show(&sandbox, args);
        let json = shown.json();
        let paths = |key: &str| -> Vec<PathBuf> {
            json[key].as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap().into()).collect()
        };
        (shown.code, paths("closed"), paths("open"))
    };
    let run = kept_runs(&sandbox).pop().unwrap();
    let kinds = HOME.iter().map(|kind| path(&root, kind)).chain(RUN.iter().map(|kind| path(&run, kind)));
    for path in kinds {
        let is_folder = path.is_dir();
        for open in [0o666, 0o777, 0o640] {
            let open = if is_folder { open | 0o700 } else { open };
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let (_, closed, left) = doctor(&["doctor", "--json"]);
            assert_eq!((closed, left), (vec![], vec![path.clone()]), "looking changes nothing: {open:o}");
            assert_eq!(mode(&path), open);
            let (code, closed, left) = doctor(&["doctor", "--fix", "--json"]);
            assert_eq!((closed, left), (vec![path.clone()], vec![]), "{open:o}");
            assert!(matches!(code, Some(0 | 20)), "{code:?}");
            assert_eq!(mode(&path), if is_folder { 0o700 } else { 0o600 }, "{path:?}");
        }
    }
    let target = sandbox.home().join("elsewhere");
    fs::write(&target, "presets: {}\n").unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o666)).unwrap();
    let link = root.join("config/linked.yaml");
    symlink(&target, &link).unwrap();
    assert_eq!(doctor(&["doctor", "--fix", "--json"]), (Some(2), vec![], vec![link.clone()]));
    assert_eq!(mode(&target), 0o666, "no link is followed");
    let text = show(&sandbox, &["doctor", "--fix"]);
    let told = format!("not used  {}  it is a symbolic link\n", link.display());
    assert!(text.stdout.contains(&told), "{text}");
    fs::remove_file(&link).unwrap();

    let presets = root.join("config/presets.yaml");
    if chown(&presets, Some(NOBODY), None).is_err() {
        eprintln!("skipped: a file of somebody else's needs root");
        return;
    }
    fs::set_permissions(&presets, Permissions::from_mode(0o666)).unwrap();
    assert_eq!(doctor(&["doctor", "--fix", "--json"]), (Some(2), vec![], vec![presets.clone()]));
    assert_eq!(mode(&presets), 0o666);
}

#[test]
fn doctor_starts_no_program_that_others_could_have_named() {
    let sandbox = Sandbox::new();
    let proof = sandbox.home().join("proof");
    let agents =
        format!("agents: {{evil: {{driver: command, command: [/usr/bin/touch, '{}']}}}}\n", proof.display());
    let path = configure(&sandbox, "agents.yaml", &agents);
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let shown = show(&sandbox, &["doctor"]);
    assert!(shown.code == Some(2) && !shown.stdout.contains("evil"), "{shown}");
    assert!(!proof.exists());
}

#[test]
fn what_editors_leave_beside_the_files_of_a_person_is_no_reason_to_refuse_them() {
    let sandbox = Sandbox::new();
    let config = sandbox.aiswitch_home().join("config");
    symlink("user@host.4711:1", config.join(".#presets.yaml")).unwrap();
    for name in ["presets.yaml~", "#presets.yaml#", ".presets.yaml.swp"] {
        fs::write(config.join(name), "").unwrap();
        fs::set_permissions(config.join(name), Permissions::from_mode(0o666)).unwrap();
    }
    let shown = show(&sandbox, &["preset", "list"]);
    assert_eq!(shown.code, Some(0), "{shown}");
}
