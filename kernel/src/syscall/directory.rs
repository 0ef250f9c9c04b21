//! Names: directories, links, renaming, working directory.

use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::DirEntry;
use crate::fs::inode::{InodeRef, New, RenameMode, require_directory};
use crate::fs::path::{Place, locate_entry, resolve};
use crate::fs::stat::mode;
use crate::mm::user::{self, UserAddr};
use crate::sched;
use crate::syscall::at::{self, AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW};
use crate::syscall::file::masked;

/// getcwd(2): length with the NUL. ERANGE, ENOENT.
pub fn getcwd(buffer: UserAddr, size: usize) -> Result<usize> {
    let cwd = sched::current().process().fs.lock().cwd.clone();
    let mut path = cwd.path();
    if path.ends_with(b" (deleted)") {
        return Err(Errno::ENOENT);
    }
    path.push(0);
    if path.len() > size {
        return Err(Errno::ERANGE);
    }
    user::write_bytes(buffer, &path)?;
    Ok(path.len())
}

fn enter(inode: InodeRef) -> Result<()> {
    require_directory(&inode)?;
    let process = sched::current().process();
    let old = core::mem::replace(&mut process.fs.lock().cwd, inode);
    drop(old);
    Ok(())
}

/// chdir(2).
pub fn chdir(path: UserAddr) -> Result<()> {
    let (base, path) = at::path(AT_FDCWD, path)?;
    enter(resolve(&base, &path, true)?)
}

/// fchdir(2).
pub fn fchdir(fd: i32) -> Result<()> {
    enter(at::file(fd)?.file.inode().ok_or(Errno::ENOTDIR)?)
}

/// The name of an entry that is to be made. EEXIST.
fn vacant<'a>(place: &'a Place<'_>) -> Result<&'a [u8]> {
    if place.inode.is_some() {
        return Err(Errno::EEXIST);
    }
    place.name().ok_or(Errno::EEXIST)
}

/// mkdirat(2).
pub fn mkdirat(directory: i32, path: UserAddr, permissions: u32) -> Result<()> {
    let (base, path) = at::path(directory, path)?;
    let place = locate_entry(&base, &path)?;
    let name = vacant(&place)?;
    place
        .directory
        .create(name, New::Directory(masked(permissions) & 0o1777))
        .map(|_| ())
}

/// mkdir(2).
pub fn mkdir(path: UserAddr, permissions: u32) -> Result<()> {
    mkdirat(AT_FDCWD, path, permissions)
}

/// mknodat(2): regular files, FIFOs and sockets; EPERM for devices.
pub fn mknodat(directory: i32, path: UserAddr, what: u32, _device: u64) -> Result<()> {
    let (base, path) = at::path(directory, path)?;
    let place = locate_entry(&base, &path)?;
    let name = vacant(&place)?;
    if place.slash {
        return Err(Errno::ENOENT);
    }
    let permissions = masked(what);
    let new = match what & mode::TYPE {
        0 | mode::FILE => New::File(permissions),
        mode::FIFO => New::Fifo(permissions),
        mode::SOCKET => New::Socket(permissions),
        mode::CHARACTER | mode::BLOCK | mode::DIRECTORY => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    place.directory.create(name, new).map(|_| ())
}

/// mknod(2).
pub fn mknod(path: UserAddr, what: u32, device: u64) -> Result<()> {
    mknodat(AT_FDCWD, path, what, device)
}

/// unlinkat(2).
pub fn unlinkat(directory: i32, path: UserAddr, flags: u32) -> Result<()> {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let (base, path) = at::path(directory, path)?;
    let mut place = locate_entry(&base, &path)?;
    let is_directory = flags & AT_REMOVEDIR != 0;
    // Nothing else may hold the object: its watchers hear of its end before the
    // directory's do.
    let kind = place.inode.take().map(|inode| inode.kind());
    let Some(name) = place.name() else {
        return Err(
            match path
                .rsplit(|byte| *byte == b'/')
                .find(|part| !part.is_empty())
            {
                _ if !is_directory => Errno::EISDIR,
                Some(b".") => Errno::EINVAL,
                Some(b"..") => Errno::ENOTEMPTY,
                _ => Errno::EBUSY,
            },
        );
    };
    let kind = kind.ok_or(Errno::ENOENT)?;
    if !is_directory && place.slash {
        return Err(if kind == mode::DIRECTORY {
            Errno::EISDIR
        } else {
            Errno::ENOTDIR
        });
    }
    place.directory.remove(name, is_directory)
}

/// unlink(2).
pub fn unlink(path: UserAddr) -> Result<()> {
    unlinkat(AT_FDCWD, path, 0)
}

/// rmdir(2).
pub fn rmdir(path: UserAddr) -> Result<()> {
    unlinkat(AT_FDCWD, path, AT_REMOVEDIR)
}

/// renameat2(2). RENAME_WHITEOUT is refused with EINVAL.
pub fn renameat2(from: i32, path: UserAddr, to: i32, to_path: UserAddr, flags: u32) -> Result<()> {
    const NOREPLACE: u32 = 1;
    const EXCHANGE: u32 = 2;
    let how = match flags {
        0 => RenameMode::Replace,
        NOREPLACE => RenameMode::Keep,
        EXCHANGE => RenameMode::Exchange,
        _ => return Err(Errno::EINVAL),
    };
    let (base, path) = at::path(from, path)?;
    let (to_base, to_path) = at::path(to, to_path)?;
    let source = locate_entry(&base, &path)?;
    let target = locate_entry(&to_base, &to_path)?;
    let (Some(name), Some(to_name)) = (source.name(), target.name()) else {
        return Err(Errno::EBUSY);
    };
    let inode = source.found()?;
    if (source.slash || target.slash) && inode.kind() != mode::DIRECTORY {
        return Err(Errno::ENOTDIR);
    }
    source
        .directory
        .rename(name, &target.directory, to_name, how)
}

/// renameat(2).
pub fn renameat(from: i32, path: UserAddr, to: i32, to_path: UserAddr) -> Result<()> {
    renameat2(from, path, to, to_path, 0)
}

/// rename(2).
pub fn rename(path: UserAddr, to_path: UserAddr) -> Result<()> {
    renameat2(AT_FDCWD, path, AT_FDCWD, to_path, 0)
}

/// linkat(2).
pub fn linkat(from: i32, path: UserAddr, to: i32, to_path: UserAddr, flags: u32) -> Result<()> {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_FOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 {
        0
    } else {
        at::AT_SYMLINK_NOFOLLOW
    };
    let inode = at::object(from, path, flags & AT_EMPTY_PATH | follow)?.inode()?;
    let (base, to_path) = at::path(to, to_path)?;
    let place = locate_entry(&base, &to_path)?;
    let name = vacant(&place)?;
    if place.slash {
        return Err(Errno::ENOENT);
    }
    place.directory.link(name, &inode)
}

/// link(2).
pub fn link(path: UserAddr, to_path: UserAddr) -> Result<()> {
    linkat(AT_FDCWD, path, AT_FDCWD, to_path, 0)
}

/// symlinkat(2).
pub fn symlinkat(text: UserAddr, directory: i32, path: UserAddr) -> Result<()> {
    let text = user::read_path(text)?;
    if text.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (base, path) = at::path(directory, path)?;
    let place = locate_entry(&base, &path)?;
    let name = vacant(&place)?;
    if place.slash {
        return Err(Errno::ENOENT);
    }
    place.directory.create(name, New::Link(&text)).map(|_| ())
}

/// symlink(2).
pub fn symlink(text: UserAddr, path: UserAddr) -> Result<()> {
    symlinkat(text, AT_FDCWD, path)
}

/// readlinkat(2): cut to the buffer, without NUL. EINVAL.
pub fn readlinkat(directory: i32, path: UserAddr, buffer: UserAddr, size: i32) -> Result<usize> {
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size > 0)
        .ok_or(Errno::EINVAL)?;
    // An empty path means the descriptor itself (an O_PATH link).
    let named = directory != AT_FDCWD;
    let flags = at::AT_SYMLINK_NOFOLLOW | if named { AT_EMPTY_PATH } else { 0 };
    let inode = at::object(directory, path, flags)?
        .inode()
        .map_err(|_| Errno::EINVAL)?;
    if inode.kind() != mode::LINK {
        return Err(Errno::EINVAL);
    }
    let mut text = inode.link_text()?;
    text.truncate(size);
    user::write_bytes(buffer, &text)?;
    Ok(text.len())
}

