//! One served slot: moving bytes between a host descriptor and two rings.
//!
//! The host's own indices and flags are kept here and only ever written to the
//! shared lines: what the guest writes over them changes nothing. Guest indices
//! are loaded once per step and must satisfy used <= size; otherwise the
//! connection ends with EPROTO.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use spore_abi::net::{Buffer, Slot, generation_of, guest_flag, host_flag, piece, tagged, used};

use crate::net::published::Published;
use crate::net::rings::{Ring, Rings};
use crate::net::sys;

/// What a slot serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP connection.
    Stream,
    /// A UDP socket.
    Datagram,
    /// A listener; its sockets are publications.
    Listener,
    /// Standard input.
    Input(Way),
    /// Standard output or error, or the log.
    Output(Way),
}

/// How a standard stream is used without ever blocking the thread for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Regular files and devices: plain reads and writes.
    Direct,
    /// A non-blocking open file description of our own.
    Own,
    /// A descriptor shared with others and in blocking mode: only after poll has
    /// said yes, and at most a page, which then fits (`PIPE_BUF`).
    Shared,
    /// A socket.
    Socket,
}

/// A host descriptor: ours, or one of the standard streams.
pub enum Descriptor {
    /// Closed with the entry.
    Owned(OwnedFd),
    /// Left alone.
    Borrowed(RawFd),
    /// None (listeners).
    None,
}

impl Descriptor {
    /// The number; -1 for none.
    pub fn raw(&self) -> RawFd {
        match self {
            Self::Owned(fd) => fd.as_raw_fd(),
            Self::Borrowed(fd) => *fd,
            Self::None => -1,
        }
    }
}

/// See the module's description.
pub struct Entry {
    /// Index of the slot.
    pub slot: usize,
    /// Generation under which the guest opened it.
    pub generation: u16,
    /// What it serves.
    pub kind: Kind,
    /// The host side.
    pub fd: Descriptor,
    /// Receive ring.
    pub rx: Option<Ring>,
    /// Transmit ring.
    pub tx: Option<Ring>,
    tx_stated: Buffer,
    /// Bytes put into the receive ring.
    pub rx_tail: u32,
    /// Bytes taken out of the transmit ring.
    pub tx_head: u32,
    flags: u32,
    /// The host kernel took no more; wait for EPOLLOUT.
    pub tx_blocked: bool,
    /// The receive ring was full.
    pub rx_stalled: bool,
    /// The other side has ended: receive until end of file, because
    /// edge-triggered epoll will not tell again.
    pub read_to_end: bool,
    /// Both directions have ended, says the host. The guest hears it with the end of
    /// file: what the host still holds comes first.
    hung_up: bool,
    shut: bool,
    /// Options as last applied.
    pub options: (u32, u64),
    /// Guest port of a listener.
    pub port: u16,
    /// The listener is of IPv6.
    pub six: bool,
    /// The port that a datagram socket is published at.
    pub published: Option<Published>,
}

