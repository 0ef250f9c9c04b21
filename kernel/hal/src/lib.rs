//! The only unsafe code of the library OS.
//!
//! Everything else in the kernel is safe Rust on top of this crate: entries
//! and exits ([`trap`]), page tables ([`paging`]), user memory ([`user`]), the
//! heap ([`heap`]), doorbells and shared pages ([`host`]), clocks, vDSO.
//!
//! Soundness rests on one fact: one vCPU runs the kernel, never re-entered.
//! The monitor does not upcall inside kernel text; exceptions inside it come
//! only from the user-copy routines and touch nothing but their own stack and
//! the memory map.
#![no_std]

extern crate alloc;

pub mod cpu;
pub mod direct;
#[cfg(not(feature = "hosted"))]
mod entry;
pub mod heap;
mod hook;
pub mod host;
#[cfg(feature = "hosted")]
mod hosted;
mod lock;
#[cfg(not(feature = "hosted"))]
mod memory;
pub mod paging;
pub mod pieces;
pub mod time;
pub mod trap;
pub mod user;
pub mod vdso;
pub mod xstate;

pub use hook::Hook;
pub use lock::{Guard, Lock};
