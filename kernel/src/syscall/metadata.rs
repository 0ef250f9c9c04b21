//! Attributes of files: reading and changing them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::clock;
use crate::fs::file::open;
use crate::fs::inode::{Change, InodeRef};
use crate::fs::stat::{Stat, Timespec, mode};
use crate::mm::user::{self, UserAddr};
use crate::sched;
use crate::syscall::at::{
    self, AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
};

/// newfstatat(2).
pub fn newfstatat(directory: i32, path: UserAddr, buffer: UserAddr, flags: u32) -> Result<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE) != 0 {
        return Err(Errno::EINVAL);
    }
    user::write(buffer, &at::object(directory, path, flags)?.stat()?)
}

/// stat(2).
pub fn stat(path: UserAddr, buffer: UserAddr) -> Result<()> {
    newfstatat(AT_FDCWD, path, buffer, 0)
}

/// lstat(2).
pub fn lstat(path: UserAddr, buffer: UserAddr) -> Result<()> {
    newfstatat(AT_FDCWD, path, buffer, AT_SYMLINK_NOFOLLOW)
}

/// fstat(2).
pub fn fstat(fd: i32, buffer: UserAddr) -> Result<()> {
    user::write(buffer, &at::file(fd)?.file.stat()?)
}

/// `struct statx_timestamp`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct StatxTime {
    seconds: i64,
    nanoseconds: u32,
    reserved: i32,
}

impl From<Timespec> for StatxTime {
    fn from(time: Timespec) -> Self {
        Self {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds as u32,
            reserved: 0,
        }
    }
}

/// `struct statx` (`linux/stat.h`), 256 bytes.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Statx {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    spare0: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    accessed: StatxTime,
    created: StatxTime,
    changed: StatxTime,
    modified: StatxTime,
    rdev_major: u32,
    rdev_minor: u32,
    dev_major: u32,
    dev_minor: u32,
    mount: u64,
    spare: [u64; 13],
}

const _: () = assert!(size_of::<Statx>() == 256);

/// STATX_BASIC_STATS, STATX_BTIME and STATX_MNT_ID: what is always answered.
const STATX_ANSWERED: u32 = 0x7FF | 0x800 | 0x1000;
/// STATX__RESERVED.
const STATX_RESERVED: u32 = 0x8000_0000;

fn device_parts(device: u64) -> (u32, u32) {
    let major = (device >> 8 & 0xFFF) | (device >> 32 & 0xFFFF_F000);
    let minor = (device & 0xFF) | (device >> 12 & 0xFFFF_FF00);
    (major as u32, minor as u32)
}

impl From<Stat> for Statx {
    fn from(stat: Stat) -> Self {
        let (rdev_major, rdev_minor) = device_parts(stat.rdev);
        let (dev_major, dev_minor) = device_parts(stat.device);
        Self {
            mask: STATX_ANSWERED,
            block_size: stat.block_size as u32,
            attributes: 0,
            links: stat.links as u32,
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.mode as u16,
            spare0: 0,
            inode: stat.inode,
            size: stat.size.cast_unsigned(),
            blocks: stat.blocks.cast_unsigned(),
            attributes_mask: 0,
            accessed: stat.accessed.into(),
            // No file system here keeps the time of creation apart.
            created: earliest(&stat).into(),
            changed: stat.changed.into(),
            modified: stat.modified.into(),
            rdev_major,
            rdev_minor,
            dev_major,
            dev_minor,
            mount: stat.device,
            spare: [0; 13],
        }
    }
}

fn earliest(stat: &Stat) -> Timespec {
    let times = [stat.accessed, stat.modified, stat.changed];
    times
        .into_iter()
        .min_by_key(|time| (time.seconds, time.nanoseconds))
        .unwrap_or_default()
}

/// statx(2).
pub fn statx(
    directory: i32,
    path: UserAddr,
    flags: u32,
    mask: u32,
    buffer: UserAddr,
) -> Result<()> {
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    if flags & !known != 0
        || mask & STATX_RESERVED != 0
        || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
    {
        return Err(Errno::EINVAL);
    }
    user::write(
        buffer,
        &Statx::from(at::object(directory, path, flags)?.stat()?),
    )
}

/// faccessat2(2): everything may be read and written here; executing needs an x bit.
pub fn faccessat2(directory: i32, path: UserAddr, wanted: u32, flags: u32) -> Result<()> {
    const EXECUTE: u32 = 1;
    if wanted & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let stat = at::object(directory, path, flags)?.stat()?;
    let file = stat.mode & mode::TYPE == mode::FILE;
    if wanted & EXECUTE != 0 && file && stat.mode & 0o111 == 0 {
        Err(Errno::EACCES)
    } else {
        Ok(())
    }
}

/// faccessat(2).
pub fn faccessat(directory: i32, path: UserAddr, wanted: u32) -> Result<()> {
    faccessat2(directory, path, wanted, 0)
}

/// access(2).
pub fn access(path: UserAddr, wanted: u32) -> Result<()> {
    faccessat2(AT_FDCWD, path, wanted, 0)
}

/// umask(2).
pub fn umask(mask: u32) -> Result<usize> {
    let process = sched::current().process();
    let mut context = process.fs.lock();
    Ok(core::mem::replace(&mut context.umask, mask & 0o777) as usize)
}

/// The inode behind `fd`, for changing attributes. EBADF.
fn inode_of(fd: i32) -> Result<InodeRef> {
    let open = at::file(fd)?;
    if open.flags() & open::PATH != 0 {
        return Err(Errno::EBADF);
    }
    open.file.inode().ok_or(Errno::EPERM)
}

