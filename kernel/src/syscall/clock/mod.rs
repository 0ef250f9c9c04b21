//! Clocks and sleeping.

pub mod base;
pub mod interval;
pub mod posix;

use alloc::sync::Arc;

use spore_hal::time as clocks;

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;
use crate::mm::user::{self, UserAddr};
use crate::sched;
use crate::sched::block::{Flow, park};
use crate::sched::cpu_timers::{self, CpuClock};
use crate::sched::thread::Thread;
use crate::sched::timers::Expire;

/// Clock ids (`linux/time.h`).
pub mod id {
    #![allow(missing_docs, reason = "named and documented as in clock_gettime(2)")]
    pub const REALTIME: i32 = 0;
    pub const MONOTONIC: i32 = 1;
    pub const PROCESS_CPUTIME: i32 = 2;
    pub const THREAD_CPUTIME: i32 = 3;
    pub const MONOTONIC_RAW: i32 = 4;
    pub const REALTIME_COARSE: i32 = 5;
    pub const MONOTONIC_COARSE: i32 = 6;
    pub const BOOTTIME: i32 = 7;
    pub const REALTIME_ALARM: i32 = 8;
    pub const BOOTTIME_ALARM: i32 = 9;
    pub const TAI: i32 = 11;
}

/// Reads a clock in nanoseconds. EINVAL for unknown ones.
pub fn read(clock: i32) -> Result<u64> {
    let (monotonic, realtime) = clocks::now();
    match clock {
        id::REALTIME | id::REALTIME_COARSE | id::REALTIME_ALARM | id::TAI => Ok(realtime),
        id::MONOTONIC
        | id::MONOTONIC_RAW
        | id::MONOTONIC_COARSE
        | id::BOOTTIME
        | id::BOOTTIME_ALARM => Ok(monotonic),
        other => Ok(processor_clock(other)?.now()),
    }
}

/// The clocks that count processor time. Negative ids name that of a process or thread
/// (clock_getcpuclockid(3)): an inverted process or thread id, whether it is a
/// thread's, and how to count. EINVAL for others, and for clocks of others.
fn processor_clock(clock: i32) -> Result<CpuClock> {
    const OF_THREAD: i32 = 4;
    const COUNTING: i32 = 3;
    const DESCRIPTOR: i32 = 3;
    let thread = sched::current();
    match clock {
        id::PROCESS_CPUTIME => Ok(CpuClock::Process),
        id::THREAD_CPUTIME => Ok(CpuClock::of(thread)),
        negative if negative < 0 && negative & COUNTING != DESCRIPTOR => {
            let owner = !(negative >> 3);
            let process = thread.process();
            if negative & OF_THREAD == 0 {
                let own = owner == 0 || owner == process.pid();
                return own.then_some(CpuClock::Process).ok_or(Errno::EINVAL);
            }
            let named = match owner {
                0 => Some(thread),
                tid => process.thread(tid),
            };
            named.map(CpuClock::of).ok_or(Errno::EINVAL)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// The CLOCK_MONOTONIC time at which `clock` will show `nanoseconds`.
pub fn to_monotonic(clock: i32, nanoseconds: u64) -> Result<u64> {
    let now = read(clock)?;
    Ok(clocks::monotonic().saturating_add(nanoseconds.saturating_sub(now)))
}

/// clock_gettime(2).
pub fn clock_gettime(clock: i32, value: UserAddr) -> Result<()> {
    user::write(value, &Timespec::from_nanoseconds(read(clock)?))
}

/// clock_getres(2).
pub fn clock_getres(clock: i32, value: UserAddr) -> Result<()> {
    read(clock)?;
    if value.is_null() {
        Ok(())
    } else {
        user::write(value, &Timespec::from_nanoseconds(1))
    }
}

/// gettimeofday(2).
pub fn gettimeofday(value: UserAddr, zone: UserAddr) -> Result<()> {
    let now = clocks::realtime();
    if !value.is_null() {
        user::write(value, &[now / 1_000_000_000, now % 1_000_000_000 / 1000])?;
    }
    if zone.is_null() {
        Ok(())
    } else {
        user::write(zone, &[0u32; 2])
    }
}

/// time(2).
pub fn time(value: UserAddr) -> Result<usize> {
    let seconds = clocks::realtime() / 1_000_000_000;
    if !value.is_null() {
        user::write(value, &seconds)?;
    }
    Ok(seconds as usize)
}

/// times(2), in ticks of 10 ms.
pub fn times(buffer: UserAddr) -> Result<usize> {
    const TICK: u64 = 10_000_000;
    if !buffer.is_null() {
        user::write(
            buffer,
            &[crate::syscall::resource::process_cpu_time() / TICK, 0, 0, 0],
        )?;
    }
    Ok((clocks::monotonic() / TICK) as usize)
}

/// Sleeps until a CLOCK_MONOTONIC deadline; writes what is left if a signal interrupts.
fn sleep_until(deadline: u64, remaining: Option<UserAddr>) -> Flow {
    Flow::blocked(async move {
        loop {
            match park(Some(deadline)).await {
                Ok(()) => {}
                Err(Errno::ETIMEDOUT) => return Ok(0),
                Err(_) => {
                    if let Some(addr) = remaining {
                        let left = deadline.saturating_sub(clocks::monotonic());
                        user::write(addr, &Timespec::from_nanoseconds(left))?;
                    }
                    return Err(Errno::EINTR);
                }
            }
        }
    })
}

/// Wakes a thread.
struct Wake(&'static Thread);

impl Expire for Wake {
    fn expired(self: Arc<Self>, _now: u64) {
        self.0.wake();
    }
}

/// Sleeps until others have used processor time.
fn sleep_on(clock: CpuClock, until: u64) -> Flow {
    Flow::blocked(async move {
        let timer = cpu_timers::schedule(clock, until, Arc::new(Wake(sched::current())));
        let result = loop {
            if clock.now() >= until {
                break Ok(0);
            }
            if park(None).await.is_err() {
                break Err(Errno::EINTR);
            }
        };
        cpu_timers::cancel(timer);
        result
    })
}

/// nanosleep(2).
pub fn nanosleep(request: UserAddr, remaining: UserAddr) -> Flow {
    clock_nanosleep(id::MONOTONIC, 0, request, remaining)
}

/// clock_nanosleep(2).
pub fn clock_nanosleep(clock: i32, flags: u32, request: UserAddr, remaining: UserAddr) -> Flow {
    const ABSOLUTE: u32 = 1;
    if let Ok(processor) = processor_clock(clock) {
        return match user::read::<Timespec>(request).and_then(Timespec::to_nanoseconds) {
            Err(error) => error.into(),
            // Nobody's own time goes on while it sleeps.
            Ok(_) if clock == id::THREAD_CPUTIME => Errno::EINVAL.into(),
            Ok(wanted) => {
                let from = if flags & ABSOLUTE == 0 {
                    processor.now()
                } else {
                    0
                };
                sleep_on(processor, from.saturating_add(wanted))
            }
        };
    }
    let deadline = read(clock).and_then(|_| {
        let wanted = user::read::<Timespec>(request)?.to_nanoseconds()?;
        if flags & ABSOLUTE != 0 {
            to_monotonic(clock, wanted)
        } else {
            Ok(clocks::monotonic().saturating_add(wanted))
        }
    });
    match deadline {
        Err(error) => error.into(),
        Ok(deadline) => {
            let report = flags & ABSOLUTE == 0 && !remaining.is_null();
            sleep_until(deadline, report.then_some(remaining))
        }
    }
}
