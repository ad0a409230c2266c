//! What the documentation and the help show is what the command does.

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
