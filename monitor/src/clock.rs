//! The time page: keeps the guest's clocks on the host's.
//!
//! The guest extrapolates from the last refresh by its time-stamp counter. A
//! refresh never moves CLOCK_MONOTONIC back: small errors are worked off by a
//! slightly different rate until the next one.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spore_abi::layout::TIME_GPA;
use spore_abi::time::TimePage;

use crate::memory::{GuestMemory, OutOfRange};

/// How often the page is refreshed.
pub const REFRESH: Duration = Duration::from_secs(1);
/// An error above this is corrected at once, forwards only.
const STEP_NS: i64 = 1_000_000;
/// Largest deliberate error of the rate, in parts of 2^32 (about 500 ppm).
const MAX_SLEW: i64 = (1 << 32) / 2000;
/// A rate is measured over at least this long, else the known one is kept.
const MEASURE_NS: u64 = 200_000_000;

/// One reading of all clocks at the same moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    tsc: u64,
    monotonic: u64,
    realtime: u64,
}

impl Reading {
    /// The same moment on a monotonic clock that is ahead by `offset`.
    fn shifted(self, offset: i64) -> Self {
        Self {
            monotonic: self.monotonic.wrapping_add_signed(offset),
            ..self
        }
    }
}

/// Values of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    tsc_base: u64,
    mult: u64,
    monotonic_base: u64,
    realtime_base: u64,
}

impl Page {
    /// What the guest's CLOCK_MONOTONIC says at `tsc`.
    fn monotonic_at(&self, tsc: u64) -> u64 {
        let ticks = tsc.wrapping_sub(self.tsc_base);
        self.monotonic_base
            .wrapping_add(((u128::from(ticks) * u128::from(self.mult)) >> 32) as u64)
    }
}

struct State {
    page: Page,
    /// Last reading, to measure the true rate against.
    measured_from: Reading,
    /// True nanoseconds per tick, 32.32.
    rate: u64,
}

/// Keeps one guest's time page.
pub struct Clock {
    memory: Arc<GuestMemory>,
    /// The guest's CLOCK_MONOTONIC is the host's plus this: 0 unless it was restored.
    offset: i64,
    /// CLOCK_MONOTONIC of the last refresh.
    refreshed: AtomicU64,
    state: Mutex<State>,
}

impl Clock {
    /// Writes the page for the first time. `tsc_khz` is the rate of the guest's
    /// counter, or 0 if KVM does not know. `offset`: what the guest's CLOCK_MONOTONIC
    /// is ahead of the host's.
    pub fn new(memory: Arc<GuestMemory>, tsc_khz: u32, offset: i64) -> Result<Self, OutOfRange> {
        memory.shared::<TimePage>(TIME_GPA)?;
        let now = read_clocks().shifted(offset);
        let rate = match tsc_khz {
            0 => measure_rate(),
            khz => (1_000_000_u64 << 32) / u64::from(khz),
        };
        let page = Page {
            tsc_base: now.tsc,
            mult: rate,
            monotonic_base: now.monotonic,
            realtime_base: now.realtime,
        };
        let clock = Self {
            memory,
            offset,
            refreshed: AtomicU64::new(now.monotonic.wrapping_add_signed(offset.wrapping_neg())),
            state: Mutex::new(State {
                page,
                measured_from: now,
                rate,
            }),
        };
        clock.publish(&page);
        Ok(clock)
    }

    /// Refreshes the page if the last time is long enough ago. Any thread.
    pub fn refresh_if_old(&self, now: u64) {
        let age = now.saturating_sub(self.refreshed.load(Ordering::Relaxed));
        if age >= REFRESH.as_nanos() as u64 {
            self.refresh();
        }
    }

    /// What the guest's CLOCK_MONOTONIC says when the host's says `host`.
    pub fn guest_monotonic(&self, host: u64) -> u64 {
        host.wrapping_add_signed(self.offset)
    }

    /// A time of the guest's CLOCK_MONOTONIC on the host's; `u64::MAX` stays what it is.
    pub fn host_monotonic(&self, guest: u64) -> u64 {
        match guest {
            u64::MAX => u64::MAX,
            guest if self.offset <= 0 => guest.saturating_add(self.offset.unsigned_abs()),
            guest => guest.saturating_sub(self.offset.unsigned_abs()),
        }
    }

    /// Refreshes the page.
    pub fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = read_clocks().shifted(self.offset);
        let elapsed = now.monotonic.saturating_sub(state.measured_from.monotonic);
        if elapsed >= MEASURE_NS {
            let ticks = now.tsc.wrapping_sub(state.measured_from.tsc);
            if let Some(rate) = rate(elapsed, ticks) {
                state.rate = rate;
            }
            state.measured_from = now;
        }
        state.page = follow(&state.page, now, state.rate);
        self.refreshed
            .store(self.host_monotonic(now.monotonic), Ordering::Relaxed);
        self.publish(&state.page);
    }

    fn publish(&self, page: &Page) {
        let Ok(shared) = self.memory.shared::<TimePage>(TIME_GPA) else {
            return;
        };
        // Seqlock: odd while the values change. The guest could overwrite the
        // sequence; it would only fool its own clock.
        let sequence = shared.sequence.load(Ordering::Relaxed) | 1;
        shared.sequence.store(sequence, Ordering::Relaxed);
        fence(Ordering::Release);
        shared.tsc_base.store(page.tsc_base, Ordering::Relaxed);
        shared.mult.store(page.mult, Ordering::Relaxed);
        shared
            .monotonic_base
            .store(page.monotonic_base, Ordering::Relaxed);
        shared
            .realtime_base
            .store(page.realtime_base, Ordering::Relaxed);
        shared
            .sequence
            .store(sequence.wrapping_add(1), Ordering::Release);
    }
}

