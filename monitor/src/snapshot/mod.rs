//! Snapshots: what a guest at rest is made of, as a file, and back.

mod capture;
mod checksum;
mod file;
mod format;
pub mod freezer;
mod load;
pub mod origins;
mod pack;
mod replace;
pub mod restore;
mod touched;
pub mod warm;

pub use file::{about, inspect};
