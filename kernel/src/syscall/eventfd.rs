//! eventfd, eventfd2.

use crate::errno::{Errno, Result};
use crate::fs::file::open;
use crate::ipc::{self, eventfd::EventFd};

const SEMAPHORE: u32 = 1;

/// eventfd(2).
pub fn eventfd(count: u32) -> Result<usize> {
    eventfd2(count, 0)
}

/// eventfd2(2). EINVAL for unknown flags.
pub fn eventfd2(count: u32, flags: u32) -> Result<usize> {
    if flags & !(SEMAPHORE | open::CLOEXEC | open::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = EventFd::new(count, flags & SEMAPHORE != 0);
    ipc::install(
        file,
        open::RDWR | flags & open::NONBLOCK,
        flags & open::CLOEXEC != 0,
    )
}
