//! The items of an epoll set and the list of those that may be ready.
//!
//! Items live in slots that are reused; the ready list runs through the slots, so
//! that becoming ready and being reported neither allocates nor searches.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile};
use crate::sched::notify::Registration;

const NONE: u32 = u32::MAX;

/// One file that the set watches through one descriptor.
pub struct Item {
    /// The descriptor it was added with; with the open file, its identity.
    pub fd: i32,
    /// Weak: a set does not keep files open.
    pub open: Weak<OpenFile>,
    /// The object, to take `registration` back when `open` is gone.
    pub file: Weak<dyn File>,
    /// Where the set is registered with the file's notifier.
    pub registration: Option<Registration>,
    /// Wanted events and behaviour bits; no wanted events: disabled (EPOLLONESHOT).
    pub events: u32,
    /// What the application wants back.
    pub data: u64,
    /// Next slot with the same descriptor (a descriptor can be reused while a
    /// duplicate keeps the former file open).
    same_fd: u32,
}

struct Slot {
    item: Option<Item>,
    /// Distinguishes the items that used this slot one after the other.
    generation: u32,
    listed: bool,
    previous: u32,
    /// Next in the ready list, or in the free list while `item` is `None`.
    next: u32,
}

/// All items of a set.
pub struct Items {
    slots: Vec<Slot>,
    free: u32,
    /// First slot of each descriptor.
    by_fd: Vec<u32>,
    head: u32,
    tail: u32,
    listed: usize,
}

/// Names one item for as long as it exists: slot and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }
    fn index(self) -> u32 {
        self.0 as u32
    }
    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Default for Items {
    fn default() -> Self {
        Self::new()
    }
}

