//! Clocks, read from the time page without leaving the guest.

use core::sync::atomic::Ordering;

use spore_abi::layout::{DIRECT_VA, TIME_GPA};
use spore_abi::time::TimePage;

fn page() -> &'static TimePage {
    // SAFETY: the page is mapped for the life of the VM and consists of atomics.
    unsafe { &*((DIRECT_VA + TIME_GPA) as *const TimePage) }
}

/// Time-stamp counter.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: rdtsc has no preconditions; CR4.TSD is clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds.
pub fn now() -> (u64, u64) {
    // On the host there is no time page: tests see a clock that ticks in TSC units.
    if cfg!(feature = "hosted") {
        return (tsc(), tsc());
    }
    let page = page();
    loop {
        let sequence = page.sequence.load(Ordering::Acquire);
        let base = page.tsc_base.load(Ordering::Relaxed);
        let mult = page.mult.load(Ordering::Relaxed);
        let monotonic = page.monotonic_base.load(Ordering::Relaxed);
        let realtime = page.realtime_base.load(Ordering::Relaxed);
        let elapsed = ((u128::from(tsc().saturating_sub(base)) * u128::from(mult)) >> 32) as u64;
        core::sync::atomic::fence(Ordering::Acquire);
        if sequence & 1 == 0 && page.sequence.load(Ordering::Relaxed) == sequence {
            return (monotonic + elapsed, realtime + elapsed);
        }
        core::hint::spin_loop();
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic() -> u64 {
    now().0
}

/// CLOCK_REALTIME in nanoseconds since the epoch.
pub fn realtime() -> u64 {
    now().1
}
