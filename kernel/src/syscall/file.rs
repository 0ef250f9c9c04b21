//! Opening and closing files, positions, sizes.

use alloc::sync::Arc;

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::fs::inode::{InodeRef, New, open_inode};
use crate::fs::inotify;
use crate::fs::overlay::Node;
use crate::fs::path::{Base, locate, resolve};
use crate::fs::stat::mode;
use crate::ipc::pipe::waits_for_partner;
use crate::mm::user::UserAddr;
use crate::sched;
use crate::sched::block::{self, Flow};
use crate::syscall::at::{self, AT_FDCWD};

/// Tells watchers that an object was opened.
fn announce_open(inode: &InodeRef) {
    if inotify::active()
        && let Some(node) = crate::fs::inode::downcast::<Node>(inode)
    {
        node.announce(inotify::OPEN);
    }
}

/// Permission bits of a new file.
pub fn masked(permissions: u32) -> u32 {
    permissions & 0o7777 & !sched::current().process().fs.lock().umask
}

/// Opens the object at `path` with open(2) flags.
fn open_path(base: &Base, path: &[u8], flags: u32, permissions: u32) -> Result<Arc<OpenFile>> {
    let create = flags & open::CREAT != 0;
    if flags & open::TMPFILE == open::TMPFILE && flags & open::PATH == 0 {
        return open_unnamed(base, path, flags, permissions);
    }
    if create && flags & open::DIRECTORY != 0 && flags & open::PATH == 0 {
        return Err(Errno::EINVAL);
    }
    if flags & open::PATH != 0 {
        let inode = resolve(base, path, flags & open::NOFOLLOW == 0)?;
        if flags & open::DIRECTORY != 0 && inode.kind() != mode::DIRECTORY {
            return Err(Errno::ENOTDIR);
        }
        return open_inode(inode, flags);
    }
    let exclusive = create && flags & open::EXCL != 0;
    let follow = flags & open::NOFOLLOW == 0 && !exclusive;
    let place = locate(base, path, follow)?;
    let Some(inode) = place.inode.clone() else {
        if !create {
            return Err(Errno::ENOENT);
        }
        if place.slash {
            return Err(Errno::EISDIR);
        }
        let name = place.name().ok_or(Errno::EISDIR)?;
        let inode = place
            .directory
            .create(name, New::File(masked(permissions)))?;
        announce_open(&inode);
        return open_inode(inode, flags);
    };
    if exclusive {
        return Err(Errno::EEXIST);
    }
    match inode.kind() {
        mode::LINK => return Err(Errno::ELOOP),
        mode::DIRECTORY if create || flags & open::ACCMODE != open::RDONLY => {
            return Err(Errno::EISDIR);
        }
        kind if flags & open::DIRECTORY != 0 && kind != mode::DIRECTORY => {
            return Err(Errno::ENOTDIR);
        }
        _ => {}
    }
    let kind = inode.kind();
    let opened = open_inode(inode.clone(), flags)?;
    if flags & open::TRUNC != 0 && kind == mode::FILE {
        opened.file.truncate(0)?;
    }
    announce_open(&inode);
    Ok(opened)
}

/// O_TMPFILE: a file without a name in the directory at `path`. EISDIR for reading alone.
fn open_unnamed(base: &Base, path: &[u8], flags: u32, permissions: u32) -> Result<Arc<OpenFile>> {
    if flags & open::ACCMODE == open::RDONLY {
        return Err(Errno::EINVAL);
    }
    let directory = resolve(base, path, true)?;
    crate::fs::inode::require_directory(&directory)?;
    let inode = directory.create_unnamed(masked(permissions))?;
    open_inode(
        inode,
        flags & !(open::TMPFILE & !open::DIRECTORY) & !open::DIRECTORY,
    )
}

fn install(opened: Arc<OpenFile>, flags: u32) -> Result<usize> {
    let process = sched::current().process();
    let fd = process
        .descriptors
        .insert(opened, flags & open::CLOEXEC != 0, 0)?;
    usize::try_from(fd).map_err(|_| Errno::EMFILE)
}

/// openat(2).
pub fn openat(directory: i32, path: UserAddr, flags: u32, permissions: u32) -> Flow {
    let opened = at::path(directory, path)
        .and_then(|(base, path)| open_path(&base, &path, flags, permissions));
    match opened {
        Ok(opened) if waits_for_partner(&opened) => {
            block::retry(opened, false, None, move |opened| {
                if waits_for_partner(opened) {
                    Err(Errno::EAGAIN)
                } else {
                    install(opened.clone(), flags)
                }
            })
        }
        Ok(opened) => install(opened, flags).into(),
        Err(error) => error.into(),
    }
}

/// open(2).
pub fn open(path: UserAddr, flags: u32, permissions: u32) -> Flow {
    openat(AT_FDCWD, path, flags, permissions)
}

/// creat(2).
pub fn creat(path: UserAddr, permissions: u32) -> Flow {
    openat(
        AT_FDCWD,
        path,
        open::CREAT | open::WRONLY | open::TRUNC,
        permissions,
    )
}