/// readlink(2).
pub fn readlink(path: UserAddr, buffer: UserAddr, size: i32) -> Result<usize> {
    readlinkat(AT_FDCWD, path, buffer, size)
}

/// Most bytes of entries that one call gathers.
const LISTING: usize = 64 << 10;

/// Gathers entries in the form that `encode` gives them. ENOTDIR, EINVAL.
fn list(
    fd: i32,
    buffer: UserAddr,
    size: usize,
    encode: fn(&DirEntry<'_>) -> Vec<u8>,
) -> Result<usize> {
    let open = at::file(fd)?;
    if !open.readable() {
        return Err(Errno::EBADF);
    }
    let room = size.min(LISTING);
    let mut bytes: Vec<u8> = Vec::new();
    let mut full = false;
    let start = *open.position.lock();
    let mut cookie = start;
    open.file.read_directory(start, &mut |entry| {
        let encoded = encode(&entry);
        full = bytes.len() + encoded.len() > room;
        if full {
            return false;
        }
        bytes.extend_from_slice(&encoded);
        cookie = entry.next;
        true
    })?;
    if full && bytes.is_empty() {
        return Err(Errno::EINVAL);
    }
    user::write_bytes(buffer, &bytes)?;
    *open.position.lock() = cookie;
    Ok(bytes.len())
}

/// `struct linux_dirent64`.
fn encode64(entry: &DirEntry<'_>) -> Vec<u8> {
    let len = (19 + entry.name.len() + 1).next_multiple_of(8);
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&entry.inode.to_le_bytes());
    bytes.extend_from_slice(&entry.next.to_le_bytes());
    bytes.extend_from_slice(&(len as u16).to_le_bytes());
    bytes.push(entry.kind);
    bytes.extend_from_slice(entry.name);
    bytes.resize(len, 0);
    bytes
}

/// `struct linux_dirent`: the type is the last byte.
fn encode_old(entry: &DirEntry<'_>) -> Vec<u8> {
    let len = (18 + entry.name.len() + 2).next_multiple_of(8);
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&entry.inode.to_le_bytes());
    bytes.extend_from_slice(&entry.next.to_le_bytes());
    bytes.extend_from_slice(&(len as u16).to_le_bytes());
    bytes.extend_from_slice(entry.name);
    bytes.resize(len - 1, 0);
    bytes.push(entry.kind);
    bytes
}

/// getdents64(2).
pub fn getdents64(fd: i32, buffer: UserAddr, size: usize) -> Result<usize> {
    list(fd, buffer, size & 0xFFFF_FFFF, encode64)
}

/// getdents(2).
pub fn getdents(fd: i32, buffer: UserAddr, size: usize) -> Result<usize> {
    list(fd, buffer, size & 0xFFFF_FFFF, encode_old)
}
