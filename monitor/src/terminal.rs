//! The user's terminal: the ioctls that a guest may carry out on it, and its
//! settings, put back on every way out.

use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::memory::GuestMemory;

/// Which way the argument goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// The terminal answers into the argument.
    Get,
    /// The argument goes to the terminal.
    Set,
    /// The argument is a number.
    Value,
}

/// One request that is carried out: number, bytes of the argument, direction.
/// Sizes are those of Linux's `asm-generic/termbits.h` and `termios.h`.
const ALLOWED: &[(u64, usize, Direction)] = &[
    (0x5401, 36, Direction::Get),      // TCGETS
    (0x5402, 36, Direction::Set),      // TCSETS
    (0x5403, 36, Direction::Set),      // TCSETSW
    (0x5404, 36, Direction::Set),      // TCSETSF
    (0x5409, 0, Direction::Value),     // TCSBRK
    (0x540a, 0, Direction::Value),     // TCXONC
    (0x540b, 0, Direction::Value),     // TCFLSH
    (0x540f, 4, Direction::Get),       // TIOCGPGRP
    (0x5411, 4, Direction::Get),       // TIOCOUTQ
    (0x5413, 8, Direction::Get),       // TIOCGWINSZ
    (0x5414, 8, Direction::Set),       // TIOCSWINSZ
    (0x541b, 4, Direction::Get),       // FIONREAD
    (0x802c_542a, 44, Direction::Get), // TCGETS2
    (0x402c_542b, 44, Direction::Set), // TCSETS2
    (0x402c_542c, 44, Direction::Set), // TCSETSW2
    (0x402c_542d, 44, Direction::Set), // TCSETSF2
];

const TCGETS2: u64 = 0x802c_542a;
const TCSETS2: u64 = 0x402c_542b;
/// TIOCSWINSZ sets the window, everything else that sets changes the settings.
const TIOCSWINSZ: u64 = 0x5414;

/// Settings of a terminal, as TCGETS2 gives them.
type Settings = [u8; 44];

/// The terminal as it was before the guest changed it.
static ORIGINAL: Mutex<Option<(RawFd, Settings)>> = Mutex::new(None);

/// Carries out a request on a standard stream. `argument`: guest-physical address
/// of the argument, or its value. Answer: 0 or a negated errno.
pub fn ioctl(memory: &GuestMemory, fd: RawFd, request: u64, argument: u64) -> i64 {
    let known = ALLOWED.iter().find(|(number, ..)| *number == request);
    let Some(&(_, size, direction)) = known else {
        return -i64::from(libc::ENOTTY);
    };
    let mut buffer = [0_u8; 64];
    let bytes = &mut buffer[..size];
    if direction == Direction::Set {
        if memory.read_bytes(argument, bytes).is_err() {
            return -i64::from(libc::EFAULT);
        }
        if request != TIOCSWINSZ {
            remember(fd);
        }
    }
    let result = match direction {
        Direction::Value => call(fd, request, argument as usize),
        _ => call(fd, request, bytes.as_mut_ptr() as usize),
    };
    if result == 0 && direction == Direction::Get && memory.write_bytes(argument, bytes).is_err() {
        return -i64::from(libc::EFAULT);
    }
    result
}

/// Puts the terminal back as it was. Called on every way out, also twice, and
/// from signal handlers: it never waits for the lock, which is held for one ioctl.
pub fn restore() {
    let original = match ORIGINAL.try_lock() {
        Ok(mut original) => original.take(),
        Err(TryLockError::Poisoned(original)) => original.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    if let Some((fd, mut settings)) = original {
        // In the background, setting a terminal would stop this process.
        // SAFETY: ignoring a signal has no preconditions.
        unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
        call(fd, TCSETS2, settings.as_mut_ptr() as usize);
    }
}

fn remember(fd: RawFd) {
    let mut original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
    if original.is_none() {
        let mut settings: Settings = [0; 44];
        if call(fd, TCGETS2, settings.as_mut_ptr() as usize) == 0 {
            *original = Some((fd, settings));
        }
    }
}

/// `argument` is a number or the address of a buffer as large as the request's
/// structure.
fn call(fd: RawFd, request: u64, argument: usize) -> i64 {
    // SAFETY: only requests of the table come here, with a buffer of their size.
    let result = unsafe { libc::ioctl(fd, request as _, argument) };
    if result < 0 {
        let error = std::io::Error::last_os_error().raw_os_error();
        return -i64::from(error.unwrap_or(libc::EIO));
    }
    0
}