/// close(2). EBADF.
pub fn close(fd: i32) -> Result<()> {
    let open = sched::current().process().descriptors.remove(fd)?;
    // Dropped here, outside the table's lock: the last one releases the file.
    drop(open);
    Ok(())
}

/// lseek(2). ESPIPE, EINVAL, ENXIO.
pub fn lseek(fd: i32, offset: i64, whence: u32) -> Result<usize> {
    const SET: u32 = 0;
    const CUR: u32 = 1;
    const END: u32 = 2;
    let open = at::file(fd)?;
    if open.flags() & open::PATH != 0 {
        return Err(Errno::EBADF);
    }
    if !open.file.seekable() {
        return Err(Errno::ESPIPE);
    }
    let from = match whence {
        SET => 0,
        CUR => open.position.lock().cast_signed(),
        END => open.file.size().cast_signed(),
        _ => {
            let found = open.file.seek_special(offset, whence)?;
            *open.position.lock() = found;
            return Ok(found as usize);
        }
    };
    let position = from.checked_add(offset).ok_or(Errno::EOVERFLOW)?;
    let position = u64::try_from(position).map_err(|_| Errno::EINVAL)?;
    *open.position.lock() = position;
    Ok(position as usize)
}

fn length(raw: i64) -> Result<u64> {
    u64::try_from(raw).map_err(|_| Errno::EINVAL)
}

/// truncate(2). EISDIR, EINVAL.
pub fn truncate(path: UserAddr, size: i64) -> Result<()> {
    let size = length(size)?;
    let (base, path) = at::path(AT_FDCWD, path)?;
    let inode = resolve(&base, &path, true)?;
    match inode.kind() {
        mode::FILE => inode.open(open::WRONLY)?.truncate(size),
        mode::DIRECTORY => Err(Errno::EISDIR),
        _ => Err(Errno::EINVAL),
    }
}

/// ftruncate(2). EBADF when not open for writing is EINVAL, as on Linux.
pub fn ftruncate(fd: i32, size: i64) -> Result<()> {
    let size = length(size)?;
    let open = at::file(fd)?;
    if open.flags() & open::PATH != 0 {
        return Err(Errno::EBADF);
    }
    if !open.writable() {
        return Err(Errno::EINVAL);
    }
    open.file.truncate(size)
}

/// fallocate(2). EBADF, EINVAL, ESPIPE, ENODEV, EOPNOTSUPP, ENOSPC.
pub fn fallocate(fd: i32, how: u32, offset: i64, len: i64) -> Result<()> {
    let open = at::file(fd)?;
    if !open.writable() {
        return Err(Errno::EBADF);
    }
    let (offset, len) = (length(offset)?, length(len)?);
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    if open
        .file
        .stat()
        .is_ok_and(|stat| stat.mode & mode::TYPE == mode::FIFO)
    {
        return Err(Errno::ESPIPE);
    }
    open.file.allocate(how, offset, len)
}

/// fsync(2) and fdatasync(2): everything is where it will be. EBADF, EINVAL.
pub fn fsync(fd: i32) -> Result<()> {
    at::file(fd)?.file.sync()
}

/// sync(2).
pub fn sync() -> Result<()> {
    Ok(())
}

/// syncfs(2). EBADF.
pub fn syncfs(fd: i32) -> Result<()> {
    at::file(fd).map(|_| ())
}

/// sync_file_range(2). EBADF, EINVAL, ESPIPE.
pub fn sync_file_range(fd: i32, offset: i64, len: i64, flags: u32) -> Result<()> {
    if offset < 0 || len < 0 || flags & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let open = at::file(fd)?;
    if open.file.seekable() {
        Ok(())
    } else {
        Err(Errno::ESPIPE)
    }
}

/// fadvise64(2). EBADF, ESPIPE, EINVAL.
pub fn fadvise64(fd: i32, _offset: i64, _len: i64, advice: u32) -> Result<()> {
    let open = at::file(fd)?;
    if !open.file.seekable() {
        return Err(Errno::ESPIPE);
    }
    if advice > 5 {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// readahead(2). EBADF, EINVAL.
pub fn readahead(fd: i32, _offset: i64, _len: usize) -> Result<()> {
    let open = at::file(fd)?;
    if !open.readable() {
        return Err(Errno::EBADF);
    }
    if open.file.seekable() {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// memfd_create(2): a file that only descriptors lead to. EINVAL for sealing flags
/// that are not known.
pub fn memfd_create(name: UserAddr, flags: u32) -> Result<usize> {
    const CLOEXEC: u32 = 1;
    const KNOWN: u32 = CLOEXEC | 2 | 8 | 0x10;
    const NAME_MAX: usize = 249;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let name = crate::mm::user::read_string(name, NAME_MAX).map_err(|error| match error {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        error => error,
    })?;
    let root = crate::fs::root();
    let root = crate::fs::inode::downcast::<Node>(&root).ok_or(Errno::ENOSYS)?;
    let node = root.new_memory_file(&name);
    let opened = open_inode(node, open::RDWR)?;
    install(
        opened,
        if flags & CLOEXEC != 0 {
            open::CLOEXEC
        } else {
            0
        },
    )
}
