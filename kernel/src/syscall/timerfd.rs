//! timerfd_create, timerfd_settime, timerfd_gettime.

use crate::errno::{Errno, Result};
use crate::fs::file::open;
use crate::fs::stat::Timespec;
use crate::ipc::timeout::{nanoseconds, timespec};
use crate::ipc::{self, timerfd::TimerFd};
use crate::mm::user::{self, UserAddr};
use crate::sched::current;

const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
const CLOCK_BOOTTIME: i32 = 7;
const CLOCK_REALTIME_ALARM: i32 = 8;
const CLOCK_BOOTTIME_ALARM: i32 = 9;

const ABSOLUTE: u32 = 1;
/// Nobody sets the clock of a guest, so nothing is ever cancelled.
const CANCEL_ON_SET: u32 = 2;

/// timerfd_create(2). EINVAL; EPERM for clocks that wake a sleeping machine.
pub fn timerfd_create(clock: i32, flags: u32) -> Result<usize> {
    if flags & !(open::CLOEXEC | open::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    match clock {
        CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME => {}
        CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    let file = TimerFd::new(clock == CLOCK_REALTIME);
    ipc::install(
        file,
        open::RDWR | flags & open::NONBLOCK,
        flags & open::CLOEXEC != 0,
    )
}

/// timerfd_settime(2). EINVAL, EBADF, EFAULT.
pub fn timerfd_settime(fd: i32, flags: u32, new: UserAddr, old: UserAddr) -> Result<()> {
    let [interval_s, interval_ns, value_s, value_ns]: [i64; 4] = user::read(new)?;
    if flags & !(ABSOLUTE | CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let interval = nanoseconds(Timespec {
        seconds: interval_s,
        nanoseconds: interval_ns,
    })?;
    let value = nanoseconds(Timespec {
        seconds: value_s,
        nanoseconds: value_ns,
    })?;
    let former = with_timer(fd, |timer| {
        timer.set(
            deadline(value, flags & ABSOLUTE != 0, timer.realtime),
            interval,
        )
    })?;
    if old.is_null() {
        Ok(())
    } else {
        store(old, former)
    }
}

/// timerfd_gettime(2). EINVAL, EBADF, EFAULT.
pub fn timerfd_gettime(fd: i32, value: UserAddr) -> Result<()> {
    store(value, with_timer(fd, TimerFd::value)?)
}

fn with_timer<T>(fd: i32, action: impl FnOnce(&TimerFd) -> T) -> Result<T> {
    let open = current().process().descriptors.get(fd)?;
    let timer = open.file.as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    Ok(action(timer))
}

/// From a `struct itimerspec` value to CLOCK_MONOTONIC; `None` disarms.
fn deadline(value: u64, absolute: bool, realtime: bool) -> Option<u64> {
    let (monotonic_now, realtime_now) = spore_hal::time::now();
    match (value, absolute) {
        (0, _) => None,
        (_, false) => Some(monotonic_now.saturating_add(value)),
        (_, true) if realtime => {
            Some(monotonic_now.saturating_add(value.saturating_sub(realtime_now)))
        }
        (_, true) => Some(value),
    }
}

/// Stores a `struct itimerspec`.
fn store(addr: UserAddr, (value, interval): (u64, u64)) -> Result<()> {
    user::write(addr, &[timespec(interval), timespec(value)])
}
