//! The interval timers of the process: setitimer(2), getitimer(2), alarm(2).

use alloc::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;
use crate::mm::user::{self, UserAddr};
use crate::process::Process;
use crate::sched;
use crate::sched::cpu_timers::CpuClock;
use crate::sched::timers::Expire;
use crate::signal::{self, SigInfo, code, number};
use crate::syscall::clock::base::{Base, Scheduled};

/// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Real,
    /// The program's own time: all that the process uses counts as its own.
    Virtual,
    Profiling,
}

/// How many kinds there are.
pub const KINDS: usize = 3;

impl Kind {
    fn of(which: u32) -> Result<Self> {
        match which {
            0 => Ok(Self::Real),
            1 => Ok(Self::Virtual),
            2 => Ok(Self::Profiling),
            _ => Err(Errno::EINVAL),
        }
    }
    fn base(self) -> Base {
        match self {
            Self::Real => Base::Monotonic,
            Self::Virtual | Self::Profiling => Base::Processor(CpuClock::Process),
        }
    }
    fn signal(self) -> u32 {
        match self {
            Self::Real => number::ALRM,
            Self::Virtual => number::VTALRM,
            Self::Profiling => number::PROF,
        }
    }
}

/// An interval timer that runs.
pub struct Alarm {
    timer: Scheduled,
    deadline: u64,
    interval: u64,
}

struct Expired {
    process: Arc<Process>,
    kind: Kind,
}

impl Expire for Expired {
    fn expired(self: Arc<Self>, now: u64) {
        let (process, kind) = (&self.process, self.kind);
        let alarm = process.alarms.lock()[kind as usize].take();
        if let Some(Alarm { interval, .. }) = alarm
            && interval > 0
        {
            arm(process, kind, now + interval, interval);
        }
        let info = SigInfo::from_process(kind.signal(), code::KERNEL, 0);
        signal::send_to_process(process, info);
    }
}

fn arm(process: &Arc<Process>, kind: Kind, deadline: u64, interval: u64) {
    let expired = Expired {
        process: process.clone(),
        kind,
    };
    let timer = kind.base().schedule(deadline, Arc::new(expired));
    process.alarms.lock()[kind as usize] = Some(Alarm {
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

fn show(process: &Process, kind: Kind) -> IntervalValue {
    let alarms = process.alarms.lock();
    let Some(alarm) = &alarms[kind as usize] else {
        return IntervalValue::default();
    };
    let left = alarm.deadline.saturating_sub(kind.base().now()).max(1000);
    IntervalValue {
        interval_seconds: (alarm.interval / 1_000_000_000) as i64,
        interval_micros: (alarm.interval % 1_000_000_000 / 1000) as i64,
        seconds: (left / 1_000_000_000) as i64,
        micros: (left % 1_000_000_000 / 1000) as i64,
    }
}

fn replace(process: &Arc<Process>, kind: Kind, value: u64, interval: u64) {
    let old = process.alarms.lock()[kind as usize].take();
    if let Some(old) = old {
        old.timer.cancel();
    }
    if value > 0 {
        arm(
            process,
            kind,
            kind.base().now().saturating_add(value),
            interval,
        );
    }
}

/// setitimer(2).
pub fn setitimer(which: u32, value: UserAddr, old: UserAddr) -> Result<()> {
    let kind = Kind::of(which)?;
    let process = sched::current().process();
    let before = show(process, kind);
    let new: IntervalValue = if value.is_null() {
        IntervalValue::default()
    } else {
        user::read(value)?
    };
    let interval = micros(new.interval_seconds, new.interval_micros)?;
    replace(process, kind, micros(new.seconds, new.micros)?, interval);
    if old.is_null() {
        Ok(())
    } else {
        user::write(old, &before)
    }
}

/// getitimer(2).
pub fn getitimer(which: u32, value: UserAddr) -> Result<()> {
    let kind = Kind::of(which)?;
    user::write(value, &show(sched::current().process(), kind))
}

/// alarm(2): answers the seconds that were left.
pub fn alarm(seconds: u32) -> Result<usize> {
    let process = sched::current().process();
    let before = show(process, Kind::Real);
    replace(process, Kind::Real, u64::from(seconds) * 1_000_000_000, 0);
    Ok((before.seconds + i64::from(before.micros > 0)) as usize)
}
