//! epoll_create, epoll_ctl, epoll_wait and their variants.

use alloc::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::ipc::timeout::Timeout;
use crate::ipc::{self, epoll::Epoll, mask};
use crate::mm::user::{self, UserAddr};
use crate::sched::block::{Flow, park};
use crate::sched::current;
use crate::signal;

const CTL_ADD: i32 = 1;
const CTL_DEL: i32 = 2;
const CTL_MOD: i32 = 3;

/// `struct epoll_event`, packed on x86-64.
#[repr(C, packed)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Event {
    events: u32,
    data: u64,
}

const EVENT_SIZE: usize = size_of::<Event>();
/// `EP_MAX_EVENTS`.
const MAX_EVENTS: i32 = i32::MAX / EVENT_SIZE as i32;

/// epoll_create(2). EINVAL for a size that is not positive.
pub fn epoll_create(size: i32) -> Result<usize> {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    epoll_create1(0)
}

/// epoll_create1(2). EINVAL for flags other than EPOLL_CLOEXEC.
pub fn epoll_create1(flags: u32) -> Result<usize> {
    if flags & !open::CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    ipc::install(Epoll::new(), open::RDWR, flags & open::CLOEXEC != 0)
}

/// epoll_ctl(2).
pub fn epoll_ctl(epfd: i32, operation: i32, fd: i32, event: UserAddr) -> Result<()> {
    let event: Event = match operation {
        CTL_DEL => Event { events: 0, data: 0 },
        _ => user::read(event)?,
    };
    let process = current().process();
    let set = process.descriptors.get(epfd)?;
    let open = process.descriptors.get(fd)?;
    if open.file.notifier().is_none() {
        return Err(Errno::EPERM);
    }
    let epoll = epoll_of(&set)?;
    match operation {
        CTL_ADD => epoll.add(fd, &open, event.events, event.data),
        CTL_MOD => epoll.modify(fd, &open, event.events, event.data),
        CTL_DEL => epoll.delete(fd, &open),
        _ => Err(Errno::EINVAL),
    }
}

/// epoll_wait(2).
pub fn epoll_wait(epfd: i32, events: UserAddr, max: i32, timeout: i32) -> Flow {
    wait(epfd, events, max, Timeout::from_milliseconds(timeout), None)
}

/// epoll_pwait(2).
pub fn epoll_pwait(
    epfd: i32,
    events: UserAddr,
    max: i32,
    timeout: i32,
    mask: UserAddr,
    mask_size: usize,
) -> Flow {
    match mask::read(mask, mask_size) {
        Ok(mask) => wait(epfd, events, max, Timeout::from_milliseconds(timeout), mask),
        Err(error) => error.into(),
    }
}

/// epoll_pwait2(2): the timeout is a `struct timespec`, NULL for none.
pub fn epoll_pwait2(
    epfd: i32,
    events: UserAddr,
    max: i32,
    timeout: UserAddr,
    mask: UserAddr,
    mask_size: usize,
) -> Flow {
    let arguments = Timeout::from_timespec(timeout)
        .and_then(|timeout| Ok((timeout, mask::read(mask, mask_size)?)));
    match arguments {
        Ok((timeout, mask)) => wait(epfd, events, max, timeout, mask),
        Err(error) => error.into(),
    }
}

fn epoll_of(open: &Arc<OpenFile>) -> Result<&Epoll> {
    open.file.as_any().downcast_ref().ok_or(Errno::EINVAL)
}

/// Where reported events go: an array of `struct epoll_event`.
struct EventArray {
    at: UserAddr,
}

impl EventArray {
    fn push(&mut self, events: u32, data: u64) -> Result<()> {
        user::write(self.at, &Event { events, data })?;
        self.at = self.at.wrapping_add(EVENT_SIZE as u64);
        Ok(())
    }
}

/// The common part. EINVAL, EBADF, EFAULT; EINTR.
fn wait(
    epfd: i32,
    events: UserAddr,
    max: i32,
    timeout: Timeout,
    mask: Option<signal::Set>,
) -> Flow {
    if max <= 0 || max > MAX_EVENTS {
        return Errno::EINVAL.into();
    }
    let max = max as usize;
    let open = match current().process().descriptors.get(epfd) {
        Ok(open) => open,
        Err(error) => return error.into(),
    };
    let epoll = match epoll_of(&open) {
        Ok(epoll) => epoll,
        Err(error) => return error.into(),
    };
    // What the host has put into the rings counts as having happened.
    crate::net::turn();
    let mut array = EventArray { at: events };
    match epoll.collect(max, |events, data| array.push(events, data)) {
        Ok(0) if timeout != Timeout::Now => {}
        result => return result.into(),
    }
    Flow::blocked(mask::with(mask, blocking(open, events, max, timeout)))
}

async fn blocking(
    open: Arc<OpenFile>,
    events: UserAddr,
    max: usize,
    timeout: Timeout,
) -> Result<usize> {
    let waiting = epoll_of(&open)?.wait(current().observer())?;
    loop {
        let mut array = EventArray { at: events };
        let count = waiting.collect(max, |events, data| array.push(events, data))?;
        if count > 0 {
            return Ok(count);
        }
        match park(timeout.deadline()).await {
            Ok(()) => {}
            Err(Errno::ETIMEDOUT) => return Ok(0),
            Err(_) => return Err(Errno::EINTR),
        }
    }
}
