//! Host signals that belong to the program in the guest.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Signals that are handed to the program. SIGTSTP keeps its default: it stops
/// the whole process, as it stops a native program.
const FORWARDED: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// Blocks the forwarded signals in this thread and all that it will start, and
/// collects them in a descriptor.
pub struct ProgramSignals {
    fd: OwnedFd,
}

impl ProgramSignals {
    /// To be called before any thread starts. Signals that the caller of this
    /// process chose to ignore (nohup, background jobs) stay ignored.
    pub fn block() -> io::Result<Self> {
        // SAFETY: the set is initialised by sigemptyset before use; the calls
        // change only this thread's mask.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in FORWARDED {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                if action.sa_sigaction != libc::SIG_IGN {
                    libc::sigaddset(&mut set, signal);
                }
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self {
                fd: OwnedFd::from_raw_fd(fd),
            })
        }
    }

    /// Readable when signals have arrived.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The next signal that has arrived.
    pub fn take(&self) -> Option<i32> {
        // SAFETY: reads whole records into a structure of their size.
        unsafe {
            let mut record: libc::signalfd_siginfo = std::mem::zeroed();
            let size = size_of_val(&record);
            let got = libc::read(self.fd(), (&raw mut record).cast(), size);
            (got == size as isize).then_some(record.ssi_signo as i32)
        }
    }
}
