//! The contract between the library OS (guest) and the monitor (host).
//!
//! Types and constants only: no code that runs on one side alone. Both sides
//! compile against this crate, so neither can change the contract by itself.
//! Every structure is `repr(C)` and lives in guest memory; the monitor treats
//! everything it reads from there as an allegation: copied once, checked, used.
#![no_std]

pub mod boot;
pub mod cpuid;
pub mod hostcall;
pub mod layout;
pub mod net;
pub mod restore;
pub mod time;
pub mod vcpu;

/// Version of everything in this crate. The monitor refuses a kernel that
/// states another one.
pub const ABI_VERSION: u32 = 3;
