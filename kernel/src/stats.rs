//! What the kernel remembers about the program's calls: the last ones for crash
//! reports, the ones that do not exist, traps.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_abi::hostcall::CallRecord;
use spore_hal::Lock;
use spore_hal::trap::TrapFrame;

use crate::mm::user::{self, UserAddr};
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
pub fn report_missing(call: &Call, frame: &TrapFrame) {
    let index = call.number.min(511) as usize;
    if core::mem::replace(&mut MISSING.lock()[index], true) {
        return;
    }
    let caller = caller_of(frame);
    match crate::pieces::left_out_call(call.number) {
        Some((name, piece)) => crate::log!(
            "spore: system call {name} was left out of this image (ENOSYS), called {caller}: add it with `--piece {piece}`, or take everything with `--pieces full`"
        ),
        None => crate::log!(
            "spore: system call {} is not supported (ENOSYS), called {caller}",
            call.number
        ),
    }
}

/// Code of a stub behind its call, `jmp rel32` at its end included.
const STUB: usize = 64;

/// Where a call was made, for people. A call that was moved into a stub of the image builder is
/// made where the stub leads back to, or else by whoever called its function.
fn caller_of(frame: &TrapFrame) -> String {
    let mut code = [0; STUB];
    let mut back = [0; 8];
    let _ = user::read_bytes(UserAddr::new(frame.rip), &mut code);
    let _ = user::read_bytes(UserAddr::new(frame.rsp), &mut back);
    let ways = code
        .windows(5)
        .enumerate()
        .filter_map(|(at, window)| match *window {
            [0xe9, a, b, c, d] => {
                let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
                let end = frame.rip.wrapping_add(at as u64 + 5);
                Some(end.wrapping_add_signed(distance))
            }
            _ => None,
        });
    let process = crate::sched::current().process();
    let memory = process.memory.lock();
    core::iter::once(frame.rip)
        .chain(ways)
        .chain([u64::from_le_bytes(back)])
        .find_map(|address| {
            let vma = memory.vmas.find(address)?;
            let name = vma.name();
            (!name.is_empty())
                .then(|| format!("by {name}+{:#x}", address - vma.start + vma.offset()))
        })
        .unwrap_or_else(|| format!("from {:#x}", frame.rip))
}
