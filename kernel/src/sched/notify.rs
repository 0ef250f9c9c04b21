//! Announcing changes of readiness to threads and epoll sets.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_hal::Lock;

/// Something that wants to hear of changes: a waiting thread, an epoll item.
pub trait Observer: Send + Sync {
    /// `events` may have become true ([`crate::fs::file::events`]); `key` is what
    /// was given at registration. Must not call back into the notifier's file
    /// beyond `poll`; called with the notifier unlocked.
    fn notified(&self, events: u32, key: u64);
}

struct Entry {
    id: u64,
    key: u64,
    observer: Arc<dyn Observer>,
}

/// A list of observers. Cheap when nobody observes.
pub struct Notifier {
    entries: Lock<Vec<Entry>>,
}

/// Identifies one registration; give it back to [`Notifier::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration(u64);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Notifier {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            entries: Lock::new(Vec::new()),
        }
    }
    /// Adds an observer; it hears of every change from now on.
    pub fn add(&self, observer: Arc<dyn Observer>, key: u64) -> Registration {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        self.entries.lock().push(Entry { id, key, observer });
        Registration(id)
    }
    /// Removes it again; unknown registrations are ignored.
    pub fn remove(&self, registration: Registration) {
        self.entries
            .lock()
            .retain(|entry| entry.id != registration.0);
    }
    /// Tells all observers that `events` may have become true.
    pub fn notify(&self, events: u32) {
        let mut index = 0;
        loop {
            let (observer, key) = {
                let entries = self.entries.lock();
                match entries.get(index) {
                    Some(entry) => (entry.observer.clone(), entry.key),
                    None => return,
                }
            };
            observer.notified(events, key);
            index += 1;
        }
    }
    /// Whether anybody observes.
    pub fn is_observed(&self) -> bool {
        !self.entries.lock().is_empty()
    }
}
