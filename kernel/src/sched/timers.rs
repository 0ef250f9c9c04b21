//! Deadlines of threads and timers, on CLOCK_MONOTONIC.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_hal::{Hook, Lock, host};

use crate::sched::thread::Thread;

/// Something that happens at a deadline. Called with no lock held.
pub trait Expire: Send + Sync {
    /// The deadline has passed; `now` is what the clock of the timer shows, in ns.
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

/// Deadline, and a number that tells apart what is due at once.
type Key = (u64, u64);

/// What is to happen, the next one last: few things wait at a time, and the end of a
/// list is cheap to reach.
struct Queue(Vec<(Key, Target)>);

impl Queue {
    fn place(&self, key: Key) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| key.cmp(other))
    }
    fn insert(&mut self, key: Key, target: Target) {
        let (Ok(place) | Err(place)) = self.place(key);
        self.0.insert(place, (key, target));
    }
    fn remove(&mut self, key: Key) -> Option<Target> {
        let place = self.place(key).ok()?;
        Some(self.0.remove(place).1)
    }
}

static QUEUE: Lock<Queue> = Lock::new(Queue(Vec::new()));
static NEXT: AtomicU64 = AtomicU64::new(1 << 32);

/// What the timers on processor time do (`cpu_timers`).
#[derive(Clone, Copy)]
pub struct OnProcessorTime {
    /// When the first is due on CLOCK_MONOTONIC, should the loaded thread go on.
    pub next: fn() -> u64,
    /// Fires what is due.
    pub run: fn(),
}

/// Set with the first timer on processor time.
pub static ON_PROCESSOR_TIME: Hook<OnProcessorTime> = Hook::new();

fn publish(queue: &Queue) {
    let mut first = queue
        .0
        .last()
        .map_or(u64::MAX, |((deadline, _), _)| *deadline);
    if let Some(timers) = ON_PROCESSOR_TIME.get() {
        first = first.min((timers.next)());
    }
    host::vcpu().next_deadline.store(first, Ordering::Relaxed);
}

/// Another thread is loaded, or the processor has rested: timers on processor time
/// are due at other moments than before.
#[inline]
pub fn processor_changed() {
    if ON_PROCESSOR_TIME.get().is_some() {
        publish(&QUEUE.lock());
    }
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
        let removed = queue.remove((id.deadline, id.sequence));
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
        queue.remove((deadline, thread_key(thread)));
        publish(&queue);
    }
}

/// Fires everything that is due; answers the next deadline that ends a rest,
/// `u64::MAX` for none.
pub fn run() -> u64 {
    if let Some(timers) = ON_PROCESSOR_TIME.get() {
        (timers.run)();
    }
    // What is scheduled meanwhile waits for the next time: an interval may be shorter
    // than its handling.
    let now = spore_hal::time::monotonic();
    loop {
        let due = {
            let mut queue = QUEUE.lock();
            let Some(((deadline, _), _)) = queue.0.last() else {
                return u64::MAX;
            };
            let deadline = *deadline;
            if deadline > now {
                return deadline;
            }
            let due = queue.0.pop();
            publish(&queue);
            due
        };
        match due {
            Some((_, Target::Thread(thread))) => {
                thread.deadline.store(0, Ordering::Relaxed);
                super::make_runnable(thread);
            }
            Some((_, Target::Timer(timer))) => timer.expired(now),
            None => {}
        }
    }
}
