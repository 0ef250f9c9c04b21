//! What the kernel remembers about the program's calls: the last ones for crash
//! reports, the ones that do not exist, traps.

use alloc::collections::BTreeSet;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_abi::hostcall::CallRecord;
use spore_hal::Lock;

use crate::syscall::Call;

const HISTORY: usize = 16;

struct Ring {
    calls: [CallRecord; HISTORY],
    next: usize,
}

static RING: Lock<Ring> = Lock::new(Ring {
    calls: [CallRecord {
        number: 0,
        args: [0; 6],
        result: 0,
        tid: 0,
        unfinished: 0,
    }; HISTORY],
    next: 0,
});
static TRAPS: AtomicU64 = AtomicU64::new(0);
static IDLE: AtomicU64 = AtomicU64::new(0);
static MISSING: Lock<BTreeSet<u64>> = Lock::new(BTreeSet::new());

/// Remembers a finished call.
#[inline]
pub fn record_call(tid: i32, call: &Call, result: u64) {
    let mut ring = RING.lock();
    let slot = ring.next % HISTORY;
    ring.next += 1;
    ring.calls[slot] = CallRecord {
        number: call.number,
        args: call.args,
        result: result as i64,
        tid: tid as u32,
        unfinished: 0,
    };
}

/// The last calls, oldest first, and how many they are.
pub fn last_calls() -> ([CallRecord; HISTORY], u32) {
    let ring = RING.lock();
    let count = ring.next.min(HISTORY);
    let mut calls = [CallRecord::default(); HISTORY];
    for (index, call) in calls.iter_mut().enumerate().take(count) {
        *call = ring.calls[(ring.next - count + index) % HISTORY];
    }
    (calls, count as u32)
}

/// Counts a call that came through the trap.
pub fn count_trap() {
    TRAPS.fetch_add(1, Ordering::Relaxed);
}

/// Calls that came through the trap so far.
pub fn traps() -> u64 {
    TRAPS.load(Ordering::Relaxed)
}

/// Adds time that was spent idle, ns.
pub fn add_idle(nanoseconds: u64) {
    IDLE.fetch_add(nanoseconds, Ordering::Relaxed);
}

/// Time since boot that was not idle, ns.
pub fn busy_nanoseconds() -> u64 {
    let started = crate::boot::started();
    spore_hal::time::monotonic()
        .saturating_sub(started)
        .saturating_sub(IDLE.load(Ordering::Relaxed))
}

/// Names a call that does not exist, once, with its caller.
pub fn report_missing(call: &Call, rip: u64) {
    if !MISSING.lock().insert(call.number) {
        return;
    }
    let name = crate::syscall::names::name(call.number);
    let caller = crate::sched::current().process();
    let module = caller
        .memory
        .lock()
        .vmas
        .find(rip)
        .map(|vma| (vma.name(), rip - vma.start + vma.offset()));
    match module {
        Some((module, offset)) if !module.is_empty() => {
            crate::log!(
                "spore: system call {name} is not supported (ENOSYS), called by {module}+{offset:#x}"
            );
        }
        _ => {
            crate::log!("spore: system call {name} is not supported (ENOSYS), called from {rip:#x}")
        }
    }
}
