//! What the documentation and the help show is what the command does.

use std::fs;
use std::path::Path;

use crate::sandbox::Sandbox;

fn cases(sandbox: &Sandbox) -> trycmd::TestCases {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("aiswitch", std::path::Path::new(env!("CARGO_BIN_EXE_aiswitch")))
        .env("HOME", sandbox.home().display().to_string())
        .env("AISWITCH_HOME", sandbox.aiswitch_home().display().to_string());
    cases
}

#[test]
fn the_console_blocks_of_every_readme_are_true() {
    let sandbox = Sandbox::new();
    cases(&sandbox).case("../README.md").case("../README.zh-CN.md").case("README.md").run();
}

#[test]
fn the_help_is_as_it_was_agreed() {
    let sandbox = Sandbox::new();
    cases(&sandbox).case("tests/cmd/*.trycmd").run();
}

#[test]
fn each_row_of_the_table_of_faults_has_its_test_in_the_crate_that_it_names() {
    let readme = fs::read_to_string("../aiswitch-agent/README.md").unwrap();
    let (_, table) = readme.split_once("| row | fault |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    for (number, row) in (1..).zip(rows.clone()) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!((cells[0], cells.len()), (number.to_string().as_str(), 4), "{row}");
        let tests = format!("../aiswitch-{}/tests/it", cells[3]);
        assert!(sources(Path::new(&tests)).contains(&format!("fn fault_{number:02}_")), "{row}");
    }
    assert_eq!(rows.count(), 45);
}

/// All that stands in the files of a folder and of those in it.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { sources(&path) } else { fs::read_to_string(path).unwrap() })
        .collect()
}
