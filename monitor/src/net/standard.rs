//! The standard streams and the log: how each kind of host file is read and
//! written without blocking and without changing what it shares with the shell.

use std::os::fd::{AsRawFd, RawFd};

use spore_abi::net::slot;

use crate::net::entry::{Descriptor, Entry, Kind, Way};
use crate::net::rings::Rings;
use crate::net::sys;

/// Opens the stream of a slot (0 to 3) as the guest has laid it out. `None`: its
/// buffer is wrong, or the stream is closed on the host.
pub fn open(rings: &Rings, index: usize, streams: &[RawFd; 4]) -> Option<Entry> {
    let input = index == slot::STDIN;
    let (fd, way) = way(streams[index], input)?;
    let kind = if input {
        Kind::Input(way)
    } else {
        Kind::Output(way)
    };
    Entry::new(index, 0, kind, fd)
        .going_on(rings)
        .with_buffers(rings, input, !input)
}

fn way(fd: RawFd, input: bool) -> Option<(Descriptor, Way)> {
    let access = if input {
        libc::O_RDONLY
    } else {
        libc::O_WRONLY
    };
    match sys::mode(fd) & libc::S_IFMT {
        0 => None,
        libc::S_IFSOCK => Some((Descriptor::Borrowed(fd), Way::Socket)),
        libc::S_IFREG | libc::S_IFBLK | libc::S_IFDIR => {
            Some((Descriptor::Borrowed(fd), Way::Direct))
        }
        libc::S_IFCHR if !sys::is_terminal(fd) => Some((Descriptor::Borrowed(fd), Way::Direct)),
        _ => Some(match sys::reopen(fd, access) {
            Ok(own) => (Descriptor::Owned(own), Way::Own),
            Err(_) => (Descriptor::Borrowed(fd), Way::Shared),
        }),
    }
}

/// Writes out everything that waits in a stream's ring, as long as it takes.
pub fn flush(entry: &mut Entry, rings: &Rings) {
    loop {
        entry.send(rings);
        if entry.is_flushed(rings) {
            return;
        }
        if !sys::wait_ready(entry.fd.raw(), libc::POLLOUT, -1) {
            return;
        }
    }
}

/// The descriptor to watch for readiness; `None` for files that are always ready.
pub fn watched(entry: &Entry) -> Option<RawFd> {
    match (&entry.kind, &entry.fd) {
        (Kind::Input(Way::Direct) | Kind::Output(Way::Direct), _) => None,
        (_, Descriptor::Owned(fd)) => Some(fd.as_raw_fd()),
        (_, Descriptor::Borrowed(fd)) => Some(*fd),
        (_, Descriptor::None) => None,
    }
}
