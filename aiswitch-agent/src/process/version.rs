//! What version a program says it is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aiswitch_env::Environment;

use crate::dialect::version_in;

/// How long a program may take to say its version.
pub(crate) const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// The version in what `program --version` prints, if it prints one in time.
#[expect(
    clippy::disallowed_methods,
    reason = "a program that is asked for its version is given its environment"
)]
pub(crate) async fn ask_version(program: &Path, environment: &Environment) -> Option<String> {
    let asked = tokio::process::Command::new(program)
        .arg("--version")
        .env_clear()
        .envs(environment.iter().map(|(name, variable)| (name, variable.value.expose())))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(VERSION_TIMEOUT, asked).await.ok()?.ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout)).map(str::to_owned)
}
