//! The end of threads and of the process, and the processes that do not exist.

use core::sync::atomic::Ordering;

use spore_abi::hostcall::number;
use spore_hal::host;

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};
use crate::sched;
use crate::sched::block::Flow;

/// exit(2): ends the calling thread.
pub fn exit(status: i32) -> Flow {
    let thread = sched::current();
    let process = thread.process();
    let last = {
        let mut threads = process.threads.lock();
        threads.retain(|other| !core::ptr::eq(*other, thread));
        threads.is_empty()
    };
    if last {
        end(status & 0xff);
    }
    crate::syscall::threads::release_robust(thread);
    let clear = thread.clear_child_tid.load(Ordering::Relaxed);
    if clear != 0 && user::write(UserAddr::new(clear), &0u32).is_ok() {
        sched::futex::wake(clear, 1, u32::MAX);
    }
    sched::retire_current();
    Flow::Gone
}

/// exit_group(2).
pub fn exit_group(status: i32) -> Result<usize> {
    end(status & 0xff)
}

/// Ends the process with an exit code.
pub fn end(code: i32) -> ! {
    leave(code as u64, 0, 0)
}

/// Ends the process as a signal does.
pub fn end_by_signal(signal: u32) -> ! {
    leave(0, u64::from(signal), 0)
}

/// Ends the process after a crash; `record` is the GPA of a crash record.
pub fn end_by_crash(signal: u32, record: u64) -> ! {
    leave(0, u64::from(signal), record)
}

fn leave(code: u64, signal: u64, record: u64) -> ! {
    if let Some(tracer) = crate::trace::tracer() {
        tracer.ended(code, signal);
    }
    crate::net::flush();
    loop {
        host::call(number::EXIT, [code, signal, record, 0, 0, 0]);
    }
}

/// fork(2), vfork(2): EAGAIN, as where RLIMIT_NPROC or a cgroup's `pids.max` forbids them.
/// Perl and Ruby try again after it, for ever, as they do there; EPERM Node.js throws where
/// programs expect an event.
pub fn no_processes() -> Result<usize> {
    Err(Errno::EAGAIN)
}

/// execve(2), execveat(2).
pub fn execve() -> Result<usize> {
    Err(Errno::EAGAIN)
}

/// wait4(2): there are no children.
pub fn wait4() -> Result<usize> {
    Err(Errno::ECHILD)
}

/// waitid(2): there are no children.
pub fn waitid() -> Result<usize> {
    Err(Errno::ECHILD)
}