/// The next page: continuous with the old one, and back on the host's clock
/// after [`REFRESH`].
fn follow(old: &Page, now: Reading, rate: u64) -> Page {
    let guest = old.monotonic_at(now.tsc);
    let behind = now.monotonic.wrapping_sub(guest) as i64;
    let (monotonic, slew) = if behind > STEP_NS {
        (now.monotonic, 0)
    } else {
        let wanted = i128::from(behind) * (1 << 32) / REFRESH.as_nanos() as i128;
        let slew = wanted.clamp(-i128::from(MAX_SLEW), i128::from(MAX_SLEW));
        (guest, ((slew * i128::from(rate)) >> 32) as i64)
    };
    let ahead = monotonic.wrapping_sub(now.monotonic);
    Page {
        tsc_base: now.tsc,
        mult: rate.saturating_add_signed(slew),
        monotonic_base: monotonic,
        realtime_base: now.realtime.wrapping_add(ahead),
    }
}

/// Nanoseconds per tick as 32.32 fixed point.
fn rate(ns: u64, ticks: u64) -> Option<u64> {
    let rate = (u128::from(ns) << 32).checked_div(u128::from(ticks))?;
    u64::try_from(rate).ok().filter(|rate| *rate > 0)
}

/// For hosts that do not tell the counter's rate.
fn measure_rate() -> u64 {
    let start = read_clocks();
    std::thread::sleep(Duration::from_millis(2));
    let end = read_clocks();
    rate(
        end.monotonic - start.monotonic,
        end.tsc.wrapping_sub(start.tsc),
    )
    .unwrap_or(1 << 32)
}

/// Reads the clocks between two readings of the counter, and takes the closest
/// of a few attempts.
fn read_clocks() -> Reading {
    let attempt = || {
        let before = tsc();
        let monotonic = now(libc::CLOCK_MONOTONIC);
        let after = tsc();
        (after.wrapping_sub(before), before, monotonic)
    };
    let mut best = attempt();
    for _ in 0..3 {
        let next = attempt();
        if next.0 < best.0 {
            best = next;
        }
    }
    let realtime_now = now(libc::CLOCK_REALTIME);
    let since = now(libc::CLOCK_MONOTONIC) - best.2;
    Reading {
        tsc: best.1.wrapping_add(best.0 / 2),
        monotonic: best.2,
        realtime: realtime_now - since,
    }
}

fn tsc() -> u64 {
    // SAFETY: rdtsc exists on every x86-64 processor; the fence orders it.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        std::arch::x86_64::_rdtsc()
    }
}

/// A host clock in nanoseconds.
pub fn now(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills the given structure.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CLOCK_MONOTONIC in nanoseconds, the clock of all deadlines.
pub fn monotonic() -> u64 {
    now(libc::CLOCK_MONOTONIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 GHz: half a nanosecond per tick.
    const RATE: u64 = 1 << 31;

    fn page(mult: u64) -> Page {
        Page {
            tsc_base: 1000,
            mult,
            monotonic_base: 5_000_000,
            realtime_base: 9_000_000,
        }
    }

    fn after_one_second(error: i64) -> Reading {
        Reading {
            tsc: 1000 + 2_000_000_000,
            monotonic: 1_005_000_000_u64.saturating_add_signed(error),
            realtime: 1_009_000_000_u64.saturating_add_signed(error),
        }
    }

    #[test]
    fn a_small_error_is_worked_off_without_a_jump() {
        for error in [-300_000, 0, 300_000] {
            let old = page(RATE);
            let now = after_one_second(error);
            let new = follow(&old, now, RATE);
            assert_eq!(new.monotonic_base, old.monotonic_at(now.tsc));
            let later = now.tsc + 2_000_000_000;
            let wrong_by = new
                .monotonic_at(later)
                .abs_diff(now.monotonic + 1_000_000_000);
            assert!(wrong_by < 100, "{wrong_by} ns");
            let offset = now.realtime - now.monotonic;
            assert_eq!(new.realtime_base - new.monotonic_base, offset);
        }
    }

    #[test]
    fn time_never_runs_back_and_jumps_forward_when_far_behind() {
        let old = page(RATE);
        let ahead = follow(&old, after_one_second(-500_000_000), RATE);
        assert_eq!(ahead.monotonic_base, 1_005_000_000);
        assert!(ahead.mult < RATE && ahead.mult > RATE - RATE / 1000);
        let behind = follow(&old, after_one_second(500_000_000), RATE);
        assert_eq!(behind.monotonic_base, 1_505_000_000);
        assert_eq!(behind.mult, RATE);
    }

    #[test]
    fn rates_are_fixed_point() {
        assert_eq!(rate(1_000_000, 2_000_000), Some(RATE));
        assert_eq!(rate(1, 0), None);
    }
}
