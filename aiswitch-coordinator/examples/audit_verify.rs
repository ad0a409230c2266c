//! Writes an audit log of LINES lines (1,000,000 without an argument), verifies it, and prints how fast that was; beside it,
//! how fast its lines are only hashed.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use aiswitch_coordinator::{Actor, Audit, AuditDecision, AuditEntry, Channel, Home, MemoryLockManager};
use sha2::{Digest, Sha256};

/// How many lines are written out at once.
const BATCH: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lines: usize = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let home = Home::new(folder.path());
    let audit = Audit::new(home.clone(), Arc::new(MemoryLockManager::new()));
    let entry = AuditEntry {
        actor: Actor::Operator,
        channel: Channel::CommandLine,
        action: "secrets.set".into(),
        object: "work/ANTHROPIC_AUTH_TOKEN".into(),
        decision: AuditDecision::Allowed,
        detail: None,
    };
    let mut left = lines;
    while left > 0 {
        let count = left.min(BATCH);
        audit.append(vec![entry.clone(); count]).await?;
        left -= count;
    }
    let start = Instant::now();
    let verdict = home.audit().verify()?;
    let seconds = start.elapsed().as_secs_f64();
    let state = if verdict.broken.is_none() { "whole" } else { "broken" };
    #[expect(clippy::cast_precision_loss, reason = "a rate is printed in thousands")]
    let thousands = verdict.lines as f64 / seconds / 1e3;
    println!("{} lines in {} files, {state}: {thousands:.0} thousand lines/s", verdict.lines, verdict.files);
    let mut text = String::new();
    for file in std::fs::read_dir(folder.path().join("audit"))? {
        text.push_str(&std::fs::read_to_string(file?.path())?);
    }
    let start = Instant::now();
    let mut hashed = 0;
    for line in text.lines() {
        black_box(Sha256::digest(line));
        hashed += 1;
    }
    let thousands = f64::from(hashed) / start.elapsed().as_secs_f64() / 1e3;
    println!("one hash a line, on one core: {thousands:.0} thousand lines/s");
    Ok(())
}
