//! inotify(7).

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::fs::inotify::{self, Inotify, InotifyFile};
use crate::fs::overlay::DEVICE;
use crate::fs::stat::mode;
use crate::mm::user::UserAddr;
use crate::sched;
use crate::syscall::at::{self, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use alloc::sync::Arc;

/// inotify_init1(2).
pub fn inotify_init1(flags: u32) -> Result<usize> {
    if flags & !(open::NONBLOCK | open::CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let opened = OpenFile::new(
        Arc::new(InotifyFile(Inotify::new())),
        flags & open::NONBLOCK,
    );
    let process = sched::current().process();
    let fd = process
        .descriptors
        .insert(opened, flags & open::CLOEXEC != 0, 0)?;
    usize::try_from(fd).map_err(|_| Errno::EMFILE)
}

/// inotify_init(2).
pub fn inotify_init() -> Result<usize> {
    inotify_init1(0)
}

fn instance(fd: i32) -> Result<Arc<Inotify>> {
    let open = at::file(fd)?;
    let file = open
        .file
        .as_any()
        .downcast_ref::<InotifyFile>()
        .ok_or(Errno::EINVAL)?;
    Ok(file.0.clone())
}

/// inotify_add_watch(2). Objects outside the root file system never change by themselves:
/// their watches stay silent.
pub fn inotify_add_watch(fd: i32, path: UserAddr, mask: u32) -> Result<usize> {
    let instance = instance(fd)?;
    if mask & inotify::ALL_EVENTS == 0
        || mask & inotify::MASK_ADD != 0 && mask & inotify::MASK_CREATE != 0
    {
        return Err(Errno::EINVAL);
    }
    let flags = if mask & inotify::DONT_FOLLOW != 0 {
        AT_SYMLINK_NOFOLLOW
    } else {
        0
    };
    let stat = at::object(AT_FDCWD, path, flags)?.stat()?;
    if mask & inotify::ONLYDIR != 0 && stat.mode & mode::TYPE != mode::DIRECTORY {
        return Err(Errno::ENOTDIR);
    }
    let foreign = if stat.device == DEVICE { 0 } else { 1 << 63 };
    usize::try_from(instance.watch(stat.inode | foreign, mask)?).map_err(|_| Errno::ENOSPC)
}

/// inotify_rm_watch(2).
pub fn inotify_rm_watch(fd: i32, watch: i32) -> Result<()> {
    instance(fd)?.unwatch(watch)
}
