//! Doorbells between kernel and monitor: who hears of which slot, when the
//! monitor is kicked, and how long the guest spins before it sleeps.

use alloc::sync::Weak;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spore_abi::hostcall::number;
use spore_abi::net::{Header, STARVED};
use spore_hal::{Hook, Lock, host, time};

/// Somebody who hears of news on a slot.
pub trait Endpoint: Send + Sync {
    /// The host has changed the slot. Called with nothing locked.
    fn news(&self);
}

/// Longest spinning before the guest sleeps; a sleep costs two exits' worth of time.
const SPIN_LONGEST_NS: u64 = 200_000;
/// First step up from not spinning.
const SPIN_SHORTEST_NS: u64 = 20_000;
/// Below this, spinning stops.
const SPIN_POINTLESS_NS: u64 = 10_000;
/// A sleep that is shorter than the longest spin and this together is taken as a sign
/// that spinning pays: half of it is the price of sleeping and waking itself, and on
/// a busy host the rest is others that run while the guest sleeps.
const SLEEP_SLACK_NS: u64 = 400_000;
/// An I/O thread that makes no pass for so long does not run: longer than a client on
/// the same core takes for its turn, or every turn would cost an exit.
const STARVED_NS: u64 = 180_000;
/// Without I/O thread: how long what was written may wait while the program runs.
const WRITTEN_NS: u64 = 300_000;
/// Without I/O thread: how long arrivals may wait while the program runs.
const ARRIVED_NS: u64 = 1_000_000;

static ENDPOINTS: Lock<Vec<Option<Weak<dyn Endpoint>>>> = Lock::new(Vec::new());
/// Who hears of slots that nobody listens to any more, once there are any.
static ORPHANED: Hook<fn(usize)> = Hook::new();
static IO_THREAD: AtomicBool = AtomicBool::new(false);
/// Slots that sockets use, so that programs without any never leave for them.
static OPEN_SLOTS: AtomicU64 = AtomicU64::new(0);
static SPIN_NS: AtomicU64 = AtomicU64::new(100_000);
static LAST_VISIT: AtomicU64 = AtomicU64::new(0);

/// The shared header.
#[inline]
pub fn header() -> &'static Header {
    host::rings::<Header>(0)
}

/// Says whether another core serves the rings. Called once at boot.
pub fn initialise(io_thread: bool) {
    IO_THREAD.store(io_thread, Ordering::Relaxed);
}

