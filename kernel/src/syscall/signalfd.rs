//! signalfd, signalfd4.

use crate::errno::{Errno, Result};
use crate::fs::file::open;
use crate::ipc::{self, signalfd::SignalFd};
use crate::mm::user::{self, UserAddr};
use crate::sched::current;
use crate::signal;

/// signalfd(2).
pub fn signalfd(fd: i32, mask: UserAddr, size: usize) -> Result<usize> {
    signalfd4(fd, mask, size, 0)
}

/// signalfd4(2): a new descriptor for -1, else changes the mask of `fd`. EINVAL, EBADF, EFAULT.
pub fn signalfd4(fd: i32, mask: UserAddr, size: usize, flags: u32) -> Result<usize> {
    if size != size_of::<signal::Set>() || flags & !(open::CLOEXEC | open::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mask = user::read::<signal::Set>(mask)? & !signal::UNBLOCKABLE;
    if fd == -1 {
        let status = open::RDWR | flags & open::NONBLOCK;
        return ipc::install(SignalFd::new(mask), status, flags & open::CLOEXEC != 0);
    }
    let open = current().process().descriptors.get(fd)?;
    open.file
        .as_any()
        .downcast_ref::<SignalFd>()
        .ok_or(Errno::EINVAL)?
        .set_mask(mask);
    Ok(fd as usize)
}
