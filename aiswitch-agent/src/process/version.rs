//! What version a program says it is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aiswitch_env::Environment;
use tokio::io::AsyncReadExt;

use crate::dialect::version_in;

/// How long a program may take to say its version.
pub(crate) const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// How much of what a program prints is searched for its version, in bytes.
const VERSION_BYTES_MAX: u64 = 16 * 1024;

/// The version in what `program --version` prints, if it prints one in time.
#[expect(
    clippy::disallowed_methods,
    reason = "a program that is asked for its version is given its environment"
)]
pub(crate) async fn ask_version(program: &Path, environment: &Environment) -> Option<String> {
    let mut asked = tokio::process::Command::new(program)
        .arg("--version")
        .env_clear()
        .envs(environment.iter().map(|(name, variable)| (name, variable.value.expose())))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut printed = Vec::new();
    let mut stdout = asked.stdout.take()?.take(VERSION_BYTES_MAX);
    let heard = async {
        stdout.read_to_end(&mut printed).await?;
        // One that prints for ever ends when nobody reads.
        drop(stdout);
        asked.wait().await
    };
    tokio::time::timeout(VERSION_TIMEOUT, heard).await.ok()?.ok()?;
    version_in(&String::from_utf8_lossy(&printed)).map(str::to_owned)
}
