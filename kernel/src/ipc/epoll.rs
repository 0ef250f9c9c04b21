//! epoll(7): a set of files and the list of those that became ready.
//!
//! The set registers itself with each file's notifier; the key of the registration
//! names the item. A notification puts the item into the ready list and wakes one
//! waiter. Whether the item really is ready is asked when it is reported.

mod items;
mod waiters;

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::ipc::anonymous::{self, Home};
use crate::sched::notify::{Notifier, Observer};
use items::{Item, Items, Key};
use waiters::Waiters;
pub use waiters::Waiting;

/// Behaviour bits beside the events (`linux/eventpoll.h`).
pub mod behaviour {
    #![allow(missing_docs, reason = "named and documented as in epoll_ctl(2)")]
    pub const EXCLUSIVE: u32 = 1 << 28;
    pub const WAKEUP: u32 = 1 << 29;
    pub const ONESHOT: u32 = 1 << 30;
    pub const EDGE: u32 = 1 << 31;
    pub const ALL: u32 = EXCLUSIVE | WAKEUP | ONESHOT | EDGE;
}

/// Events reported whether wanted or not.
const ALWAYS: u32 = events::ERR | events::HUP;
/// What may stand beside EPOLLEXCLUSIVE.
const EXCLUSIVE_ALLOWED: u32 =
    events::IN | events::OUT | ALWAYS | behaviour::WAKEUP | behaviour::EDGE | behaviour::EXCLUSIVE;
/// Deepest chain of sets that watch sets (`EP_MAX_NESTS`).
const MAX_NESTING: usize = 4;

