//! Descriptors: duplicating, flags, locks, ioctl.

use alloc::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::fs::lock::{self, Range};
use crate::fs::stat::mode;
use crate::ipc::pipe::PipeEnd;
use crate::mm::user::{self, UserAddr};
use crate::sched;
use crate::sched::block::{Flow, park};
use crate::syscall::at;

fn descriptor(fd: i32) -> Result<usize> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

/// dup(2).
pub fn dup(fd: i32) -> Result<usize> {
    duplicate(fd, 0, false)
}

fn duplicate(fd: i32, min: usize, close_on_exec: bool) -> Result<usize> {
    let process = sched::current().process();
    let open = process.descriptors.get(fd)?;
    descriptor(process.descriptors.insert(open, close_on_exec, min)?)
}

fn put_at(old: i32, new: i32, close_on_exec: bool) -> Result<usize> {
    let process = sched::current().process();
    let open = process.descriptors.get(old)?;
    drop(process.descriptors.replace(new, open, close_on_exec)?);
    descriptor(new)
}

/// dup2(2).
pub fn dup2(old: i32, new: i32) -> Result<usize> {
    if old == new {
        at::file(old)?;
        return descriptor(new);
    }
    put_at(old, new, false)
}

/// dup3(2). EINVAL for equal descriptors.
pub fn dup3(old: i32, new: i32, flags: u32) -> Result<usize> {
    if old == new || flags & !open::CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    put_at(old, new, flags & open::CLOEXEC != 0)
}

/// close_range(2).
pub fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    if first > last || flags & !(UNSHARE | CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let process = sched::current().process();
    for fd in process.descriptors.descriptors() {
        if !u32::try_from(fd).is_ok_and(|fd| (first..=last).contains(&fd)) {
            continue;
        }
        if flags & CLOEXEC != 0 {
            process.descriptors.set_close_on_exec(fd, true)?;
        } else {
            drop(process.descriptors.remove(fd)?);
        }
    }
    Ok(())
}

/// fcntl commands (`asm-generic/fcntl.h`, `linux/fcntl.h`).
mod command {
    pub const DUPFD: u32 = 0;
    pub const GETFD: u32 = 1;
    pub const SETFD: u32 = 2;
    pub const GETFL: u32 = 3;
    pub const SETFL: u32 = 4;
    pub const GETLK: u32 = 5;
    pub const SETLK: u32 = 6;
    pub const SETLKW: u32 = 7;
    pub const SETOWN: u32 = 8;
    pub const GETOWN: u32 = 9;
    pub const SETSIG: u32 = 10;
    pub const GETSIG: u32 = 11;
    pub const OFD_GETLK: u32 = 36;
    pub const OFD_SETLK: u32 = 37;
    pub const OFD_SETLKW: u32 = 38;
    pub const SETLEASE: u32 = 1024;
    pub const GETLEASE: u32 = 1025;
    pub const DUPFD_CLOEXEC: u32 = 1030;
    pub const SETPIPE_SZ: u32 = 1031;
    pub const GETPIPE_SZ: u32 = 1032;
    pub const ADD_SEALS: u32 = 1033;
    pub const GET_SEALS: u32 = 1034;
}

/// fcntl(2).
pub fn fcntl(fd: i32, what: u32, argument: u64) -> Flow {
    match what {
        command::OFD_SETLKW => match at::file(fd) {
            Ok(open) => lock_range(open, argument, true),
            Err(error) => error.into(),
        },
        _ => control(fd, what, argument).into(),
    }
}

