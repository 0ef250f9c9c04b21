//! Accepting: host connections are taken ahead of the guest, into slots that it
//! has stocked, so that no exit is needed for a connection.

use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};

use spore_abi::net::{
    ACCEPT_RECORD, AcceptRecord, SLOTS, STOCK, generation_of, host_flag, slot, used,
};

use crate::net::address;
use crate::net::engine::Engine;
use crate::net::entry::{Descriptor, Entry, Kind};
use crate::net::sys;

impl Engine {
    /// Accepts on a publication until nobody waits or the guest has no room.
    pub(super) fn accept(&mut self, index: usize) {
        let Some(Some(publication)) = self.publications.get_mut(index) else {
            return;
        };
        let fd = publication.fd.as_raw_fd();
        publication.waiting = false;
        loop {
            let Some(listener) = self.turn(index) else {
                return;
            };
            if !self.has_accept_room(listener) {
                self.wait_for_room(index);
                break;
            }
            match sys::accept(fd) {
                Ok((connection, from)) => {
                    let peer = from
                        .map(|from| address::to_guest(&from))
                        .unwrap_or_default();
                    sys::no_delay(connection.as_raw_fd());
                    if self.adopt(listener, Descriptor::Owned(connection), peer) {
                        self.tell(listener);
                    }
                    if let Some(Some(publication)) = self.publications.get_mut(index) {
                        publication.took_turn();
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR | libc::ECONNABORTED) => {}
                    Some(libc::EAGAIN) => break,
                    _ => {
                        // Out of descriptors or memory: again when the guest closes some.
                        self.wait_for_room(index);
                        break;
                    }
                },
            }
        }
    }

    fn turn(&self, index: usize) -> Option<usize> {
        self.publications.get(index)?.as_ref()?.turn()
    }

    fn wait_for_room(&mut self, index: usize) {
        if let Some(Some(publication)) = self.publications.get_mut(index) {
            publication.waiting = true;
        }
    }

    /// Tries again where connections wait.
    pub(super) fn retry_accepts(&mut self) {
        for index in 0..self.publications.len() {
            if matches!(&self.publications[index], Some(publication) if publication.waiting) {
                self.accept(index);
            }
        }
    }

    /// Whether the listener's ring has room for a record and the stock is not empty.
    fn has_accept_room(&mut self, listener: usize) -> bool {
        let rings = self.rings.clone();
        let Some(Some(entry)) = self.entries.get_mut(listener).map(Option::as_mut) else {
            return false;
        };
        let line = rings.slot(listener);
        let room = |entry: &mut Entry| {
            entry
                .rx_room(&rings, line)
                .is_ok_and(|room| room >= ACCEPT_RECORD)
        };
        let ready = room(entry) || entry.stall(&rings, line) && room(entry);
        if !ready {
            return false;
        }
        entry.unstall(line);
        let stock = &rings.header().stock;
        if self.stocked() > 0 {
            return true;
        }
        stock.starved.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.stocked() > 0
    }

    /// Slots in the stock; 0 if the guest's index is impossible.
    fn stocked(&self) -> u32 {
        let tail = self.rings.header().stock.tail.load(Ordering::SeqCst);
        used(self.stock_head, tail, STOCK as u32).unwrap_or(0)
    }

    /// Gives an accepted connection to the guest; false if the guest's slot was
    /// unusable, in which case the connection is closed.
    fn adopt(&mut self, listener: usize, fd: Descriptor, peer: spore_abi::net::Address) -> bool {
        let stock = &self.rings.header().stock;
        let place = self.stock_head as usize % STOCK;
        let index = stock.entries[place].load(Ordering::Acquire) as usize;
        self.stock_head = self.stock_head.wrapping_add(1);
        stock.head.store(self.stock_head, Ordering::Release);
        if !(slot::FIRST..SLOTS).contains(&index) || self.entries[index].is_some() {
            return false;
        }
        let flags = self.rings.slot(index).guest.flags.load(Ordering::Acquire);
        let generation = generation_of(flags);
        let entry = Entry::new(index, generation, Kind::Stream, fd);
        let Some(mut entry) = entry.with_buffers(&self.rings, true, true) else {
            return false;
        };
        entry.set(self.rings.slot(index), host_flag::CONNECTED);
        if self.install(entry).is_err() {
            return false;
        }
        let record = AcceptRecord {
            slot: index as u32,
            generation,
            peer,
        };
        let Some(entry) = self.entries[listener].as_mut() else {
            return false;
        };
        if let Some(ring) = entry.rx {
            self.rings.put(ring, entry.rx_tail, &record.to_bytes());
            entry.received(self.rings.slot(listener), ACCEPT_RECORD);
        }
        true
    }

    /// The guest's listener is gone.
    pub(super) fn unpublish(&mut self, listener: usize) {
        for place in &mut self.publications {
            let Some(publication) = place else { continue };
            publication.detach(listener);
            if !publication.fixed && !publication.is_listening() {
                *place = None;
            }
        }
    }
}
