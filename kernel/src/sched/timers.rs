//! Deadlines of threads and timers, on CLOCK_MONOTONIC.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_hal::{Lock, host};

use crate::sched::thread::Thread;

/// Something that happens at a deadline. Called with no lock held.
pub trait Expire: Send + Sync {
    /// The deadline has passed; `now` is CLOCK_MONOTONIC in ns.
    fn expired(self: Arc<Self>, now: u64);
}

/// Identifies a scheduled timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    deadline: u64,
    sequence: u64,
}

#[derive(Clone)]
enum Target {
    Thread(&'static Thread),
    Timer(Arc<dyn Expire>),
}

static QUEUE: Lock<BTreeMap<(u64, u64), Target>> = Lock::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1 << 32);

fn publish(queue: &BTreeMap<(u64, u64), Target>) {
    let first = queue
        .first_key_value()
        .map_or(u64::MAX, |((deadline, _), _)| *deadline);
    host::vcpu().next_deadline.store(first, Ordering::Relaxed);
}

/// Calls `target.expired` once CLOCK_MONOTONIC reaches `deadline` (ns).
pub fn schedule(deadline: u64, target: Arc<dyn Expire>) -> TimerId {
    let sequence = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut queue = QUEUE.lock();
    queue.insert((deadline, sequence), Target::Timer(target));
    publish(&queue);
    TimerId { deadline, sequence }
}

/// Forgets a timer; unknown ones are ignored.
pub fn cancel(id: TimerId) {
    let removed = {
        let mut queue = QUEUE.lock();
        let removed = queue.remove(&(id.deadline, id.sequence));
        publish(&queue);
        removed
    };
    drop(removed);
}

fn thread_key(thread: &'static Thread) -> u64 {
    // Thread ids are below 2^32, timers count from there.
    thread.tid() as u64
}

pub(super) fn arm(thread: &'static Thread, deadline: u64) {
    disarm(thread);
    thread.deadline.store(deadline, Ordering::Relaxed);
    let mut queue = QUEUE.lock();
    queue.insert((deadline, thread_key(thread)), Target::Thread(thread));
    publish(&queue);
}

pub(super) fn disarm(thread: &'static Thread) {
    let deadline = thread.deadline.swap(0, Ordering::Relaxed);
    if deadline != 0 {
        let mut queue = QUEUE.lock();
        queue.remove(&(deadline, thread_key(thread)));
        publish(&queue);
    }
}

/// Fires everything that is due; answers the next deadline, `u64::MAX` for none.
pub fn run() -> u64 {
    loop {
        let target = {
            let mut queue = QUEUE.lock();
            let Some(entry) = queue.first_entry() else {
                return u64::MAX;
            };
            let deadline = entry.key().0;
            let now = spore_hal::time::monotonic();
            if deadline > now {
                return deadline;
            }
            let target = entry.remove();
            publish(&queue);
            (target, now)
        };
        match target {
            (Target::Thread(thread), _) => {
                thread.deadline.store(0, Ordering::Relaxed);
                super::make_runnable(thread);
            }
            (Target::Timer(timer), now) => timer.expired(now),
        }
    }
}
