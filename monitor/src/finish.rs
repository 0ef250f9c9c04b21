//! The ways out of the process. Whoever comes first decides the exit status; the
//! terminal is always put back.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{MonitorError, SPORE_INTERNAL};
use crate::events::Events;
use crate::terminal;

/// A file that goes with the process.
static AT_END: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Whoever has woken this machine.
static WAKER: Mutex<Option<UnixStream>> = Mutex::new(None);

/// Tells whoever has woken this machine that it runs, and at the end how it ended.
pub fn tell_at_end(waker: UnixStream) {
    *WAKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
}

/// Says a line to whoever has woken this machine; nobody may listen any more.
pub fn say_to_waker(line: &str) {
    if let Ok(waker) = WAKER.try_lock()
        && let Some(mut stream) = waker.as_ref()
    {
        let _ = stream.write_all(line.as_bytes());
    }
}

/// Has a file removed when the process ends in order.
pub fn remove_at_end(path: &Path) {
    AT_END
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(path.to_owned());
}

static LEAVING: AtomicBool = AtomicBool::new(false);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program called exit.
    Exited(u8),
    /// A signal ended it.
    Killed(u32),
}

impl Outcome {
    /// Exit status of the monitor, as a shell shows it.
    pub fn status(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code),
            Self::Killed(signal) => 128 + (signal & 0x7f) as i32,
        }
    }
}

/// Ends the process with the program's outcome.
pub fn with_outcome(events: &Events, outcome: Outcome) -> ! {
    leave(outcome.status(), || match outcome {
        Outcome::Exited(code) => events.exited(code),
        Outcome::Killed(signal) => events.killed(signal),
    })
}

/// Ends the process with a status that was said elsewhere.
pub fn with_status(status: i32) -> ! {
    leave(status, || {})
}

/// Ends the process with an error of ours.
pub fn with_error(error: &MonitorError) -> ! {
    leave(i32::from(error.code.exit_status), || {
        eprintln_quietly(&error.to_string());
    })
}

/// Replaces Rust's panic message: users get one line with a code.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or(String::new(), |location| {
            format!(" ({}:{})", location.file(), location.line())
        });
        let mut what = format!("unexpected: the monitor failed a check of its own{place}");
        if debugging() {
            what = format!("{what}: {panic}");
        }
        with_error(&MonitorError::new(SPORE_INTERNAL, what));
    }));
}

/// Faults of the monitor itself: one line with a code as well. A bus error comes
/// from an image file that became shorter while it was mapped.
pub fn install_fault_handler() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: a zeroed sigaction with a handler that only makes calls which
        // are safe in signal handlers.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as extern "C" fn(i32) as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

extern "C" fn on_fault(signal: i32) {
    let (line, status): (&[u8], i32) = match signal {
        libc::SIGBUS => (BUS_ERROR, 65),
        _ => (FAULT, 70),
    };
    terminal::restore();
    // SAFETY: write and _exit are async-signal-safe.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::_exit(status);
    }
}

const BUS_ERROR: &[u8] =
    b"error[SPORE_IMAGE_DAMAGED]: a file of the image became shorter while it ran \xe2\x80\x94 build it again\n";
const FAULT: &[u8] =
    b"error[SPORE_INTERNAL]: unexpected: the monitor made an invalid access \xe2\x80\x94 \
this is a bug in Spore: please report it; SPORE_DEBUG=1 prints where it happened\n";

/// Whether SPORE_DEBUG=1 asks for details.
pub fn debugging() -> bool {
    std::env::var_os("SPORE_DEBUG").is_some_and(|value| value == "1")
}

/// Writes a line to standard error; a reader that went away does not matter.
pub fn eprintln_quietly(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn leave(status: i32, tell: impl FnOnce()) -> ! {
    if LEAVING.swap(true, Ordering::SeqCst) {
        // Another thread is on its way out already, or telling has failed.
        loop {
            // SAFETY: waits for a signal; the other thread ends the process.
            unsafe { libc::pause() };
        }
    }
    terminal::restore();
    tell();
    if let Ok(files) = AT_END.try_lock() {
        for path in files.iter() {
            let _ = std::fs::remove_file(path);
        }
    }
    say_to_waker(&format!("{{\"status\":{status}}}\n"));
    // SAFETY: ends the process at once. Nothing needs a destructor: the kernel
    // takes VM, memory and descriptors back.
    unsafe { libc::_exit(status) }
}
