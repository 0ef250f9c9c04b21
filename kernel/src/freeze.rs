//! Coming to rest for a snapshot, and waking up in another machine.
//!
//! The kernel is asked by `attention::FREEZE` and gets here between two steps of
//! the program: blocked threads are data anyway, and the one that is loaded is
//! put aside. One host call then is the moment of the copy. It returns in this
//! machine, and in every machine made from the copy ([`spore_abi::restore`]).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_abi::boot::{Span, option};
use spore_abi::hostcall::{number, refused};
use spore_abi::layout::PAGE;
use spore_abi::restore::{BUFFER, RESTORE_MAGIC, RestoreRecord};
use spore_hal::{Lock, direct, host};

use crate::mm::frames;
use crate::sched;

/// What a restore has brought, for those who ask later.
#[derive(Clone, Default)]
pub struct Restored {
    /// How many freezes lie between boot and now; 0: never restored.
    pub generation: u64,
    /// How long it slept, ns.
    pub slept_ns: u64,
    /// Environment given with the restore, `KEY=VALUE`, each ended by NUL.
    pub env: Arc<[u8]>,
    /// Name of this machine.
    pub instance: String,
}

static LAST: Lock<Option<Restored>> = Lock::new(None);
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// What the last restore has brought.
pub fn last() -> Restored {
    LAST.lock().clone().unwrap_or_default()
}

/// How often the machine was made from a copy.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Where the kernel finds itself after a freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the machine that was frozen.
    WentOn,
    /// In a machine that was made from the copy.
    Restored,
}

/// Answers the monitor that there will be no copy; `why` is one of [`refused`].
pub fn refuse(why: u64) {
    host::call(number::FROZEN, [0, 0, why, 0, 0, 0]);
}

/// Comes to rest, and goes on in this machine or another.
pub fn freeze() -> Outcome {
    let mut outcome = Outcome::WentOn;
    let Ok(buffer) = frames::alloc_run(BUFFER / PAGE) else {
        crate::log!("spore: no memory is left to freeze with");
        refuse(refused::HELD);
        return outcome;
    };
    sched::unloaded(|| {
        let answer = host::call(number::FROZEN, [buffer, BUFFER, 0, 0, 0, 0]);
        if let Ok(generation @ 1..) = u64::try_from(answer) {
            // Before anything else: whatever runs from here on may ask for random bytes.
            let record = direct::restore_record(buffer);
            crate::random::mix(&record.seed);
            if record.magic != RESTORE_MAGIC {
                crate::panic::fatal("the restore record is of another version");
            }
            outcome = Outcome::Restored;
            restored(generation, buffer, &record);
            // There may be secrets in it; whoever asks is told from a copy. The rest of the
            // buffer was not touched, and is not: its pages would be this machine's own.
            direct::zero(buffer, told(&record));
        }
    });
    frames::free_run(buffer, BUFFER / PAGE);
    outcome
}

/// Everything that is other than before the copy was made.
fn restored(generation: u64, buffer: u64, record: &RestoreRecord) {
    GENERATION.store(generation, Ordering::Relaxed);
    crate::boot::set_id(record.boot_id);
    sched::current().process().set_pid(record.pid as i32);
    crate::stats::add_idle(record.slept_ns);
    let name = bytes(buffer, record.hostname);
    if !name.is_empty() {
        crate::boot::set_hostname(name);
    }
    let instance = bytes(buffer, record.instance);
    *LAST.lock() = Some(Restored {
        generation,
        slept_ns: record.slept_ns,
        env: bytes(buffer, record.env).into(),
        instance: String::from_utf8_lossy(&instance).into_owned(),
    });
    crate::lifecycle::restored();
    crate::net::doorbell::initialise(record.options & option::IO_THREAD != 0);
    crate::net::stream::restored(&record.streams);
    crate::net::turn();
    sched::timers::run();
}

/// Bytes of the buffer that a restore has filled.
fn told(record: &RestoreRecord) -> u64 {
    let end = |span: Span| u64::from(span.offset) + u64::from(span.len);
    let ends = [record.hostname, record.env, record.instance].map(end);
    let head = core::mem::size_of::<RestoreRecord>() as u64;
    ends.into_iter().fold(head, u64::max).min(BUFFER)
}

/// A part of the buffer; empty if it lies outside.
fn bytes(buffer: u64, span: Span) -> Vec<u8> {
    let end = u64::from(span.offset) + u64::from(span.len);
    if end > BUFFER {
        return Vec::new();
    }
    let mut bytes = alloc::vec![0; span.len as usize];
    direct::read(buffer + u64::from(span.offset), &mut bytes);
    bytes
}
