//! The tests of aiswitch-lock, in one program that also serves as the processes they start.
#![cfg(test)]

mod child;
mod every_manager;
mod support;
mod torture;