impl Items {
    /// No items.
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            by_fd: Vec::new(),
            head: NONE,
            tail: NONE,
            listed: 0,
        }
    }
    /// How many items are in the ready list.
    pub fn listed(&self) -> usize {
        self.listed
    }
    /// The item called `key`, unless it is gone.
    pub fn get(&mut self, key: Key) -> Option<&mut Item> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        if slot.generation == key.generation() {
            slot.item.as_mut()
        } else {
            None
        }
    }
    /// The item of descriptor `fd` and file `open`.
    pub fn find(&self, fd: i32, open: &Arc<OpenFile>) -> Option<Key> {
        let mut index = self.by_fd.get(usize::try_from(fd).ok()?).copied()?;
        while index != NONE {
            let slot = self.slots.get(index as usize)?;
            let item = slot.item.as_ref()?;
            if core::ptr::eq(item.open.as_ptr(), Arc::as_ptr(open)) {
                return Some(Key::new(index, slot.generation));
            }
            index = item.same_fd;
        }
        None
    }
    /// Items of `fd` whose file was closed for good; they can be removed.
    pub fn find_closed(&self, fd: i32) -> Option<Key> {
        let mut index = self.by_fd.get(usize::try_from(fd).ok()?).copied()?;
        while index != NONE {
            let slot = self.slots.get(index as usize)?;
            let item = slot.item.as_ref()?;
            if item.open.strong_count() == 0 {
                return Some(Key::new(index, slot.generation));
            }
            index = item.same_fd;
        }
        None
    }
    /// Adds an item. ENOMEM.
    pub fn insert(&mut self, fd: i32, open: &Arc<OpenFile>, events: u32, data: u64) -> Result<Key> {
        let place = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if self.by_fd.len() <= place {
            self.by_fd
                .try_reserve(place + 1 - self.by_fd.len())
                .map_err(|_| Errno::ENOMEM)?;
            self.by_fd.resize(place + 1, NONE);
        }
        let index = self.take_slot()?;
        let item = Item {
            fd,
            open: Arc::downgrade(open),
            file: Arc::downgrade(&open.file),
            registration: None,
            events,
            data,
            same_fd: core::mem::replace(&mut self.by_fd[place], index),
        };
        let slot = &mut self.slots[index as usize];
        slot.item = Some(item);
        Ok(Key::new(index, slot.generation))
    }
    fn take_slot(&mut self) -> Result<u32> {
        if self.free != NONE {
            let index = self.free;
            self.free = self.slots[index as usize].next;
            return Ok(index);
        }
        self.slots.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let index = u32::try_from(self.slots.len()).map_err(|_| Errno::ENOMEM)?;
        self.slots.push(Slot {
            item: None,
            generation: 0,
            listed: false,
            previous: NONE,
            next: NONE,
        });
        Ok(index)
    }
    /// Removes an item; the caller takes its registration back.
    pub fn remove(&mut self, key: Key) -> Option<Item> {
        self.get(key)?;
        self.unlist(key);
        let index = key.index();
        let slot = &mut self.slots[index as usize];
        let item = slot.item.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.next = self.free;
        self.free = index;
        self.unchain(&item, index);
        Some(item)
    }
    /// Takes `index` out of the chain of its descriptor.
    fn unchain(&mut self, item: &Item, index: u32) {
        let place = item.fd as usize;
        let mut at = self.by_fd[place];
        if at == index {
            self.by_fd[place] = item.same_fd;
            return;
        }
        while let Some(other) = self
            .slots
            .get_mut(at as usize)
            .and_then(|slot| slot.item.as_mut())
        {
            if other.same_fd == index {
                other.same_fd = item.same_fd;
                return;
            }
            at = other.same_fd;
        }
    }
    /// Puts an item at the end of the ready list; false if it was in the list.
    pub fn list(&mut self, key: Key) -> bool {
        if self.get(key).is_none() || self.slots[key.index() as usize].listed {
            return false;
        }
        self.link(key.index(), self.tail, NONE);
        true
    }
    /// Puts an item back to the front of the ready list.
    pub fn list_first(&mut self, key: Key) {
        if self.get(key).is_some() && !self.slots[key.index() as usize].listed {
            self.link(key.index(), NONE, self.head);
        }
    }
    /// The first item of the ready list.
    pub fn first(&self) -> Option<Key> {
        let slot = self.slots.get(self.head as usize)?;
        Some(Key::new(self.head, slot.generation))
    }
    /// Takes the first item out of the ready list.
    pub fn take_first(&mut self) -> Option<Key> {
        let first = self.first()?;
        self.unlist(first);
        Some(first)
    }
    /// Takes an item out of the ready list, if it is there.
    pub fn unlist(&mut self, key: Key) {
        let index = key.index();
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if !slot.listed || slot.generation != key.generation() {
            return;
        }
        slot.listed = false;
        let (previous, next) = (slot.previous, slot.next);
        self.set_next(previous, next);
        self.set_previous(next, previous);
        self.listed -= 1;
    }
    fn link(&mut self, index: u32, previous: u32, next: u32) {
        let slot = &mut self.slots[index as usize];
        slot.listed = true;
        slot.previous = previous;
        slot.next = next;
        self.set_next(previous, index);
        self.set_previous(next, index);
        self.listed += 1;
    }
    fn set_next(&mut self, of: u32, to: u32) {
        match self.slots.get_mut(of as usize) {
            Some(slot) => slot.next = to,
            None => self.head = to,
        }
    }
    fn set_previous(&mut self, of: u32, to: u32) {
        match self.slots.get_mut(of as usize) {
            Some(slot) => slot.previous = to,
            None => self.tail = to,
        }
    }
    /// The open files of all items, for the search for cycles.
    pub fn open_files(&self) -> Vec<Arc<OpenFile>> {
        self.slots
            .iter()
            .filter_map(|slot| slot.item.as_ref()?.open.upgrade())
            .collect()
    }
    /// Takes all items out.
    pub fn drain(&mut self) -> Vec<Item> {
        let slots = core::mem::take(self).slots;
        slots.into_iter().filter_map(|slot| slot.item).collect()
    }
}
