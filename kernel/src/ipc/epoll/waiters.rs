//! The threads that wait for an epoll set. One is woken for each item that becomes
//! ready; a thread that leaves passes on what it did not take.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spore_hal::Lock;

use super::Epoll;
use crate::errno::Result;
use crate::fs::file::events;
use crate::sched::notify::Observer;

struct Waiter {
    id: u64,
    thread: Arc<dyn Observer>,
    /// It was woken and has not looked at the list since.
    woken: bool,
}

struct Queue {
    list: Vec<Waiter>,
    next_id: u64,
}

/// The waiting threads of one set, in the order they came.
pub struct Waiters {
    queue: Lock<Queue>,
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Self {
            queue: Lock::new(Queue {
                list: Vec::new(),
                next_id: 0,
            }),
        }
    }
    /// Wakes the first thread that does not know of news yet.
    pub(super) fn wake_one(&self) {
        let thread = {
            let mut queue = self.queue.lock();
            match queue.list.iter_mut().find(|waiter| !waiter.woken) {
                Some(waiter) => {
                    waiter.woken = true;
                    waiter.thread.clone()
                }
                None => return,
            }
        };
        thread.notified(events::IN, 0);
    }
    fn add(&self, thread: Arc<dyn Observer>) -> u64 {
        let mut queue = self.queue.lock();
        let id = queue.next_id;
        queue.next_id += 1;
        queue.list.push(Waiter {
            id,
            thread,
            woken: false,
        });
        id
    }
    fn remove(&self, id: u64) {
        let waiter = {
            let mut queue = self.queue.lock();
            let place = queue.list.iter().position(|waiter| waiter.id == id);
            place.map(|place| queue.list.remove(place))
        };
        drop(waiter);
    }
    fn looks(&self, id: u64) {
        let mut queue = self.queue.lock();
        if let Some(waiter) = queue.list.iter_mut().find(|waiter| waiter.id == id) {
            waiter.woken = false;
        }
    }
}

/// A thread's place among those who wait for a set.
pub struct Waiting {
    epoll: Arc<Epoll>,
    id: u64,
}

impl Waiting {
    pub(super) fn new(epoll: Arc<Epoll>, thread: Arc<dyn Observer>) -> Self {
        let id = epoll.waiters.add(thread);
        Self { epoll, id }
    }
    /// Collects as [`Epoll::collect`]; what becomes ready afterwards wakes the thread.
    pub fn collect(&self, max: usize, emit: impl FnMut(u32, u64) -> Result<()>) -> Result<usize> {
        self.epoll.waiters.looks(self.id);
        self.epoll.collect(max, emit)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.epoll.waiters.remove(self.id);
        if self.epoll.items.lock().listed() > 0 {
            self.epoll.waiters.wake_one();
        }
    }
}
