//! The I/O thread: polls while there is work or the guest runs, sleeps otherwise.
//!
//! How long it polls follows what polling has brought: a wake-up soon after it
//! fell asleep doubles the time, a long sleep halves it.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::net::Net;
use crate::net::batch::Batch;
use crate::net::sys;

/// While the guest runs: falling asleep between its turns would cost a kick each.
const RUNNING_NS: u64 = 1_000_000;
/// Longest polling while the guest sleeps.
const LONGEST_NS: u64 = 100_000;
/// First step up from not polling at all.
const SHORTEST_NS: u64 = 20_000;
/// Below this, polling stops.
const POINTLESS_NS: u64 = 10_000;
/// After that many slots served in a pass, others get the core.
const LARGE_PASS: usize = 4;

/// Polling time, adapted to what it brings.
pub struct Patience {
    now_ns: u64,
    longest_ns: u64,
}

impl Patience {
    /// Starts with the longest time.
    pub const fn new(longest_ns: u64) -> Self {
        Self {
            now_ns: longest_ns,
            longest_ns,
        }
    }
    /// How long to poll before sleeping.
    pub const fn ns(&self) -> u64 {
        self.now_ns
    }
    /// A sleep of `ns` is over.
    pub fn slept(&mut self, ns: u64) {
        if ns + self.now_ns < self.longest_ns {
            self.now_ns = (self.now_ns * 2).clamp(SHORTEST_NS, self.longest_ns);
        } else {
            self.now_ns /= 2;
            if self.now_ns < POINTLESS_NS {
                self.now_ns = 0;
            }
        }
    }
}

/// Body of the thread; never returns.
pub fn run(net: &Arc<Net>) -> ! {
    let mut batch = Batch::new();
    let mut patience = Patience::new(LONGEST_NS);
    let mut last_work = sys::monotonic();
    let header = net.rings.header();
    loop {
        header.io_passes.word.fetch_add(1, Ordering::Relaxed);
        let served = net.lock_politely().pass(batch.as_mut());
        net.wake_if_news();
        let now = sys::monotonic();
        if served > 0 {
            last_work = now;
            if served > LARGE_PASS {
                sys::give_way();
            }
            continue;
        }
        let limit = if net.guest_sleeps() {
            patience.ns()
        } else {
            RUNNING_NS
        };
        if now - last_work < limit {
            sys::give_way();
            continue;
        }
        header.io_sleep.word.store(1, Ordering::SeqCst);
        if header.to_host.pending() {
            header.io_sleep.word.store(0, Ordering::SeqCst);
            continue;
        }
        sys::wait_readable([net.epoll.fd(), net.kick.as_raw_fd()], u64::MAX);
        header.io_sleep.word.store(0, Ordering::SeqCst);
        let _ = net.kick.read();
        last_work = sys::monotonic();
        patience.slept(last_work - now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_polling_brings() {
        let mut patience = Patience::new(100_000);
        for _ in 0..10 {
            patience.slept(1_000_000);
        }
        assert_eq!(patience.ns(), 0);
        patience.slept(30_000);
        assert_eq!(patience.ns(), SHORTEST_NS);
        patience.slept(30_000);
        patience.slept(30_000);
        patience.slept(1_000);
        assert_eq!(patience.ns(), 100_000);
    }
}