/// `endpoint` hears of `slot` from now on.
pub fn attach(slot: usize, endpoint: Weak<dyn Endpoint>) {
    let mut endpoints = ENDPOINTS.lock();
    if endpoints.len() <= slot {
        endpoints.resize_with(slot + 1, || None);
    }
    let old = endpoints[slot].replace(endpoint);
    drop(endpoints);
    if old.is_none() {
        OPEN_SLOTS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says who hears of slots that were closed.
pub fn set_orphaned(news: fn(usize)) {
    ORPHANED.set(news);
}

/// Nobody hears of `slot` any more.
pub fn detach(slot: usize) {
    let old = ENDPOINTS.lock().get_mut(slot).and_then(Option::take);
    if old.is_some() {
        OPEN_SLOTS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the host to look at `slot`.
#[inline]
pub fn ring(slot: usize) {
    header().to_host.ring(slot);
}

/// Collects news of the host and makes sure that it hears ours in time. Cheap when
/// there is nothing.
pub fn turn() {
    // Nobody else writes it: a locked instruction would be wasted.
    let turns = &header().statistics.turns;
    turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    collect();
    if IO_THREAD.load(Ordering::Relaxed) {
        flush();
        return;
    }
    let written = header().to_host.pending();
    if !written && OPEN_SLOTS.load(Ordering::Relaxed) == 0 {
        return;
    }
    let since = time::monotonic().saturating_sub(LAST_VISIT.load(Ordering::Relaxed));
    if since > if written { WRITTEN_NS } else { ARRIVED_NS } {
        visit();
    }
}

fn collect() {
    header().to_guest.collect(|slot| {
        let endpoint = ENDPOINTS
            .lock()
            .get(slot)
            .and_then(Option::as_ref)
            .and_then(Weak::upgrade);
        match endpoint {
            Some(endpoint) => endpoint.news(),
            None => {
                if let Some(news) = ORPHANED.get() {
                    news(slot);
                }
            }
        }
    });
}

/// Wakes the I/O thread if it sleeps and something was rung.
#[inline]
pub fn flush() {
    let header = header();
    if header.io_sleep.word.load(Ordering::SeqCst) != 0
        && header.to_host.pending()
        && header.io_sleep.word.swap(0, Ordering::SeqCst) == 1
    {
        header.statistics.kicks.fetch_add(1, Ordering::Relaxed);
        host::kick();
    }
}

/// Has everything that was rung served before it returns: one exit.
pub fn visit() {
    header().statistics.polls.fetch_add(1, Ordering::Relaxed);
    host::call(number::IDLE, [0; 6]);
    LAST_VISIT.store(time::monotonic(), Ordering::Relaxed);
    collect();
}

/// Waits in the host for at most a moment: somebody there is slow.
pub fn wait_briefly() {
    const MOMENT_NS: u64 = 2_000_000;
    host::call(number::IDLE, [time::monotonic() + MOMENT_NS, 0, 0, 0, 0, 0]);
    collect();
}

/// Nothing can run before `deadline` (CLOCK_MONOTONIC ns, `u64::MAX` for none):
/// spins while that has paid lately, then sleeps in the host. Returns when there
/// may be something to do.
pub fn idle(deadline: u64) {
    let header = header();
    let spinning = IO_THREAD.load(Ordering::Relaxed);
    let mut starved = false;
    if spinning {
        flush();
        match spin(deadline) {
            Spun::Found => return,
            Spun::Nothing => {}
            Spun::Starved => starved = true,
        }
    }
    header.statistics.waits.fetch_add(1, Ordering::Relaxed);
    let before = time::monotonic();
    // 0 would mean "do not wait".
    let hint = if starved { STARVED } else { 0 };
    host::call(number::IDLE, [deadline.max(1), hint, 0, 0, 0, 0]);
    let now = time::monotonic();
    LAST_VISIT.store(now, Ordering::Relaxed);
    if spinning && !starved {
        adapt(now.saturating_sub(before));
    }
    collect();
}

fn adapt(slept: u64) {
    let spin = SPIN_NS.load(Ordering::Relaxed);
    let next = if slept + spin < SPIN_LONGEST_NS + SLEEP_SLACK_NS {
        (spin * 2).clamp(SPIN_SHORTEST_NS, SPIN_LONGEST_NS)
    } else if spin / 2 < SPIN_POINTLESS_NS {
        0
    } else {
        spin / 2
    };
    SPIN_NS.store(next, Ordering::Relaxed);
}

/// How a spin ended.
enum Spun {
    /// There is something to do.
    Found,
    /// It did not pay.
    Nothing,
    /// The I/O thread is awake and gets no processor.
    Starved,
}

/// Spins for news.
fn spin(deadline: u64) -> Spun {
    let header = header();
    let attention = &host::vcpu().attention;
    let begin = time::monotonic();
    let end = deadline.min(begin + SPIN_NS.load(Ordering::Relaxed));
    let passes = header.io_passes.word.load(Ordering::Relaxed);
    let mut now = begin;
    let spun = loop {
        if header.to_guest.pending() || attention.load(Ordering::Relaxed) != 0 {
            break Spun::Found;
        }
        if now >= end {
            break if now >= deadline {
                Spun::Found
            } else {
                Spun::Nothing
            };
        }
        if now - begin >= STARVED_NS
            && header.io_passes.word.load(Ordering::Relaxed) == passes
            && header.io_sleep.word.load(Ordering::Relaxed) == 0
        {
            break Spun::Starved;
        }
        for _ in 0..8 {
            core::hint::spin_loop();
        }
        now = time::monotonic();
    };
    let statistics = &header.statistics;
    statistics.spin_ns.fetch_add(now - begin, Ordering::Relaxed);
    match spun {
        Spun::Found => {
            statistics.spin_hits.fetch_add(1, Ordering::Relaxed);
            collect();
        }
        Spun::Starved => {
            statistics.starved.fetch_add(1, Ordering::Relaxed);
        }
        Spun::Nothing => {}
    }
    spun
}
