//! The terminal belongs to the user: the guest may change it while it runs.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Stdio;

use crate::guest::Guest;

/// A pseudo-terminal: (our side, the program's side).
fn open_terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: fills in two descriptors, which become owned here.
    unsafe {
        let null = std::ptr::null_mut();
        assert_eq!(
            libc::openpty(&mut ours, &mut theirs, null, null.cast(), null.cast()),
            0
        );
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

fn settings(terminal: &OwnedFd) -> (u32, u32, u32) {
    // SAFETY: fills a structure of its size.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut settings), 0);
        (settings.c_iflag, settings.c_oflag, settings.c_lflag)
    }
}

#[test]
fn the_terminal_is_put_back_at_the_end() {
    let (_ours, theirs) = open_terminal();
    let before = settings(&theirs);
    assert_ne!(before.2 & libc::ECHO, 0);
    let guest = Guest::new("guest_terminal");
    let mut command = guest.command();
    command.stdin(Stdio::from(theirs.try_clone().unwrap()));
    // 0: the guest turned echo off, saw that, and could not type for the user.
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert_eq!(settings(&theirs), before);
}

#[test]
fn other_streams_answer_that_they_are_no_terminal() {
    let guest = Guest::new("guest_terminal");
    let mut command = guest.command();
    command.stdin(Stdio::from(File::open("/dev/null").unwrap()));
    // The settings could not be read: what the guest put there is still there.
    assert_eq!(command.status().unwrap().code(), Some(8));
}
