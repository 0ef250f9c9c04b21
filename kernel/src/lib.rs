//! The library OS of Spore: the Linux system-call ABI for one application, in
//! its own address space and at its privilege. See ARCHITECTURE.md.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod boot;
pub mod debug;
pub mod errno;
pub mod freeze;
pub mod fs;
pub mod ipc;
pub mod lifecycle;
pub mod log;
pub mod mm;
pub mod net;
pub mod panic;
pub mod pieces;
pub mod process;
pub mod random;
pub mod sched;
pub mod signal;
pub mod stats;
pub mod syscall;
pub mod trace;
#[cfg(not(test))]
mod traps;

#[cfg(not(test))]
mod runtime {
    //! What a freestanding program has to define.

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        crate::panic::panicked(info)
    }
}
