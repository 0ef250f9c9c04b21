//! What the `…at` calls share: from (directory descriptor, path) to objects.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::OpenFile;
use crate::fs::inode::{InodeRef, require_directory};
use crate::fs::path::{Base, resolve};
use crate::fs::stat::Stat;
use crate::mm::user::{self, UserAddr};
use crate::sched;

/// Relative to the working directory.
pub const AT_FDCWD: i32 = -100;
/// Do not follow a symbolic link at the end of the path.
pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// Effective instead of real ids (faccessat); rmdir instead of unlink (unlinkat).
pub const AT_REMOVEDIR: u32 = 0x200;
/// See [`AT_REMOVEDIR`].
pub const AT_EACCESS: u32 = 0x200;
/// Follow a symbolic link at the end of the path (linkat).
pub const AT_SYMLINK_FOLLOW: u32 = 0x400;
/// Do not trigger automounts: there are none.
pub const AT_NO_AUTOMOUNT: u32 = 0x800;
/// An empty path means the descriptor itself.
pub const AT_EMPTY_PATH: u32 = 0x1000;
/// How up to date statx is to be: always.
pub const AT_STATX_SYNC_TYPE: u32 = 0x6000;

/// Descriptor `fd` of the current process. EBADF.
pub fn file(fd: i32) -> Result<Arc<OpenFile>> {
    sched::current().process().descriptors.get(fd)
}

/// Where a walk of `path` begins. EBADF, ENOTDIR.
pub fn base(directory: i32, path: &[u8]) -> Result<Base> {
    let mut base = sched::current().process().fs.lock().base();
    if directory != AT_FDCWD && path.first() != Some(&b'/') {
        let inode = file(directory)?.file.inode().ok_or(Errno::ENOTDIR)?;
        require_directory(&inode)?;
        base.start = inode;
    }
    Ok(base)
}

/// The object that a call names.
pub enum Object {
    /// By path.
    Inode(InodeRef),
    /// By descriptor.
    Open(Arc<OpenFile>),
}

impl Object {
    /// Attributes.
    pub fn stat(&self) -> Result<Stat> {
        match self {
            Self::Inode(inode) => inode.stat(),
            Self::Open(open) => open.file.stat(),
        }
    }
    /// The inode. EBADF for descriptors without one (sockets, pipes).
    pub fn inode(self) -> Result<InodeRef> {
        match self {
            Self::Inode(inode) => Ok(inode),
            Self::Open(open) => open.file.inode().ok_or(Errno::EBADF),
        }
    }
}

fn is_empty(path: UserAddr) -> Result<bool> {
    if path.is_null() {
        return Ok(true);
    }
    Ok(user::read::<u8>(path)? == 0)
}

/// The object at (directory, path) with AT_… `flags`.
pub fn object(directory: i32, path: UserAddr, flags: u32) -> Result<Object> {
    if flags & AT_EMPTY_PATH != 0 && is_empty(path)? {
        if directory == AT_FDCWD {
            return Ok(Object::Inode(
                sched::current().process().fs.lock().cwd.clone(),
            ));
        }
        return Ok(Object::Open(file(directory)?));
    }
    let path = named(path)?;
    let base = base(directory, &path)?;
    resolve(&base, &path, flags & AT_SYMLINK_NOFOLLOW == 0).map(Object::Inode)
}

/// Reads a path and says where its walk begins.
pub fn path(directory: i32, path: UserAddr) -> Result<(Base, Vec<u8>)> {
    let path = named(path)?;
    Ok((base(directory, &path)?, path))
}

/// Reads a path that may not be empty: ENOENT.
fn named(path: UserAddr) -> Result<Vec<u8>> {
    let path = user::read_path(path)?;
    if path.is_empty() {
        Err(Errno::ENOENT)
    } else {
        Ok(path)
    }
}
