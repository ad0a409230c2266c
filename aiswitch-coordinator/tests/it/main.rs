#![cfg(test)]
//! The coordinator from outside: its loop, its processes and its records.

mod alerts;
mod audit;
mod collect;
mod consistency;
mod door;
mod environment;
mod examples;
mod figures;
mod fuzz;
mod fuzz_bodies;
mod joined;
mod locks;
mod log_search;
mod logs;
mod order;
mod parallel;
mod pressure;
mod processes;
mod quota;
mod records;
mod refusals;
mod report_form;
mod retention;
mod run_store;
mod samples;
mod stop;
mod support;
mod switch;
mod views;
mod warm;
