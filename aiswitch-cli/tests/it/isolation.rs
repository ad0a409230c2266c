//! What may not reach an agent does not: each family of variables that run foreign code or lead elsewhere, by every way in.

use crate::harness::{Shown, aiswitch, configure, show};
use crate::sandbox::Sandbox;

/// One variable, or two, of each family that can make a program run foreign code.
const DANGEROUS: &[&str] = &[
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "DYLD_INSERT_LIBRARIES",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "BASH_ENV",
    "ENV",
    "BASH_FUNC_ls%%",
    "PROMPT_COMMAND",
    "IFS",
    "DOTNET_STARTUP_HOOKS",
    "GIT_SSH_COMMAND",
    "GIT_EXTERNAL_DIFF",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GOFLAGS",
];

/// One variable, or two, of each family that leads traffic or state elsewhere.
const REDIRECTING: &[&str] = &[
    "ANTHROPIC_BASE_URL",
    "OPENAI_BASE_URL",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "NO_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CODEX_HOME",
    "CLAUDE_CONFIG_DIR",
    "GEMINI_CLI_HOME",
    "QWEN_HOME",
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_DIR",
];

fn with_lister() -> Sandbox {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {lister: {driver: command, command: [/usr/bin/env]}}\n");
    sandbox
}

/// The names of the variables that an agent was given.
fn given(shown: &Shown) -> Vec<&str> {
    assert_eq!(shown.code, Some(0), "{shown}");
    shown.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect()
}

#[test]
fn no_variable_of_the_caller_that_runs_foreign_code_or_leads_elsewhere_reaches_an_agent() {
    let sandbox = with_lister();
    configure(&sandbox, "presets.yaml", "presets: {work: {variables: {PLACE: here}}}\n");
    for preset in [&[][..], &["--preset", "work"]] {
        let mut command = aiswitch(&sandbox, &["run", "--quiet", "-a", "lister", "hello"]);
        command.args(preset);
        for name in DANGEROUS.iter().filter(|name| !name.starts_with("LD_")).chain(REDIRECTING) {
            command.env(name, "elsewhere");
        }
        // The dynamic linker of the command itself heeds these, so they name what is not there.
        for name in DANGEROUS.iter().filter(|name| name.starts_with("LD_")) {
            command.env(name, "");
        }
        let shown: Shown = command.output().unwrap().into();
        let mut names = given(&shown);
        names.sort_unstable();
        names.retain(|name| *name != "PLACE");
        assert_eq!(names, ["AISWITCH_RUN", "HOME", "PATH", "TERM"], "{preset:?}");
    }
}

#[test]
fn no_preset_and_no_option_gives_an_agent_what_runs_foreign_code() {
    let sandbox = with_lister();
    configure(&sandbox, "presets.yaml", "presets: {work: {variables: {PLACE: here}}}\n");
    for name in DANGEROUS {
        let told = format!(
            "error: variable `{name}` of preset `work` can make an agent run foreign code and is refused\n"
        );
        let assignment = format!("{name}=x");
        let adds = show(&sandbox, &["preset", "edit", "work", &assignment]);
        let kept: Shown = aiswitch(&sandbox, &["apply", "work", "--keep", name, "--", "true"])
            .env(name, "")
            .output()
            .unwrap()
            .into();
        for shown in [adds, kept] {
            assert!(shown.code == Some(2) && shown.stderr.starts_with(&told), "{name}: {shown}");
        }
    }
    for name in DANGEROUS {
        configure(&sandbox, "presets.yaml", &format!("presets: {{work: {{variables: {{'{name}': x}}}}}}\n"));
        let told = format!(
            "error: variable `{name}` of preset `work` can make an agent run foreign code and is refused\n"
        );
        for args in
            [&["run", "-a", "lister", "--preset", "work", "hello"][..], &["apply", "work", "--", "true"]]
        {
            let shown = show(&sandbox, args);
            assert!(shown.code == Some(2) && shown.stderr.starts_with(&told), "{name}: {shown}");
        }
    }
}

#[test]
fn what_leads_elsewhere_comes_from_the_preset_alone_and_a_dry_run_shows_it() {
    let sandbox = with_lister();
    let variables: String =
        REDIRECTING.iter().fold(String::new(), |all, name| all + "\n      " + name + ": /there");
    configure(&sandbox, "presets.yaml", &format!("presets:\n  work:\n    variables:{variables}\n"));
    let run = ["run", "--quiet", "-a", "lister", "--preset", "work", "hello"];
    let shown = show(&sandbox, &run);
    let names = given(&shown);
    let dry = show(&sandbox, &[&run[..], &["--dry-run"]].concat());
    for name in REDIRECTING {
        assert!(names.contains(name), "{name}: {shown}");
        assert!(dry.stdout.contains(&format!("{name} (preset)")), "{name}: {dry}");
    }
}
