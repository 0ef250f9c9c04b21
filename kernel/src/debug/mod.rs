//! Where a debugger comes in, if the kernel was linked with one.

pub mod stop;

use spore_hal::Hook;
use spore_hal::trap::TrapFrame;

/// What a debugger is asked.
pub trait Debugger: Sync {
    /// The program is about to begin.
    fn begin(&self, frame: &mut TrapFrame);
    /// Gives the registers to the debugger and takes them back as it leaves them.
    /// Answers the signal that the program is to get, 0 for none.
    fn stop(&self, signal: u32, frame: &mut TrapFrame) -> u32;
    /// A stop was asked for (Ctrl-C in gdb); done at the next way out of the kernel.
    fn request(&self);
    /// Stops if that was asked for; `frame` is that of the loaded thread.
    fn stop_if_requested(&self, frame: &mut TrapFrame);
}

static DEBUGGER: Hook<&'static dyn Debugger> = Hook::new();

/// The debugger that is attached.
pub fn debugger() -> Option<&'static dyn Debugger> {
    DEBUGGER.get()
}
