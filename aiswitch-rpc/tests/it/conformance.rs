//! The conformance cases: bytes in, answers and events out, over real pipes to a child or from a caller here.
//!
//! The cases kept in the crate are always run; those of the file that `AISWITCH_RPC_CONFORMANCE` names too.
#![expect(
    clippy::disallowed_methods,
    reason = "the runner starts the peer under test and reads its own option"
)]

mod case;
mod client;
mod expect;
mod prose;
mod server;

use case::Case;

const KEPT: &str = include_str!("../data/conformance.jsonl");

async fn run_all(cases: &str) {
    let mut failures = Vec::new();
    let mut count = 0;
    for (index, line) in cases.lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line of the cases is JSON");
        if value.get("meta").is_some() {
            continue;
        }
        count += 1;
        let name = value["name"].as_str().unwrap_or("?").to_owned();
        let outcome = match Case::read(&value) {
            Ok(case) => run(&case).await,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = outcome {
            failures.push(format!("line {} {name}: {reason}", index + 1));
        }
    }
    eprintln!("conformance: {} of {count} cases hold", count - failures.len());
    assert!(failures.is_empty(), "{} of {count} cases fail:\n{}", failures.len(), failures.join("\n"));
}

async fn run(case: &Case) -> Result<(), String> {
    if let Some(outcome) = prose::run(case).await {
        return outcome;
    }
    match case.role.as_str() {
        "client" => client::run(case).await,
        _ => server::run(case).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kept_case_holds() {
    run_all(KEPT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_of_the_named_file_holds() {
    let Ok(path) = std::env::var("AISWITCH_RPC_CONFORMANCE") else {
        eprintln!("skipped: no further cases; name their file in `AISWITCH_RPC_CONFORMANCE`");
        return;
    };
    let cases = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    run_all(&cases).await;
}
