#![cfg(test)]
//! The coordinator from outside: its loop, its processes and its records.

mod audit;
mod door;
mod environment;
mod examples;
mod fuzz;
mod fuzz_bodies;
mod locks;
mod logs;
mod order;
mod parallel;
mod processes;
mod quota;
mod records;
mod refusals;
mod report_form;
mod stop;
mod support;
mod switch;