impl Entry {
    /// An entry with empty rings; buffers are checked by the caller.
    pub fn new(slot: usize, generation: u16, kind: Kind, fd: Descriptor) -> Self {
        Self {
            slot,
            generation,
            kind,
            fd,
            rx: None,
            tx: None,
            tx_stated: Buffer(0),
            rx_tail: 0,
            tx_head: 0,
            flags: host_flag::OPEN,
            tx_blocked: false,
            rx_stalled: false,
            read_to_end: false,
            hung_up: false,
            shut: false,
            options: (0, 0),
            port: 0,
            six: false,
            published: None,
        }
    }
    /// Goes on from what the slot's host line says: where a machine that was frozen
    /// stopped, or from nothing in a new one.
    pub fn going_on(mut self, rings: &Rings) -> Self {
        let line = &rings.slot(self.slot).host;
        self.rx_tail = line.rx_tail.load(Ordering::Relaxed);
        self.tx_head = line.tx_head.load(Ordering::Relaxed);
        let word = line.flags.load(Ordering::Relaxed);
        if generation_of(word) == self.generation {
            self.flags |= word & host_flag::RX_SWITCHED;
        }
        self
    }
    /// Takes over the buffers that the guest states. `None` if one of those
    /// needed is wrong.
    pub fn with_buffers(mut self, rings: &Rings, rx: bool, tx: bool) -> Option<Self> {
        let guest = &rings.slot(self.slot).guest;
        if rx {
            self.rx = Some(rings.ring(Buffer(guest.rx_buffer.load(Ordering::Acquire)))?);
        }
        if tx {
            self.tx_stated = Buffer(guest.tx_buffer.load(Ordering::Acquire));
            self.tx = Some(rings.ring(self.tx_stated)?);
        }
        Some(self)
    }
    /// Shows a fresh host line to the guest.
    pub fn show(&self, slot: &Slot) {
        slot.host.rx_tail.store(self.rx_tail, Ordering::Relaxed);
        slot.host.tx_head.store(self.tx_head, Ordering::Relaxed);
        slot.host.error.store(0, Ordering::Relaxed);
        self.show_flags(slot);
    }
    fn show_flags(&self, slot: &Slot) {
        slot.host
            .flags
            .store(tagged(self.flags, self.generation), Ordering::SeqCst);
    }
    /// Whether a flag of [`host_flag`] is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
    /// Sets flags and shows them.
    pub fn set(&mut self, slot: &Slot, flags: u32) {
        if self.flags & flags != flags {
            self.flags |= flags;
            self.show_flags(slot);
        }
    }
    fn clear(&mut self, slot: &Slot, flags: u32) {
        self.flags &= !flags;
        self.show_flags(slot);
    }
    /// Ends the connection with an error.
    pub fn fail(&mut self, slot: &Slot, error: i32) {
        slot.host.error.store(error as u32, Ordering::Relaxed);
        self.set(
            slot,
            host_flag::ERROR | host_flag::EOF | host_flag::HUP | host_flag::CONNECTED,
        );
        self.tx_blocked = false;
    }
    /// The error of [`Entry::fail`], if it failed.
    pub fn failure(&self, slot: &Slot) -> Option<i32> {
        self.has(host_flag::ERROR)
            .then(|| slot.host.error.load(Ordering::Relaxed) as i32)
    }
    /// The guest's flags, or none if they belong to another connection.
    pub fn guest_flags(&self, slot: &Slot) -> u32 {
        let word = slot.guest.flags.load(Ordering::Acquire);
        if generation_of(word) == self.generation {
            word & 0xffff
        } else {
            0
        }
    }
    /// Room in the receive ring. Once a larger ring is offered there is none until
    /// the guest has emptied this one; then it is the larger one's.
    /// `Err`: the guest's index or buffer is impossible.
    pub fn rx_room(&mut self, rings: &Rings, slot: &Slot) -> Result<u32, ()> {
        let ring = self.rx.ok_or(())?;
        let head = slot.guest.rx_head.load(Ordering::Acquire);
        let filled = used(head, self.rx_tail, ring.size).ok_or(())?;
        if !self.is_switch_wanted(slot) {
            return Ok(ring.size - filled);
        }
        if filled > 0 {
            return Ok(0);
        }
        let next = Buffer(slot.guest.rx_next.load(Ordering::Acquire));
        let next = rings.ring(next).ok_or(())?;
        self.rx = Some(next);
        self.set(slot, host_flag::RX_SWITCHED);
        Ok(next.size)
    }
    fn is_switch_wanted(&self, slot: &Slot) -> bool {
        self.guest_flags(slot) & guest_flag::RX_SWITCH != 0 && !self.has(host_flag::RX_SWITCHED)
    }
    /// Whether the guest has made enough room to go on receiving.
    pub fn has_room_again(&self, slot: &Slot) -> bool {
        let head = slot.guest.rx_head.load(Ordering::Acquire);
        let Some(filled) = self.rx.and_then(|ring| used(head, self.rx_tail, ring.size)) else {
            return false;
        };
        let enough = self.rx.map_or(0, |ring| ring.size / 2);
        filled == 0 || filled <= enough && !self.is_switch_wanted(slot)
    }
    /// Bytes waiting in the transmit ring and the ring. `Err`: the guest's index
    /// or buffer is impossible.
    pub fn tx_waiting(&mut self, rings: &Rings, slot: &Slot) -> Result<(u32, Ring), ()> {
        let tail = slot.guest.tx_tail.load(Ordering::Acquire);
        let stated = Buffer(slot.guest.tx_buffer.load(Ordering::Acquire));
        if stated != self.tx_stated && tail != self.tx_head {
            self.tx = Some(rings.ring(stated).ok_or(())?);
            self.tx_stated = stated;
        }
        let ring = self.tx.ok_or(())?;
        Ok((used(self.tx_head, tail, ring.size).ok_or(())?, ring))
    }
    /// Accounts for `count` bytes received into the ring.
    pub fn received(&mut self, slot: &Slot, count: u32) {
        self.rx_tail = self.rx_tail.wrapping_add(count);
        slot.host.rx_tail.store(self.rx_tail, Ordering::Release);
    }
    /// Accounts for `count` bytes sent; answers whether the guest wants to know.
    pub fn sent(&mut self, slot: &Slot, count: u32, waiting: u32, ring: Ring) -> bool {
        self.tx_head = self.tx_head.wrapping_add(count);
        slot.host.tx_head.store(self.tx_head, Ordering::SeqCst);
        waiting > ring.size / 2 || slot.guest.want_space.load(Ordering::SeqCst) != 0
    }
    /// Says that the receive ring is full; answers whether room has appeared since.
    pub fn stall(&mut self, rings: &Rings, slot: &Slot) -> bool {
        self.rx_stalled = true;
        self.set(slot, host_flag::RX_STALL);
        fence(Ordering::SeqCst);
        self.rx_room(rings, slot).is_ok_and(|room| room > 0)
    }
    /// There is room again.
    pub fn unstall(&mut self, slot: &Slot) {
        if self.rx_stalled {
            self.rx_stalled = false;
            self.clear(slot, host_flag::RX_STALL);
        }
    }
    /// Receives as much as there is and fits. Answers whether the guest has news.
    pub fn receive(&mut self, rings: &Rings) -> bool {
        let slot = rings.slot(self.slot);
        let mut news = false;
        loop {
            if self.has(host_flag::EOF) || self.has(host_flag::ERROR) {
                return news;
            }
            let Ok(room) = self.rx_room(rings, slot) else {
                self.fail(slot, libc::EPROTO);
                return true;
            };
            let Some(ring) = self.rx else { return news };
            if room == 0 {
                if self.stall(rings, slot) {
                    continue;
                }
                return news;
            }
            let (offset, first) = piece(self.rx_tail, room, ring.size);
            let place = rings.pointer(ring, offset, first);
            // SAFETY: `pointer` answers an address valid for `first` bytes of guest
            // RAM, of which the monitor holds no reference.
            let result = unsafe { sys::receive(self.fd.raw(), place, first, self.kind) };
            match result {
                Ok(0) => {
                    self.set(slot, host_flag::EOF);
                    self.hang_up(slot, self.hung_up);
                    news = true;
                }
                Ok(count) => {
                    self.received(slot, count);
                    news = true;
                    let drained = count < first && self.kind == Kind::Stream && !self.read_to_end;
                    if drained {
                        break;
                    }
                }
                Err(error) => match error.raw_os_error().unwrap_or(libc::EIO) {
                    libc::EINTR => {}
                    libc::EAGAIN => break,
                    error => {
                        self.fail(slot, error);
                        news = true;
                    }
                },
            }
        }
        self.unstall(slot);
        news
    }
    /// Sends what waits in the ring. Answers whether the guest has news.
    pub fn send(&mut self, rings: &Rings) -> bool {
        let slot = rings.slot(self.slot);
        let mut news = false;
        while !self.has(host_flag::ERROR) {
            // Before the index: what the guest wrote before its half-close is seen then.
            let half_closed = self.guest_flags(slot) & guest_flag::SHUT_WRITE != 0;
            let Ok((waiting, ring)) = self.tx_waiting(rings, slot) else {
                self.fail(slot, libc::EPROTO);
                return true;
            };
            if waiting == 0 {
                self.tx_blocked = false;
                if half_closed {
                    self.shut_write();
                }
                break;
            }
            let (offset, first) = piece(self.tx_head, waiting, ring.size);
            let head = (rings.pointer(ring, offset, first).cast_const(), first);
            let rest = (
                rings.pointer(ring, 0, waiting - first).cast_const(),
                waiting - first,
            );
            // SAFETY: both addresses are valid for their lengths in guest RAM; the
            // kernel reads them once.
            let result = unsafe { sys::send(self.fd.raw(), head, rest, self.kind) };
            match result {
                Ok(count) => news |= self.sent(slot, count, waiting, ring),
                Err(error) => match error.raw_os_error().unwrap_or(libc::EIO) {
                    libc::EINTR => {}
                    libc::EAGAIN => {
                        self.tx_blocked = true;
                        return news;
                    }
                    error => {
                        self.fail(slot, error);
                        news = true;
                    }
                },
            }
        }
        news
    }
    /// Both directions have ended, if `over`. Answers whether the guest has news.
    pub fn hang_up(&mut self, slot: &Slot, over: bool) -> bool {
        self.hung_up = over;
        let news = over && self.has(host_flag::EOF) && !self.has(host_flag::HUP);
        if news {
            self.set(slot, host_flag::HUP);
        }
        news
    }
    fn shut_write(&mut self) {
        if !self.shut && self.kind == Kind::Stream && self.has(host_flag::CONNECTED) {
            self.shut = true;
            sys::shutdown_write(self.fd.raw());
        }
    }
    /// Whether everything that the guest wrote has left the ring (or cannot).
    pub fn is_flushed(&mut self, rings: &Rings) -> bool {
        if self.tx.is_none() || self.has(host_flag::ERROR) {
            return true;
        }
        let slot = rings.slot(self.slot);
        self.tx_waiting(rings, slot)
            .map_or(true, |(waiting, _)| waiting == 0)
    }
    /// A connection attempt is over: takes its outcome.
    pub fn connected(&mut self, rings: &Rings) {
        let slot = rings.slot(self.slot);
        match sys::pending_error(self.fd.raw()) {
            0 => self.set(slot, host_flag::CONNECTED),
            error => self.fail(slot, error),
        }
    }
    /// Carries options of the guest over to the host socket, if they changed.
    pub fn apply_options(&mut self, slot: &Slot) {
        let options = slot.guest.options.load(Ordering::Acquire);
        let times = slot.guest.keepalive.load(Ordering::Acquire);
        if (options, times) != self.options && self.kind == Kind::Stream {
            self.options = (options, times);
            sys::keepalive(self.fd.raw(), options, times);
        }
    }
    /// Tells the guest that slot and buffers are its own again.
    pub fn closed(&mut self, slot: &Slot) {
        self.set(slot, host_flag::CLOSED);
    }
}

/// The error of the last system call, as a negated errno.
pub fn negated(error: &io::Error) -> i64 {
    -i64::from(error.raw_os_error().unwrap_or(libc::EIO))
}
