//! The debugger's side of a stop. (Filled in by the gdb server.)

use crate::memory::GuestMemory;

/// A debugger that may be attached.
pub struct Debugger;

impl Debugger {
    /// The guest has trapped with `signal`; its registers lie at `registers`.
    pub fn stop(&mut self, _memory: &GuestMemory, _signal: u64, _registers: u64) -> i64 {
        -i64::from(libc::ENOSYS)
    }
}
