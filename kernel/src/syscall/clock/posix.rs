//! POSIX timers: timer_create(2) and its relatives.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use spore_hal::Lock;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;
use crate::mm::user::{self, UserAddr};
use crate::process::Process;
use crate::sched;
use crate::sched::timers::Expire;
use crate::signal::{self, SigInfo, code, number};
use crate::syscall::clock::base::{Base, Scheduled};

/// `struct sigevent`, its used head.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SigEvent {
    value: u64,
    signal: i32,
    notify: i32,
    tid: i32,
    pad: i32,
}

/// `struct itimerspec`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct TimerValue {
    interval: Timespec,
    value: Timespec,
}

const NOTIFY_SIGNAL: i32 = 0;
const NOTIFY_NONE: i32 = 1;
const NOTIFY_THREAD_ID: i32 = 4;

struct State {
    armed: Option<(Scheduled, u64)>,
    interval: u64,
    overrun: i32,
}

struct PosixTimer {
    id: i32,
    clock: i32,
    base: Base,
    event: SigEvent,
    process: Arc<Process>,
    state: Lock<State>,
}

static TIMERS: Lock<BTreeMap<i32, Arc<PosixTimer>>> = Lock::new(BTreeMap::new());

impl Expire for PosixTimer {
    fn expired(self: Arc<Self>, now: u64) {
        {
            let mut state = self.state.lock();
            let Some((_, deadline)) = state.armed.take() else {
                return;
            };
            state.overrun = 0;
            if let Some(missed) = (now - deadline).checked_div(state.interval) {
                state.overrun = missed.min(i32::MAX as u64) as i32;
                let next = deadline + (missed + 1) * state.interval;
                state.armed = Some((self.base.schedule(next, self.clone()), next));
            }
        }
        if self.event.notify == NOTIFY_NONE {
            return;
        }
        let info = SigInfo {
            signal: self.event.signal as u32,
            code: code::TIMER,
            value0: self.id as u32 as u64,
            value1: self.event.value,
            errno: 0,
        };
        match self.event.notify {
            NOTIFY_THREAD_ID => {
                if let Some(thread) = self.process.thread(self.event.tid) {
                    signal::send_to_thread(thread, info);
                }
            }
            _ => signal::send_to_process(&self.process, info),
        }
    }
}

fn find(id: i32) -> Result<Arc<PosixTimer>> {
    TIMERS.lock().get(&id).cloned().ok_or(Errno::EINVAL)
}

/// timer_create(2).
pub fn timer_create(clock: i32, event: UserAddr, id: UserAddr) -> Result<()> {
    let base = Base::of(clock)?;
    let number = {
        let timers = TIMERS.lock();
        (0..)
            .find(|candidate| !timers.contains_key(candidate))
            .ok_or(Errno::EAGAIN)?
    };
    let event = if event.is_null() {
        SigEvent {
            value: number as u64,
            signal: number::ALRM as i32,
            notify: NOTIFY_SIGNAL,
            tid: 0,
            pad: 0,
        }
    } else {
        user::read(event)?
    };
    let valid = (1..=64).contains(&event.signal);
    if !matches!(event.notify, NOTIFY_SIGNAL | NOTIFY_NONE | NOTIFY_THREAD_ID)
        || event.notify != NOTIFY_NONE && !valid
    {
        return Err(Errno::EINVAL);
    }
    let process = sched::current().process();
    let state = Lock::new(State {
        armed: None,
        interval: 0,
        overrun: 0,
    });
    let timer = Arc::new(PosixTimer {
        id: number,
        clock,
        base,
        event,
        process: process.clone(),
        state,
    });
    user::write(id, &number)?;
    TIMERS.lock().insert(number, timer);
    Ok(())
}

fn show(timer: &PosixTimer) -> TimerValue {
    let state = timer.state.lock();
    let left = state.armed.map_or(0, |(_, deadline)| {
        deadline.saturating_sub(timer.base.now()).max(1)
    });
    TimerValue {
        interval: Timespec::from_nanoseconds(state.interval),
        value: Timespec::from_nanoseconds(left),
    }
}

/// timer_settime(2).
pub fn timer_settime(id: i32, flags: u32, value: UserAddr, old: UserAddr) -> Result<()> {
    const ABSOLUTE: u32 = 1;
    let timer = find(id)?;
    let new: TimerValue = user::read(value)?;
    let (first, interval) = (new.value.to_nanoseconds()?, new.interval.to_nanoseconds()?);
    let before = show(&timer);
    let armed = timer.state.lock().armed.take();
    if let Some((scheduled, _)) = armed {
        scheduled.cancel();
    }
    if first > 0 {
        let deadline = match timer.base {
            _ if flags & ABSOLUTE == 0 => timer.base.now().saturating_add(first),
            Base::Monotonic => super::to_monotonic(timer.clock, first)?,
            Base::Processor(_) => first,
        };
        let scheduled = timer.base.schedule(deadline, timer.clone());
        let mut state = timer.state.lock();
        state.armed = Some((scheduled, deadline));
        state.interval = interval;
    }
    if old.is_null() {
        Ok(())
    } else {
        user::write(old, &before)
    }
}

/// timer_gettime(2).
pub fn timer_gettime(id: i32, value: UserAddr) -> Result<()> {
    user::write(value, &show(&*find(id)?))
}

/// timer_getoverrun(2).
pub fn timer_getoverrun(id: i32) -> Result<usize> {
    Ok(find(id)?.state.lock().overrun as usize)
}

/// timer_delete(2).
pub fn timer_delete(id: i32) -> Result<()> {
    let timer = TIMERS.lock().remove(&id).ok_or(Errno::EINVAL)?;
    let armed = timer.state.lock().armed.take();
    if let Some((scheduled, _)) = armed {
        scheduled.cancel();
    }
    Ok(())
}
