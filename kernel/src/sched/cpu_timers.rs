//! Clocks that count processor time, and the timers on them.
//!
//! Such a clock stands still while nobody runs, so its timers never wake the
//! processor: they are due at a moment that moves on with every rest.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_hal::{Lock, time};

use crate::sched::thread::Thread;
use crate::sched::timers::{self, Expire};

/// Whose processor time a clock counts.
#[derive(Clone, Copy)]
pub enum CpuClock {
    /// That of all threads.
    Process,
    /// That of one, as long as it lives.
    Thread(&'static Thread, u32),
}

impl CpuClock {
    /// The clock of `thread` in its present life.
    pub fn of(thread: &'static Thread) -> Self {
        Self::Thread(thread, thread.life.load(Ordering::Relaxed))
    }
    /// Processor time so far, ns.
    pub fn now(self) -> u64 {
        match self {
            Self::Process => crate::stats::busy_nanoseconds(),
            Self::Thread(thread, life) if lives(thread, life) => super::thread_time(thread),
            Self::Thread(..) => 0,
        }
    }
    /// It goes on while the processor does.
    fn runs(self) -> bool {
        match self {
            Self::Process => true,
            Self::Thread(thread, life) => lives(thread, life) && super::is_loaded(thread),
        }
    }
}

fn lives(thread: &'static Thread, life: u32) -> bool {
    thread.life.load(Ordering::Relaxed) == life
}

/// Identifies a timer that was scheduled here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimerId(u64);

struct Scheduled {
    clock: CpuClock,
    at: u64,
    id: u64,
    timer: Arc<dyn Expire>,
}

static SCHEDULED: Lock<Vec<Scheduled>> = Lock::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Calls `timer.expired` once `clock` reaches `at` (ns), with what it shows then.
pub fn schedule(clock: CpuClock, at: u64, timer: Arc<dyn Expire>) -> CpuTimerId {
    timers::ON_PROCESSOR_TIME.set(timers::OnProcessorTime { next, run });
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    SCHEDULED.lock().push(Scheduled {
        clock,
        at,
        id,
        timer,
    });
    timers::processor_changed();
    CpuTimerId(id)
}

/// Forgets a timer; unknown ones are ignored.
pub fn cancel(id: CpuTimerId) {
    let removed = {
        let mut scheduled = SCHEDULED.lock();
        let place = scheduled.iter().position(|each| each.id == id.0);
        place.map(|place| scheduled.swap_remove(place))
    };
    drop(removed);
    timers::processor_changed();
}

/// When the first of them is due on CLOCK_MONOTONIC, if things go on as now.
fn next() -> u64 {
    let scheduled = SCHEDULED.lock();
    let left = scheduled
        .iter()
        .filter(|each| each.clock.runs())
        .map(|each| each.at.saturating_sub(each.clock.now()))
        .min();
    left.map_or(u64::MAX, |left| time::monotonic().saturating_add(left))
}

/// Fires everything that is due now. What is scheduled meanwhile waits for the next time.
fn run() {
    let due: Vec<Scheduled> = SCHEDULED
        .lock()
        .extract_if(.., |each| each.clock.now() >= each.at)
        .collect();
    for each in due {
        each.timer.expired(each.clock.now());
    }
    timers::processor_changed();
}
