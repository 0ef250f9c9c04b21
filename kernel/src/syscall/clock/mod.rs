//! Clocks, sleeping, and the real interval timer.

pub mod posix;

use alloc::sync::Arc;

use spore_hal::time as clocks;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;
use crate::mm::user::{self, UserAddr};
use crate::process::Process;
use crate::sched;
use crate::sched::block::{Flow, park};
use crate::sched::timers::{self, Expire, TimerId};
use crate::signal::{self, SigInfo, code, number};

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
        id::PROCESS_CPUTIME | id::THREAD_CPUTIME => {
            Ok(crate::syscall::resource::process_cpu_time())
        }
        // Negative ids name the processor clock of a process or thread (clock_getcpuclockid(3)).
        negative if negative < 0 => Ok(crate::syscall::resource::process_cpu_time()),
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

/// nanosleep(2).
pub fn nanosleep(request: UserAddr, remaining: UserAddr) -> Flow {
    clock_nanosleep(id::MONOTONIC, 0, request, remaining)
}

/// clock_nanosleep(2).
pub fn clock_nanosleep(clock: i32, flags: u32, request: UserAddr, remaining: UserAddr) -> Flow {
    const ABSOLUTE: u32 = 1;
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

/// The real interval timer of the process.
pub struct Alarm {
    timer: TimerId,
    deadline: u64,
    interval: u64,
}

struct AlarmExpired(Arc<Process>);

impl Expire for AlarmExpired {
    fn expired(self: Arc<Self>, now: u64) {
        let process = self.0.clone();
        let interval = process
            .alarm
            .lock()
            .take()
            .map_or(0, |alarm| alarm.interval);
        if interval > 0 {
            arm_alarm(&process, now + interval, interval);
        }
        signal::send_to_process(
            &process,
            SigInfo::from_process(number::ALRM, code::KERNEL, 0),
        );
    }
}

fn arm_alarm(process: &Arc<Process>, deadline: u64, interval: u64) {
    let timer = timers::schedule(deadline, Arc::new(AlarmExpired(process.clone())));
    *process.alarm.lock() = Some(Alarm {
        timer,
        deadline,
        interval,
    });
}

/// `struct itimerval`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct IntervalValue {
    interval_seconds: i64,
    interval_micros: i64,
    seconds: i64,
    micros: i64,
}

fn micros(seconds: i64, micros: i64) -> Result<u64> {
    let micros = micros.checked_mul(1000).ok_or(Errno::EINVAL)?;
    Timespec {
        seconds,
        nanoseconds: micros,
    }
    .to_nanoseconds()
}

fn show_alarm(process: &Process) -> IntervalValue {
    let alarm = process.alarm.lock();
    let Some(alarm) = &*alarm else {
        return IntervalValue::default();
    };
    let left = alarm.deadline.saturating_sub(clocks::monotonic()).max(1000);
    IntervalValue {
        interval_seconds: (alarm.interval / 1_000_000_000) as i64,
        interval_micros: (alarm.interval % 1_000_000_000 / 1000) as i64,
        seconds: (left / 1_000_000_000) as i64,
        micros: (left % 1_000_000_000 / 1000) as i64,
    }
}

fn replace_alarm(process: &Arc<Process>, value: u64, interval: u64) {
    let old = process.alarm.lock().take();
    if let Some(old) = old {
        timers::cancel(old.timer);
    }
    if value > 0 {
        arm_alarm(process, clocks::monotonic() + value, interval);
    }
}

/// setitimer(2): ITIMER_REAL (0).
pub fn setitimer(which: u32, value: UserAddr, old: UserAddr) -> Result<()> {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    if which != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let process = sched::current().process();
    let before = show_alarm(process);
    let new: IntervalValue = if value.is_null() {
        IntervalValue::default()
    } else {
        user::read(value)?
    };
    let interval = micros(new.interval_seconds, new.interval_micros)?;
    replace_alarm(process, micros(new.seconds, new.micros)?, interval);
    if old.is_null() {
        Ok(())
    } else {
        user::write(old, &before)
    }
}

/// getitimer(2).
pub fn getitimer(which: u32, value: UserAddr) -> Result<()> {
    match which {
        0 => user::write(value, &show_alarm(sched::current().process())),
        1 | 2 => user::write(value, &IntervalValue::default()),
        _ => Err(Errno::EINVAL),
    }
}

/// alarm(2): answers the seconds that were left.
pub fn alarm(seconds: u32) -> Result<usize> {
    let process = sched::current().process();
    let before = show_alarm(process);
    replace_alarm(process, u64::from(seconds) * 1_000_000_000, 0);
    Ok((before.seconds + i64::from(before.micros > 0)) as usize)
}
