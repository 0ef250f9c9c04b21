//! Inode numbers of sockets, as fstat and /proc/self/fd show them.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::fs::stat::{Stat, mode};

/// sockfs has a device number of its own.
const DEVICE: u64 = 8;
static NEXT: AtomicU64 = AtomicU64::new(10_000);

/// A number for a new socket.
pub fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Attributes of a socket.
pub fn stat(inode: u64) -> Stat {
    let mode = mode::SOCKET | 0o777;
    Stat {
        device: DEVICE,
        inode,
        links: 1,
        mode,
        block_size: 4096,
        ..Stat::default()
    }
}
