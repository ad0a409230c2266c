//! Tests of the `aiswitch` command as its users run it.
#![cfg(test)]

#[path = "../support/agents.rs"]
mod agents;
#[path = "../support/llm/mod.rs"]
mod llm;
#[path = "../support/sandbox.rs"]
mod sandbox;

mod alerts;
mod audit;
mod bad_input;
mod canary;
mod cc_switch;
mod config;
mod documented;
mod edit;
mod env_switch;
mod faults;
mod fuzz;
mod fuzz_bodies;
mod harness;
mod import;
mod isolation;
#[cfg(feature = "keyring")]
mod keyring;
mod locks;
mod logs;
mod mcp;
mod metrics;
mod mock_llm;
mod orphans;
mod other_runs;
mod presets;
mod real_agents;
mod real_agents_held;
mod real_agents_run;
mod real_agents_switch;
mod report;
mod run;
mod sandboxes;
mod schemas;
mod secrets;
mod setup;
mod shell;
mod signals;
mod state;
mod strict;
mod terminal;
mod tokens;
mod trust;
mod vault;
mod verbs;