fn control(fd: i32, what: u32, argument: u64) -> Result<usize> {
    let process = sched::current().process();
    let open = process.descriptors.get(fd)?;
    let number = argument as u32;
    if open.flags() & open::PATH != 0
        && !matches!(
            what,
            command::DUPFD
                | command::DUPFD_CLOEXEC
                | command::GETFD
                | command::SETFD
                | command::GETFL
        )
    {
        return Err(Errno::EBADF);
    }
    match what {
        command::DUPFD | command::DUPFD_CLOEXEC => {
            let min = usize::try_from(argument.cast_signed() as i32).map_err(|_| Errno::EINVAL)?;
            descriptor(
                process
                    .descriptors
                    .insert(open, what == command::DUPFD_CLOEXEC, min)?,
            )
        }
        command::GETFD => process.descriptors.close_on_exec(fd).map(usize::from),
        command::SETFD => process
            .descriptors
            .set_close_on_exec(fd, number & 1 != 0)
            .map(|()| 0),
        command::GETFL => Ok(open.flags() as usize),
        command::SETFL => {
            open.set_flags(number);
            Ok(0)
        }
        command::GETLK => check_process_lock(&open, argument),
        command::SETLK | command::SETLKW => process_lock(&open, argument),
        command::OFD_GETLK => find_conflict(&open, argument),
        command::OFD_SETLK => lock_now(&open, argument),
        // Signals for I/O readiness are not sent; who waits uses poll.
        command::SETOWN | command::SETSIG => Ok(0),
        command::GETOWN | command::GETSIG => Ok(0),
        command::SETLEASE => Err(Errno::EINVAL),
        command::GETLEASE => Ok(2),
        command::GETPIPE_SZ => pipe(&open).map(PipeEnd::size),
        command::SETPIPE_SZ => pipe(&open)?.set_size(number as usize),
        command::ADD_SEALS => Err(Errno::EPERM),
        command::GET_SEALS => Err(Errno::EINVAL),
        _ => Err(Errno::EINVAL),
    }
}

fn pipe(open: &OpenFile) -> Result<&PipeEnd> {
    open.file
        .as_any()
        .downcast_ref::<PipeEnd>()
        .ok_or(Errno::EBADF)
}

/// `struct flock` of x86-64.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Flock {
    kind: i16,
    whence: i16,
    pad: i32,
    start: i64,
    len: i64,
    pid: i32,
    pad2: i32,
}

const READ_LOCK: i16 = 0;
const WRITE_LOCK: i16 = 1;
const UNLOCK: i16 = 2;

