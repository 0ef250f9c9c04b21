//! The guest's end of a slot: bytes between user memory and rings, one copy.

use core::sync::atomic::{Ordering, fence};

use spore_abi::net::{
    Buffer, GuestLine, HostLine, generation_of, guest_flag, host_flag, piece, tagged, used,
};
use spore_hal::host::ring_memory;

use crate::errno::{Errno, Result};
use crate::mm::io::{Reader, Writer};
use crate::net::doorbell;
use crate::net::slots::{self, Slot};

/// A write of that size is worth waking the I/O thread for at once.
const LARGE_WRITE: usize = 16 << 10;
/// Receive ring of a connection that gets a lot.
const LARGE_RX: u32 = 512 << 10;
/// Transmit ring of a connection that sends a lot.
const LARGE_TX: u32 = 256 << 10;
/// Full rings until a connection gets larger ones.
const GROW_AFTER: u32 = 4;

/// One connection's rings.
pub struct Connection {
    slot: Slot,
    /// Receive buffer on offer.
    rx_next: Option<Buffer>,
    rx_grown: bool,
    rx_full: u32,
    tx_full: u32,
    error_taken: bool,
}

impl Connection {
    /// Takes over an opened slot.
    pub fn new(slot: Slot) -> Self {
        Self {
            slot,
            rx_next: None,
            rx_grown: false,
            rx_full: 0,
            tx_full: 0,
            error_taken: false,
        }
    }
    /// Number of the slot.
    pub fn index(&self) -> usize {
        self.slot.index
    }
    /// First argument of host calls: slot and generation.
    pub fn handle(&self) -> u64 {
        self.slot.index as u64 | u64::from(self.slot.generation) << 32
    }
    fn guest(&self) -> &'static GuestLine {
        &doorbell::header().slots[self.slot.index].guest
    }
    fn host(&self) -> &'static HostLine {
        &doorbell::header().slots[self.slot.index].host
    }
    /// The host's flags; none before it has taken this generation over.
    pub fn flags(&self) -> u32 {
        let word = self.host().flags.load(Ordering::Acquire);
        if generation_of(word) == self.slot.generation {
            word & 0xffff
        } else {
            0
        }
    }
    fn set_flag(&self, flag: u32) {
        let flags = &self.guest().flags;
        let old = flags.load(Ordering::Relaxed);
        flags.store(
            tagged(old & 0xffff | flag, self.slot.generation),
            Ordering::SeqCst,
        );
        doorbell::ring(self.slot.index);
    }
    /// As [`Connection::untaken`], also before the host has looked for the first time.
    pub fn untaken_even_unknown(&self) -> u32 {
        let head = self.host().tx_head.load(Ordering::Acquire);
        self.guest()
            .tx_tail
            .load(Ordering::Relaxed)
            .wrapping_sub(head)
    }
    /// Bytes that can be read.
    pub fn available(&self) -> u32 {
        if self.flags() == 0 {
            return 0;
        }
        let tail = self.host().rx_tail.load(Ordering::Acquire);
        tail.wrapping_sub(self.guest().rx_head.load(Ordering::Relaxed))
    }
    /// Bytes written that the host has not taken.
    pub fn untaken(&self) -> u32 {
        if self.flags() == 0 {
            return 0;
        }
        let head = self.host().tx_head.load(Ordering::Acquire);
        self.guest()
            .tx_tail
            .load(Ordering::Relaxed)
            .wrapping_sub(head)
    }
    /// Whether there is room enough to count as writable.
    pub fn writable(&self) -> bool {
        let size = self.slot.tx.size().unwrap_or(0);
        size - self.untaken().min(size) >= size / 4
    }
    /// The connection's error, if it was not reported yet.
    pub fn pending_error(&self) -> Option<Errno> {
        if self.error_taken || self.flags() & host_flag::ERROR == 0 {
            return None;
        }
        Some(Errno(self.host().error.load(Ordering::Relaxed) as u16))
    }
    /// Takes the connection's error.
    pub fn take_error(&mut self) -> Option<Errno> {
        let error = self.pending_error();
        self.error_taken |= error.is_some();
        error
    }
    /// Puts bytes of the ring into `out`; 0 at end of file, EAGAIN while empty.
    pub fn read(&mut self, out: &mut Writer<'_>, peek: bool) -> Result<usize> {
        let available = self.available();
        if available == 0 {
            return self.read_empty(out);
        }
        self.follow_switch();
        let size = self.slot.rx.size().ok_or(Errno::EIO)?;
        let head = self.guest().rx_head.load(Ordering::Relaxed);
        let mut at = head;
        let mut left = (available.min(size) as usize).min(out.remaining()) as u32;
        while left > 0 {
            let (offset, len) = piece(at, left, size);
            let copied = out.put_ring(self.slot.rx.gpa() + u64::from(offset), len as usize);
            let copied = match copied {
                Ok(copied) => copied as u32,
                Err(error) if at == head => return Err(error),
                Err(_) => break,
            };
            at = at.wrapping_add(copied);
            left -= copied;
            if copied < len {
                break;
            }
        }
        if !peek {
            self.consume(head, at);
        }
        Ok(at.wrapping_sub(head) as usize)
    }
    /// Drops up to `len` bytes (MSG_TRUNC of TCP).
    pub fn skip(&mut self, len: usize) -> usize {
        let available = self.available();
        self.follow_switch();
        let count = (available as usize).min(len) as u32;
        let head = self.guest().rx_head.load(Ordering::Relaxed);
        self.consume(head, head.wrapping_add(count));
        count as usize
    }
    fn read_empty(&mut self, out: &Writer<'_>) -> Result<usize> {
        if out.remaining() == 0 {
            return Ok(0);
        }
        let flags = self.flags();
        if self.available() != 0 {
            return Err(Errno::EAGAIN); // Arrived just now; the notifier will tell.
        }
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        if flags & host_flag::EOF != 0 {
            return Ok(0);
        }
        Err(Errno::EAGAIN)
    }
    /// Gives the bytes `head..at` back to the host.
    fn consume(&mut self, head: u32, at: u32) {
        if head == at {
            return;
        }
        self.guest().rx_head.store(at, Ordering::Release);
        // The store must be seen before the flag is read: the host does the reverse.
        fence(Ordering::SeqCst);
        if self.flags() & host_flag::RX_STALL != 0 {
            self.rx_full += 1;
            if self.rx_full >= GROW_AFTER && !self.rx_grown {
                self.offer_larger_rx();
            }
            doorbell::ring(self.slot.index);
        }
    }
    fn offer_larger_rx(&mut self) {
        self.rx_grown = true;
        if let Ok(buffer) = slots::buffer(LARGE_RX) {
            self.rx_next = Some(buffer);
            self.guest().rx_next.store(buffer.0, Ordering::Release);
            self.set_flag(guest_flag::RX_SWITCH);
        }
    }
    /// The host may have moved to the buffer on offer; it did so with the ring empty,
    /// and said so before it published a byte.
    fn follow_switch(&mut self) {
        if self.rx_next.is_some()
            && self.flags() & host_flag::RX_SWITCHED != 0
            && let Some(next) = self.rx_next.take()
        {
            slots::free_buffer(core::mem::replace(&mut self.slot.rx, next));
        }
    }
    /// Takes bytes of `data` into the ring. EAGAIN without room; the connection's
    /// error once; EPIPE.
    pub fn write(&mut self, data: &mut Reader<'_>) -> Result<usize> {
        let flags = self.flags();
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        if flags & (host_flag::HUP | host_flag::ERROR) != 0 {
            return Err(Errno::EPIPE);
        }
        let guest = self.guest();
        let mut tail = guest.tx_tail.load(Ordering::Relaxed);
        let begin = tail;
        if data.remaining() > 0 && self.tx_full >= GROW_AFTER {
            self.replace_tx(tail);
        }
        let size = self.slot.tx.size().ok_or(Errno::EIO)?;
        while data.remaining() > 0 {
            let head = self.host().tx_head.load(Ordering::Acquire);
            let room = size - used(head, tail, size).unwrap_or(size);
            if room == 0 {
                if self.wait_for_room(tail, size) {
                    continue;
                }
                break;
            }
            let wanted = (room as usize).min(data.remaining()) as u32;
            let (offset, len) = piece(tail, wanted, size);
            match data.take_ring(self.slot.tx.gpa() + u64::from(offset), len as usize) {
                Ok(copied) => tail = tail.wrapping_add(copied as u32),
                Err(error) if tail == begin => return Err(error),
                Err(_) => break,
            }
        }
        let written = tail.wrapping_sub(begin) as usize;
        if written == 0 {
            return if data.remaining() > 0 {
                Err(Errno::EAGAIN)
            } else {
                Ok(0)
            };
        }
        guest.tx_tail.store(tail, Ordering::Release);
        doorbell::ring(self.slot.index);
        if written >= LARGE_WRITE {
            doorbell::flush();
        }
        Ok(written)
    }
    /// Asks to be told of room; true if some has appeared meanwhile.
    fn wait_for_room(&mut self, tail: u32, size: u32) -> bool {
        self.tx_full = self.tx_full.saturating_add(1);
        self.guest().want_space.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let head = self.host().tx_head.load(Ordering::SeqCst);
        used(head, tail, size).is_some_and(|used| used < size)
    }
    /// Moves to a larger transmit buffer if the ring is empty.
    fn replace_tx(&mut self, tail: u32) {
        let empty = self.host().tx_head.load(Ordering::Acquire) == tail;
        if !empty || self.slot.tx.size() >= Some(LARGE_TX) {
            return;
        }
        if let Ok(buffer) = slots::buffer(LARGE_TX) {
            self.guest().tx_buffer.store(buffer.0, Ordering::Release);
            slots::free_buffer(core::mem::replace(&mut self.slot.tx, buffer));
        }
    }
    /// The host has made progress: it need not tell any more.
    pub fn room_seen(&self) {
        let want = &self.guest().want_space;
        if want.load(Ordering::Relaxed) != 0 && self.writable() {
            want.store(0, Ordering::Relaxed);
        }
    }
    /// Half-closes behind what was written.
    pub fn shutdown_write(&self) {
        self.set_flag(guest_flag::SHUT_WRITE);
    }
    /// Keep-alive settings for the host socket: idle, interval, probes.
    pub fn set_keepalive(&self, on: bool, times: [u16; 3]) {
        let [idle, interval, probes] = times.map(u64::from);
        let guest = self.guest();
        guest
            .keepalive
            .store(idle | interval << 16 | probes << 32, Ordering::Relaxed);
        let options = if on {
            spore_abi::net::socket_option::KEEPALIVE
        } else {
            0
        };
        guest.options.store(options, Ordering::Release);
        doorbell::ring(self.slot.index);
    }
    /// Ends the connection; with `reset`, at once.
    pub fn close(&mut self, reset: bool) {
        if let Some(next) = self.rx_next.take() {
            // Whether the host has moved is not known: both are freed only when it is
            // done, so the one on offer goes with the slot and the old one too.
            slots::close_with(self.slot, next, reset);
        } else {
            slots::close(self.slot, reset);
        }
    }
    /// Ends a listener: connections that nobody took are reset once the host is done.
    pub fn close_listener(&mut self) {
        slots::close_listener(self.slot);
    }
    /// Takes back a slot that the host has refused.
    pub fn discard(self) {
        slots::discard(self.slot);
    }
    /// Reads whole records (accept records, datagrams): copies `len` bytes at
    /// `offset` behind the head.
    pub fn peek_bytes(&mut self, offset: u32, bytes: &mut [u8]) {
        self.follow_switch();
        let Some(size) = self.slot.rx.size() else {
            return;
        };
        let at = self
            .guest()
            .rx_head
            .load(Ordering::Relaxed)
            .wrapping_add(offset);
        let (place, first) = piece(at, bytes.len() as u32, size);
        let (head, tail) = bytes.split_at_mut(first as usize);
        ring_memory::read(self.slot.rx.gpa() + u64::from(place), head);
        ring_memory::read(self.slot.rx.gpa(), tail);
    }
    /// Copies `len` bytes at `offset` behind the head to `out`.
    pub fn copy_out(&mut self, offset: u32, len: u32, out: &mut Writer<'_>) -> Result<usize> {
        self.follow_switch();
        let Some(size) = self.slot.rx.size() else {
            return Ok(0);
        };
        let at = self
            .guest()
            .rx_head
            .load(Ordering::Relaxed)
            .wrapping_add(offset);
        let (place, first) = piece(at, len, size);
        let copied = out.put_ring(self.slot.rx.gpa() + u64::from(place), first as usize)?;
        if copied < first as usize || first == len {
            return Ok(copied);
        }
        Ok(copied + out.put_ring(self.slot.rx.gpa(), (len - first) as usize)?)
    }
    /// Room in the transmit ring for records; asks to be told if it is less than `need`.
    pub fn record_room(&mut self, need: u32) -> bool {
        let Some(size) = self.slot.tx.size() else {
            return false;
        };
        let tail = self.guest().tx_tail.load(Ordering::Relaxed);
        let fits = |head: u32| used(head, tail, size).is_some_and(|used| size - used >= need);
        if fits(self.host().tx_head.load(Ordering::Acquire)) {
            return true;
        }
        self.guest().want_space.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        fits(self.host().tx_head.load(Ordering::SeqCst))
    }
    /// Writes a record of `header` and all of `data` (padded to 8 bytes) for which
    /// there is room. EFAULT leaves the ring as it was.
    pub fn write_record(&mut self, header: &[u8], data: &mut Reader<'_>) -> Result<usize> {
        let size = self.slot.tx.size().ok_or(Errno::EIO)?;
        let gpa = self.slot.tx.gpa();
        let tail = self.guest().tx_tail.load(Ordering::Relaxed);
        let (place, first) = piece(tail, header.len() as u32, size);
        let (head, rest) = header.split_at(first as usize);
        ring_memory::write(gpa + u64::from(place), head);
        ring_memory::write(gpa, rest);
        let len = data.remaining() as u32;
        let mut at = tail.wrapping_add(header.len() as u32);
        let mut left = len;
        while left > 0 {
            let (place, first) = piece(at, left, size);
            let copied = data.take_ring(gpa + u64::from(place), first as usize)? as u32;
            if copied < first {
                return Err(Errno::EFAULT);
            }
            at = at.wrapping_add(copied);
            left -= copied;
        }
        let record = header.len() as u32 + ((len + 7) & !7);
        self.guest()
            .tx_tail
            .store(tail.wrapping_add(record), Ordering::Release);
        doorbell::ring(self.slot.index);
        Ok(len as usize)
    }
    /// Drops a record of `len` bytes from the receive ring.
    pub fn consume_record(&mut self, len: u32) {
        let head = self.guest().rx_head.load(Ordering::Relaxed);
        self.consume(head, head.wrapping_add(len));
    }
}
