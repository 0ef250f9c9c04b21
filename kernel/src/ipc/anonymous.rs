//! Attributes of files without a place in the name space.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::fs::stat::{Stat, Timespec};

/// The file systems that Linux keeps such files in, as device numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Sockets.
    Sockets = 8,
    /// eventfd, epoll, timerfd, signalfd.
    Anonymous = 13,
    /// Pipes.
    Pipes = 14,
}

/// A number that no other anonymous file has.
pub fn next_inode() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1024);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Attributes of an anonymous file: `mode` holds type and permissions.
pub fn attributes(home: Home, inode: u64, mode: u32) -> Stat {
    const NANOSECONDS: u64 = 1_000_000_000;
    let now = spore_hal::time::realtime();
    let time = Timespec {
        seconds: (now / NANOSECONDS) as i64,
        nanoseconds: (now % NANOSECONDS) as i64,
    };
    Stat {
        device: home as u64,
        inode,
        links: 1,
        mode,
        block_size: 4096,
        accessed: time,
        modified: time,
        changed: time,
        ..Stat::default()
    }
}