impl Flock {
    fn read(argument: u64) -> Result<Self> {
        user::read(UserAddr::new(argument))
    }
    /// The range in bytes of the file. EINVAL.
    fn range(&self, open: &OpenFile) -> Result<Range> {
        let base = match self.whence {
            0 => 0,
            1 => open.position.lock().cast_signed(),
            2 => open.file.size().cast_signed(),
            _ => return Err(Errno::EINVAL),
        };
        let mut start = base.checked_add(self.start).ok_or(Errno::EOVERFLOW)?;
        let mut len = self.len;
        if len < 0 {
            start = start.checked_add(len).ok_or(Errno::EINVAL)?;
            len = -len;
        }
        let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
        let end = if len == 0 {
            u64::MAX
        } else {
            start
                .checked_add(len.unsigned_abs())
                .ok_or(Errno::EOVERFLOW)?
        };
        Ok(Range {
            start,
            end,
            exclusive: self.kind == WRITE_LOCK,
        })
    }
    /// EINVAL for an unknown kind, EBADF when the access mode does not fit.
    fn check(&self, open: &OpenFile) -> Result<()> {
        match self.kind {
            READ_LOCK if !open.readable() => Err(Errno::EBADF),
            WRITE_LOCK if !open.writable() => Err(Errno::EBADF),
            READ_LOCK | WRITE_LOCK | UNLOCK => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// F_SETLK: locks of a process never stand in its own way, and there is only one.
fn process_lock(open: &OpenFile, argument: u64) -> Result<usize> {
    let flock = Flock::read(argument)?;
    flock.range(open)?;
    flock.check(open)?;
    Ok(0)
}

/// F_GETLK: nobody else has locks.
fn check_process_lock(open: &OpenFile, argument: u64) -> Result<usize> {
    let flock = Flock::read(argument)?;
    flock.range(open)?;
    if !matches!(flock.kind, READ_LOCK | WRITE_LOCK) {
        return Err(Errno::EINVAL);
    }
    user::write(
        UserAddr::new(argument),
        &Flock {
            kind: UNLOCK,
            ..flock
        },
    )?;
    Ok(0)
}

fn find_conflict(open: &OpenFile, argument: u64) -> Result<usize> {
    let flock = Flock::read(argument)?;
    let range = flock.range(open)?;
    if flock.pid != 0 || !matches!(flock.kind, READ_LOCK | WRITE_LOCK) {
        return Err(Errno::EINVAL);
    }
    let answer = match lock::conflict(open, &range)? {
        None => Flock {
            kind: UNLOCK,
            ..flock
        },
        Some(held) => Flock {
            kind: if held.exclusive {
                WRITE_LOCK
            } else {
                READ_LOCK
            },
            whence: 0,
            start: held.start.cast_signed(),
            len: if held.end == u64::MAX {
                0
            } else {
                (held.end - held.start).cast_signed()
            },
            pid: -1,
            ..flock
        },
    };
    user::write(UserAddr::new(argument), &answer)?;
    Ok(0)
}

fn lock_now(open: &OpenFile, argument: u64) -> Result<usize> {
    let flock = Flock::read(argument)?;
    let range = flock.range(open)?;
    flock.check(open)?;
    if flock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    if flock.kind == UNLOCK {
        lock::unlock_range(open, &range)
    } else {
        lock::lock_range(open, &range)
    }
    .map(|()| 0)
}

fn lock_range(open: Arc<OpenFile>, argument: u64, wait: bool) -> Flow {
    wait_for_lock(wait, move || lock_now(&open, argument))
}

/// Tries to get a lock; with `wait`, again whenever one is given back.
fn wait_for_lock(wait: bool, attempt: impl Fn() -> Result<usize> + Send + 'static) -> Flow {
    match attempt() {
        Err(Errno::EAGAIN) if wait => Flow::blocked(async move {
            let _waiting = Waiting(lock::RELEASED.add(sched::current().observer(), 0));
            loop {
                match attempt() {
                    Err(Errno::EAGAIN) => park(None).await?,
                    result => return result,
                }
            }
        }),
        result => Flow::Done(result),
    }
}

/// A thread that waits for a lock.
struct Waiting(crate::sched::notify::Registration);

impl Drop for Waiting {
    fn drop(&mut self) {
        lock::RELEASED.remove(self.0);
    }
}

/// flock(2).
pub fn flock(fd: i32, operation: u32) -> Flow {
    const SHARED: u32 = 1;
    const EXCLUSIVE: u32 = 2;
    const NONBLOCK: u32 = 4;
    const UNLOCK: u32 = 8;
    let open = match at::file(fd) {
        Ok(open) if open.flags() & open::PATH == 0 => open,
        Ok(_) => return Errno::EBADF.into(),
        Err(error) => return error.into(),
    };
    let exclusive = match operation & !NONBLOCK {
        SHARED => false,
        EXCLUSIVE => true,
        UNLOCK => return lock::unflock(&open).into(),
        _ => return Errno::EINVAL.into(),
    };
    wait_for_lock(operation & NONBLOCK == 0, move || {
        lock::flock(&open, exclusive).map(|()| 0)
    })
}

/// ioctl requests that are the same for every file (`asm-generic/ioctls.h`, `linux/fs.h`).
mod request {
    pub const FIONCLEX: u32 = 0x5450;
    pub const FIOCLEX: u32 = 0x5451;
    pub const FIONREAD: u32 = 0x541B;
    pub const FIONBIO: u32 = 0x5421;
    pub const FIOASYNC: u32 = 0x5452;
    pub const FICLONE: u32 = 0x4004_9409;
    pub const FICLONERANGE: u32 = 0x4020_940D;
    pub const FIDEDUPERANGE: u32 = 0xC018_9436;
}

/// ioctl(2).
pub fn ioctl(fd: i32, what: u32, argument: u64) -> Result<usize> {
    let process = sched::current().process();
    let open = process.descriptors.get(fd)?;
    if open.flags() & open::PATH != 0 {
        return Err(Errno::EBADF);
    }
    let set = |flag: u32| -> Result<usize> {
        let value: i32 = user::read(UserAddr::new(argument))?;
        open.set_flags(if value != 0 {
            open.flags() | flag
        } else {
            open.flags() & !flag
        });
        Ok(0)
    };
    match what {
        request::FIOCLEX => process.descriptors.set_close_on_exec(fd, true).map(|()| 0),
        request::FIONCLEX => process.descriptors.set_close_on_exec(fd, false).map(|()| 0),
        request::FIONBIO => set(open::NONBLOCK),
        request::FIOASYNC => set(open::ASYNC),
        request::FICLONE | request::FICLONERANGE | request::FIDEDUPERANGE => Err(Errno::EOPNOTSUPP),
        request::FIONREAD if is_regular(&open) => {
            let left = open.file.size().saturating_sub(*open.position.lock());
            user::write(
                UserAddr::new(argument),
                &i32::try_from(left).unwrap_or(i32::MAX),
            )?;
            Ok(0)
        }
        _ => open.file.ioctl(&open, what, argument),
    }
}

fn is_regular(open: &OpenFile) -> bool {
    open.file.seekable()
        && open
            .file
            .stat()
            .is_ok_and(|stat| stat.mode & mode::TYPE == mode::FILE)
}
