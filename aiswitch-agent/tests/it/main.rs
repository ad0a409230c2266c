//! Agents with real child processes.
#![cfg(test)]

mod access;
mod agents;
mod claude;
mod command;
mod faults;
mod guard;
mod live;
mod probe;
mod rpc;
mod samples;
mod sandbox;
mod support;
mod tiers;
mod vendor;
