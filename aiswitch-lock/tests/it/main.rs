//! The tests of aiswitch-lock, in one program that also serves as the processes they start.
#![cfg(test)]

mod cancel;
mod child;
mod database;
mod database_killed;
mod deadlock;
mod every_manager;
mod faults;
mod folders;
mod network;
mod order;
mod power_loss;
mod processes;
mod support;
mod torture;
