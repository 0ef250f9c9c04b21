//! What a timer of the program counts on: a clock that always goes, or processor time.

use alloc::sync::Arc;

use spore_hal::time;

use crate::errno::Result;
use crate::sched::cpu_timers::{self, CpuClock, CpuTimerId};
use crate::sched::timers::{self, Expire, TimerId};

/// See the module's description.
#[derive(Clone, Copy)]
pub enum Base {
    /// CLOCK_MONOTONIC, to which the other clocks that always go are converted.
    Monotonic,
    /// Processor time.
    Processor(CpuClock),
}

/// A timer that was scheduled.
#[derive(Clone, Copy)]
pub enum Scheduled {
    /// On CLOCK_MONOTONIC.
    Monotonic(TimerId),
    /// On processor time.
    Processor(CpuTimerId),
}

impl Base {
    /// What timers on `clock` count on. EINVAL.
    pub fn of(clock: i32) -> Result<Self> {
        match super::processor_clock(clock) {
            Ok(clock) => Ok(Self::Processor(clock)),
            Err(_) => super::read(clock).map(|_| Self::Monotonic),
        }
    }
    /// What it shows, ns.
    pub fn now(self) -> u64 {
        match self {
            Self::Monotonic => time::monotonic(),
            Self::Processor(clock) => clock.now(),
        }
    }
    /// Calls `timer.expired` once it shows `at`.
    pub fn schedule(self, at: u64, timer: Arc<dyn Expire>) -> Scheduled {
        match self {
            Self::Monotonic => Scheduled::Monotonic(timers::schedule(at, timer)),
            Self::Processor(clock) => Scheduled::Processor(cpu_timers::schedule(clock, at, timer)),
        }
    }
}

impl Scheduled {
    /// Forgets the timer, if it has not expired.
    pub fn cancel(self) {
        match self {
            Self::Monotonic(id) => timers::cancel(id),
            Self::Processor(id) => cpu_timers::cancel(id),
        }
    }
}