fn permissions(raw: u32) -> Change {
    Change {
        mode: Some(raw & 0o7777),
        ..Change::default()
    }
}

/// chmod(2) and its variants.
fn change_mode(directory: i32, path: UserAddr, raw: u32, flags: u32) -> Result<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let inode = at::object(directory, path, flags)?.inode()?;
    if inode.kind() == mode::LINK {
        return Err(Errno::EOPNOTSUPP);
    }
    inode.change(&permissions(raw))
}

/// fchmodat(2).
pub fn fchmodat(directory: i32, path: UserAddr, raw: u32) -> Result<()> {
    change_mode(directory, path, raw, 0)
}

/// fchmodat2(2).
pub fn fchmodat2(directory: i32, path: UserAddr, raw: u32, flags: u32) -> Result<()> {
    change_mode(directory, path, raw, flags)
}

/// chmod(2).
pub fn chmod(path: UserAddr, raw: u32) -> Result<()> {
    change_mode(AT_FDCWD, path, raw, 0)
}

/// fchmod(2).
pub fn fchmod(fd: i32, raw: u32) -> Result<()> {
    inode_of(fd)?.change(&permissions(raw))
}

/// Owner and group; -1 leaves one as it is.
fn owners(uid: u32, gid: u32) -> Change {
    let given = |id: u32| (id != u32::MAX).then_some(id);
    Change {
        uid: given(uid),
        gid: given(gid),
        ..Change::default()
    }
}

/// fchownat(2).
pub fn fchownat(directory: i32, path: UserAddr, uid: u32, gid: u32, flags: u32) -> Result<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    at::object(directory, path, flags)?
        .inode()?
        .change(&owners(uid, gid))
}

/// chown(2).
pub fn chown(path: UserAddr, uid: u32, gid: u32) -> Result<()> {
    fchownat(AT_FDCWD, path, uid, gid, 0)
}

/// lchown(2).
pub fn lchown(path: UserAddr, uid: u32, gid: u32) -> Result<()> {
    fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

/// fchown(2).
pub fn fchown(fd: i32, uid: u32, gid: u32) -> Result<()> {
    inode_of(fd)?.change(&owners(uid, gid))
}

/// One time of utimensat: `None` for UTIME_OMIT. EINVAL.
fn time(raw: Timespec) -> Result<Option<Timespec>> {
    const NOW: i64 = 0x3FFF_FFFF;
    const OMIT: i64 = 0x3FFF_FFFE;
    match raw.nanoseconds {
        NOW => Ok(Some(clock::now())),
        OMIT => Ok(None),
        0..=999_999_999 => Ok(Some(raw)),
        _ => Err(Errno::EINVAL),
    }
}

fn set_times(
    inode: &InodeRef,
    accessed: Option<Timespec>,
    modified: Option<Timespec>,
) -> Result<()> {
    if accessed.is_none() && modified.is_none() {
        return Ok(());
    }
    inode.change(&Change {
        accessed,
        modified,
        ..Change::default()
    })
}

/// utimensat(2); a NULL path means the descriptor itself.
pub fn utimensat(directory: i32, path: UserAddr, times: UserAddr, flags: u32) -> Result<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (accessed, modified) = if times.is_null() {
        (Some(clock::now()), Some(clock::now()))
    } else {
        (
            time(user::read(times)?)?,
            time(user::read(times.wrapping_add(16))?)?,
        )
    };
    let inode = if path.is_null() {
        inode_of(directory)?
    } else {
        at::object(directory, path, flags)?.inode()?
    };
    set_times(&inode, accessed, modified)
}

/// futimesat(2): times in microseconds.
pub fn futimesat(directory: i32, path: UserAddr, times: UserAddr) -> Result<()> {
    let read = |at: u64| -> Result<Timespec> {
        let [seconds, microseconds]: [i64; 2] = user::read(times.wrapping_add(at))?;
        if !(0..1_000_000).contains(&microseconds) {
            return Err(Errno::EINVAL);
        }
        Ok(Timespec {
            seconds,
            nanoseconds: microseconds * 1000,
        })
    };
    let (accessed, modified) = if times.is_null() {
        (clock::now(), clock::now())
    } else {
        (read(0)?, read(16)?)
    };
    let inode = at::object(directory, path, 0)?.inode()?;
    set_times(&inode, Some(accessed), Some(modified))
}

/// utimes(2).
pub fn utimes(path: UserAddr, times: UserAddr) -> Result<()> {
    futimesat(AT_FDCWD, path, times)
}

/// utime(2): times in seconds.
pub fn utime(path: UserAddr, times: UserAddr) -> Result<()> {
    let (accessed, modified) = if times.is_null() {
        (clock::now(), clock::now())
    } else {
        let [accessed, modified]: [i64; 2] = user::read(times)?;
        (
            Timespec {
                seconds: accessed,
                nanoseconds: 0,
            },
            Timespec {
                seconds: modified,
                nanoseconds: 0,
            },
        )
    };
    let inode = at::object(AT_FDCWD, path, 0)?.inode()?;
    set_times(&inode, Some(accessed), Some(modified))
}

/// statfs(2).
pub fn statfs(path: UserAddr, buffer: UserAddr) -> Result<()> {
    user::write(buffer, &at::object(AT_FDCWD, path, 0)?.inode()?.statfs()?)
}

/// fstatfs(2).
pub fn fstatfs(fd: i32, buffer: UserAddr) -> Result<()> {
    user::write(buffer, &at::file(fd)?.file.statfs()?)
}

/// getxattr(2), listxattr(2) and their variants: EOPNOTSUPP, as from a file system without
/// extended attributes.
pub fn no_attributes() -> Result<()> {
    Err(Errno::EOPNOTSUPP)
}
