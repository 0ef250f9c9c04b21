//! What the kernel remembers about the program's calls: the last ones for crash
//! reports, the ones that do not exist, traps.

use alloc::format;
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
/// Calls that were named already; what lies beyond counts as the last.
static MISSING: Lock<[bool; 512]> = Lock::new([false; 512]);

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
    let index = call.number.min(511) as usize;
    if core::mem::replace(&mut MISSING.lock()[index], true) {
        return;
    }
    let process = crate::sched::current().process();
    let memory = process.memory.lock();
    let caller = match memory.vmas.find(rip) {
        Some(vma) if !vma.name().is_empty() => {
            format!("by {}+{:#x}", vma.name(), rip - vma.start + vma.offset())
        }
        _ => format!("from {rip:#x}"),
    };
    drop(memory);
    match crate::pieces::left_out_name(call.number) {
        Some(name) => crate::log!(
            "spore: system call {name} was left out of this image (ENOSYS), called {caller}: add it with `--piece {name}`, or take everything with `--pieces full`"
        ),
        None => crate::log!(
            "spore: system call {} is not supported (ENOSYS), called {caller}",
            call.number
        ),
    }
}
