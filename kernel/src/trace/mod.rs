//! Where a tracer of system calls comes in, if the kernel was linked with one.

pub mod record;
pub mod strace;

use core::sync::atomic::{AtomicBool, Ordering};

use spore_hal::Hook;

use crate::errno::Result;
use crate::sched::thread::Thread;
use crate::syscall::Call;

/// What a tracer is told.
pub trait Tracer: Sync {
    /// A call begins.
    fn enter(&self, thread: &Thread, call: &Call);
    /// A call has ended.
    fn leave(&self, thread: &Thread, call: &Call, result: Result<usize>);
    /// The process has ended.
    fn ended(&self, code: u64, signal: u64);
}

/// Every system call asks for it: one load while nobody traces.
static TRACED: AtomicBool = AtomicBool::new(false);
static TRACER: Hook<&'static dyn Tracer> = Hook::new();

fn set_tracer(tracer: &'static dyn Tracer) {
    TRACER.set(tracer);
    TRACED.store(true, Ordering::Relaxed);
}

/// The tracer, while calls are traced.
#[inline]
pub fn tracer() -> Option<&'static dyn Tracer> {
    if !TRACED.load(Ordering::Relaxed) {
        return None;
    }
    TRACER.get()
}