/// An epoll set.
pub struct Epoll {
    /// Itself, to register with notifiers.
    me: Weak<Epoll>,
    items: Lock<Items>,
    waiters: Waiters,
    /// Tells those who watch the set as a file: poll, select, other sets.
    notifier: Notifier,
    /// How many items were ever sets themselves: without any there are no cycles.
    nested: AtomicUsize,
    /// The sets that this one is an item of, once for each item.
    parents: Lock<Vec<Weak<Epoll>>>,
    inode: u64,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            items: Lock::new(Items::new()),
            waiters: Waiters::new(),
            notifier: Notifier::new(),
            nested: AtomicUsize::new(0),
            parents: Lock::new(Vec::new()),
            inode: anonymous::next_inode(),
        })
    }

    /// EPOLL_CTL_ADD. EEXIST, EINVAL, ELOOP, EPERM for files that are always ready.
    pub fn add(&self, fd: i32, open: &Arc<OpenFile>, wanted: u32, data: u64) -> Result<()> {
        let notifier = open.file.notifier().ok_or(Errno::EPERM)?;
        let target = self.check_target(open)?;
        if wanted & behaviour::EXCLUSIVE != 0
            && (wanted & !EXCLUSIVE_ALLOWED != 0 || target.is_some())
        {
            return Err(Errno::EINVAL);
        }
        let me = self.me.upgrade().ok_or(Errno::EBADF)?;
        let closed = self.items.lock().find_closed(fd);
        if let Some(key) = closed {
            self.forget(key);
        }
        if let Some(target) = target {
            self.check_nesting(target)?;
        }
        let key = {
            let mut items = self.items.lock();
            if items.find(fd, open).is_some() {
                return Err(Errno::EEXIST);
            }
            items.insert(fd, open, wanted | ALWAYS, data)?
        };
        if let Some(target) = target {
            self.nested.fetch_add(1, Ordering::Relaxed);
            target.parents.lock().push(self.me.clone());
        }
        let registration = notifier.add(me, key.0);
        if let Some(item) = self.items.lock().get(key) {
            item.registration = Some(registration);
        }
        self.notified(open.file.poll(), key.0);
        Ok(())
    }

    /// EPOLL_CTL_MOD: also arms a disabled item again. ENOENT, EINVAL, EPERM.
    pub fn modify(&self, fd: i32, open: &Arc<OpenFile>, wanted: u32, data: u64) -> Result<()> {
        open.file.notifier().ok_or(Errno::EPERM)?;
        self.check_target(open)?;
        if wanted & behaviour::EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let key = {
            let mut items = self.items.lock();
            let key = items.find(fd, open).ok_or(Errno::ENOENT)?;
            let item = items.get(key).ok_or(Errno::ENOENT)?;
            if item.events & behaviour::EXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            item.events = wanted | ALWAYS;
            item.data = data;
            key
        };
        self.notified(open.file.poll(), key.0);
        Ok(())
    }

    /// EPOLL_CTL_DEL. ENOENT, EINVAL, EPERM.
    pub fn delete(&self, fd: i32, open: &Arc<OpenFile>) -> Result<()> {
        open.file.notifier().ok_or(Errno::EPERM)?;
        self.check_target(open)?;
        let key = self.items.lock().find(fd, open).ok_or(Errno::ENOENT)?;
        self.forget(key);
        Ok(())
    }

    /// Reports up to `max` ready items to `emit`; answers how many. If `emit` fails,
    /// the item stays ready; the error is answered if it was the first item.
    pub fn collect(
        &self,
        max: usize,
        mut emit: impl FnMut(u32, u64) -> Result<()>,
    ) -> Result<usize> {
        // Items that stay ready go to the end of the list; each is looked at once.
        let mut left = self.items.lock().listed();
        let mut count = 0;
        while left > 0 && count < max {
            left -= 1;
            let Some(key) = self.items.lock().take_first() else {
                break;
            };
            let Some((ready, data)) = self.readiness(key) else {
                continue;
            };
            if let Err(error) = emit(ready, data) {
                self.items.lock().list_first(key);
                return if count > 0 { Ok(count) } else { Err(error) };
            }
            count += 1;
            let mut items = self.items.lock();
            let Some(item) = items.get(key) else { continue };
            if item.events & behaviour::ONESHOT != 0 {
                item.events &= behaviour::ALL;
            } else if item.events & behaviour::EDGE == 0 {
                items.list(key);
            }
        }
        Ok(count)
    }

    /// Registers a thread that is going to wait for the set.
    pub fn wait(&self, thread: Arc<dyn Observer>) -> Result<Waiting> {
        Ok(Waiting::new(self.me.upgrade().ok_or(Errno::EBADF)?, thread))
    }

    /// The wanted events that an item has now, and its data; `None` if there are none.
    /// Removes the item if its file was closed.
    fn readiness(&self, key: Key) -> Option<(u32, u64)> {
        let (open, wanted, data) = {
            let mut items = self.items.lock();
            let item = items.get(key)?;
            (item.open.upgrade(), item.events, item.data)
        };
        let Some(open) = open else {
            self.forget(key);
            return None;
        };
        let ready = open.file.poll() & wanted & !behaviour::ALL;
        (ready != 0).then_some((ready, data))
    }

    /// Removes an item and its registration.
    fn forget(&self, key: Key) {
        let item = self.items.lock().remove(key);
        if let Some(item) = item {
            self.unregister(&item);
        }
    }

    fn unregister(&self, item: &Item) {
        let Some(file) = item.file.upgrade() else {
            return;
        };
        if let (Some(registration), Some(notifier)) = (item.registration, file.notifier()) {
            notifier.remove(registration);
        }
        if let Some(target) = file.as_any().downcast_ref::<Epoll>() {
            let mut parents = target.parents.lock();
            if let Some(place) = parents.iter().position(|parent| parent.ptr_eq(&self.me)) {
                parents.swap_remove(place);
            }
        }
    }

    /// The set behind `open`, if it is one. EINVAL for this very set.
    fn check_target<'a>(&self, open: &'a Arc<OpenFile>) -> Result<Option<&'a Epoll>> {
        match open.file.as_any().downcast_ref::<Epoll>() {
            Some(target) if core::ptr::eq(target, self) => Err(Errno::EINVAL),
            target => Ok(target),
        }
    }

    /// ELOOP if `target` leads back to this set, or sets would be nested too deep.
    fn check_nesting(&self, target: &Epoll) -> Result<()> {
        let below = target.depth_below(self, 0)?;
        if below + 1 + self.depth_above(0) > MAX_NESTING {
            Err(Errno::ELOOP)
        } else {
            Ok(())
        }
    }

    /// Length of the longest chain of sets below this one; ELOOP if `searched` is in one.
    fn depth_below(&self, searched: &Epoll, depth: usize) -> Result<usize> {
        if core::ptr::eq(self, searched) || depth > MAX_NESTING {
            return Err(Errno::ELOOP);
        }
        if self.nested.load(Ordering::Relaxed) == 0 {
            return Ok(0);
        }
        let files = self.items.lock().open_files();
        let mut deepest = 0;
        for open in files {
            if let Some(inner) = open.file.as_any().downcast_ref::<Epoll>() {
                deepest = deepest.max(1 + inner.depth_below(searched, depth + 1)?);
            }
        }
        Ok(deepest)
    }

    /// Length of the longest chain of sets above this one, at most one too many.
    fn depth_above(&self, depth: usize) -> usize {
        if depth > MAX_NESTING {
            return 0;
        }
        let parents: Vec<_> = self
            .parents
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        parents
            .iter()
            .map(|parent| 1 + parent.depth_above(depth + 1))
            .max()
            .unwrap_or(0)
    }
}

impl Observer for Epoll {
    fn notified(&self, news: u32, key: u64) {
        let key = Key(key);
        let newly_listed = {
            let mut items = self.items.lock();
            match items.get(key) {
                Some(item) if item.events & news & !behaviour::ALL != 0 => items.list(key),
                _ => return,
            }
        };
        if newly_listed {
            self.waiters.wake_one();
        }
        self.notifier.notify(events::IN | events::RDNORM);
    }
}

impl File for Epoll {
    fn poll(&self) -> u32 {
        let mut left = self.items.lock().listed();
        while left > 0 {
            left -= 1;
            let Some(key) = self.items.lock().first() else {
                break;
            };
            if self.readiness(key).is_some() {
                return events::IN | events::RDNORM;
            }
            self.items.lock().unlist(key);
        }
        0
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::attributes(Home::Anonymous, self.inode, 0o600))
    }
    fn path(&self) -> String {
        String::from("anon_inode:[eventpoll]")
    }
    fn released(&self, _open: &OpenFile) {
        // The files' notifiers hold this set alive until it takes itself out of them.
        let items = self.items.lock().drain();
        for item in &items {
            self.unregister(item);
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
