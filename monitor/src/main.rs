//! `spore-monitor --config FILE`: runs one guest and ends with its exit status.
#![allow(dead_code, reason = "the parts are wired up one by one")]

mod config;
mod control;
mod error;
mod events;
mod mapping;
mod memory;
mod net;

fn main() {}
