//! Slots and ring buffers: who has which, and when they are free again.
//!
//! Buffers come from guest memory in runs of pages and are kept for the next
//! connection, last used first, so that few pages are warm. A slot that was
//! closed is used again only after the host has said that it is done.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use spore_abi::layout::PAGE;
use spore_abi::net::{
    ACCEPT_RECORD, AcceptRecord, Buffer, SLOTS, STOCK, generation_of, guest_flag, host_flag, slot,
    tagged,
};
use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::net::connection::Connection;
use crate::net::doorbell;

/// Receive ring of a stream.
pub const STREAM_RX: u32 = 16 << 10;
/// Transmit ring of a stream.
pub const STREAM_TX: u32 = 64 << 10;
/// Slots in stock once there is a listener.
const STOCK_FIRST: usize = 32;
/// Most slots in stock; reached by doubling whenever the host ran out.
const STOCK_MOST: usize = 512;
/// Buffers of a size that are kept for reuse.
const KEPT: usize = 64;

/// A slot with its generation and buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Number.
    pub index: usize,
    /// Generation, see [`spore_abi::net`].
    pub generation: u16,
    /// Receive buffer; 0: none.
    pub rx: Buffer,
    /// Transmit buffer; 0: none.
    pub tx: Buffer,
}

struct Slots {
    /// Numbers that were used before, to be used again.
    free: Vec<u16>,
    /// Next number that was never used.
    fresh: usize,
    generations: Vec<u16>,
    /// In the stock or accepted by the host.
    stocked: BTreeMap<usize, Slot>,
    /// Put into the stock so far.
    stock_tail: u32,
    stock_wanted: usize,
    /// Closed, but the host is not done yet.
    closing: BTreeMap<usize, Slot>,
    /// Closed slots that were listeners.
    listeners: BTreeSet<usize>,
    /// Receive buffers on offer for closed slots.
    offered: BTreeMap<usize, Buffer>,
    /// Buffers for reuse, by size.
    kept: Vec<(u32, Vec<u64>)>,
}

impl Slots {
    /// Buffers of a size for reuse; there are few sizes.
    fn kept_of(&mut self, size: u32) -> &mut Vec<u64> {
        let known = self.kept.iter().position(|(other, _)| *other == size);
        let index = known.unwrap_or_else(|| {
            self.kept.push((size, Vec::new()));
            self.kept.len() - 1
        });
        &mut self.kept[index].1
    }
}

static SLOTS_IN_USE: Lock<Slots> = Lock::new(Slots {
    free: Vec::new(),
    fresh: slot::FIRST,
    generations: Vec::new(),
    stocked: BTreeMap::new(),
    stock_tail: 0,
    stock_wanted: 0,
    closing: BTreeMap::new(),
    listeners: BTreeSet::new(),
    offered: BTreeMap::new(),
    kept: Vec::new(),
});

/// A ring buffer of `size` bytes (power of two, at least a page). ENOBUFS.
pub fn buffer(size: u32) -> Result<Buffer> {
    let kept = SLOTS_IN_USE.lock().kept_of(size).pop();
    let gpa = match kept {
        Some(gpa) => gpa,
        None => crate::mm::frames::alloc_run(u64::from(size) / PAGE).map_err(|_| Errno::ENOBUFS)?,
    };
    Ok(Buffer::new(gpa, size))
}

/// Gives a buffer back.
pub fn free_buffer(buffer: Buffer) {
    let Some(size) = buffer.size() else { return };
    let mut slots = SLOTS_IN_USE.lock();
    let kept = slots.kept_of(size);
    if kept.len() < KEPT {
        kept.push(buffer.gpa());
        return;
    }
    drop(slots);
    crate::mm::frames::free_run(buffer.gpa(), u64::from(size) / PAGE);
}

/// A slot with empty rings of the given sizes (0: none), shown to the host but not
/// known to it. ENOBUFS.
pub fn open(rx: u32, tx: u32) -> Result<Slot> {
    let optional = |size: u32| {
        if size == 0 {
            Ok(Buffer(0))
        } else {
            buffer(size)
        }
    };
    let rx = optional(rx)?;
    let tx = match optional(tx) {
        Ok(tx) => tx,
        Err(error) => {
            free_buffer(rx);
            return Err(error);
        }
    };
    let mut slots = SLOTS_IN_USE.lock();
    let index = match slots.free.pop() {
        Some(index) => usize::from(index),
        None if slots.fresh < SLOTS => {
            slots.fresh += 1;
            slots.fresh - 1
        }
        None => {
            drop(slots);
            free_buffer(rx);
            free_buffer(tx);
            return Err(Errno::ENOBUFS);
        }
    };
    if slots.generations.len() <= index {
        slots.generations.resize(index + 1, 0);
    }
    let generation = slots.generations[index].wrapping_add(1);
    slots.generations[index] = generation;
    drop(slots);
    let line = &doorbell::header().slots[index].guest;
    line.rx_head.store(0, Ordering::Relaxed);
    line.tx_tail.store(0, Ordering::Relaxed);
    line.want_space.store(0, Ordering::Relaxed);
    line.rx_buffer.store(rx.0, Ordering::Relaxed);
    line.tx_buffer.store(tx.0, Ordering::Relaxed);
    line.rx_next.store(0, Ordering::Relaxed);
    line.options.store(0, Ordering::Relaxed);
    line.keepalive.store(0, Ordering::Relaxed);
    line.flags.store(tagged(0, generation), Ordering::Release);
    Ok(Slot {
        index,
        generation,
        rx,
        tx,
    })
}

/// One of the fixed slots (standard streams), generation 0.
pub fn open_fixed(index: usize, rx: u32, tx: u32) -> Result<Slot> {
    let optional = |size: u32| {
        if size == 0 {
            Ok(Buffer(0))
        } else {
            buffer(size)
        }
    };
    let slot = Slot {
        index,
        generation: 0,
        rx: optional(rx)?,
        tx: optional(tx)?,
    };
    let line = &doorbell::header().slots[index].guest;
    line.rx_buffer.store(slot.rx.0, Ordering::Relaxed);
    line.tx_buffer.store(slot.tx.0, Ordering::Relaxed);
    line.flags.store(tagged(0, 0), Ordering::Release);
    Ok(slot)
}

/// Takes back a slot that the host does not know (a refused call), or is done with.
pub fn discard(slot: Slot) {
    free_buffer(slot.rx);
    free_buffer(slot.tx);
    SLOTS_IN_USE.lock().free.push(slot.index as u16);
}

/// Asks the host to close a slot; with `reset`, what is in its ring is dropped.
pub fn close(slot: Slot, reset: bool) {
    doorbell::set_orphaned(news);
    doorbell::detach(slot.index);
    SLOTS_IN_USE.lock().closing.insert(slot.index, slot);
    let flags = &doorbell::header().slots[slot.index].guest.flags;
    let old = flags.load(Ordering::Relaxed) & 0xffff & !guest_flag::RX_SWITCH;
    let close = guest_flag::CLOSE | if reset { guest_flag::RESET } else { 0 };
    flags.store(tagged(old | close, slot.generation), Ordering::SeqCst);
    doorbell::ring(slot.index);
    news(slot.index);
}

/// As [`close`] for the slot of a listener.
pub fn close_listener(slot: Slot) {
    SLOTS_IN_USE.lock().listeners.insert(slot.index);
    close(slot, false);
}

/// Connections that the host had accepted for a listener that is gone.
fn refuse_accepted(slot: Slot) {
    let mut listener = Connection::new(slot);
    while listener.available() >= ACCEPT_RECORD {
        let mut raw = [0; ACCEPT_RECORD as usize];
        listener.peek_bytes(0, &mut raw);
        listener.consume_record(ACCEPT_RECORD);
        if let Some(accepted) = accepted(AcceptRecord::from_bytes(&raw).slot as usize) {
            close(accepted, true);
        }
    }
}

/// As [`close`] for a slot with another receive buffer on offer: both are the
/// host's until it is done.
pub fn close_with(slot: Slot, next: Buffer, reset: bool) {
    SLOTS_IN_USE.lock().offered.insert(slot.index, next);
    close(slot, reset);
}

/// News of a slot that nobody listens to: the end of a closed one.
pub fn news(index: usize) {
    let closing = SLOTS_IN_USE.lock().closing.get(&index).copied();
    let Some(slot) = closing else { return };
    let flags = doorbell::header().slots[index]
        .host
        .flags
        .load(Ordering::Acquire);
    if generation_of(flags) == slot.generation && flags & host_flag::CLOSED != 0 {
        let mut slots = SLOTS_IN_USE.lock();
        slots.closing.remove(&index);
        let offered = slots.offered.remove(&index);
        let listened = slots.listeners.remove(&index);
        drop(slots);
        if listened {
            refuse_accepted(slot);
        }
        free_buffer(offered.unwrap_or(Buffer(0)));
        discard(slot);
        // Nobody could be accepted any more: no accept will fill the stock.
        if doorbell::header().stock.starved.load(Ordering::SeqCst) != 0 {
            replenish();
        }
    }
}

/// Fills the stock for connections to come. Called for every listener, after every
/// accepted connection, and when a slot is free again that the host waits for.
pub fn replenish() {
    let stock = &doorbell::header().stock;
    let starved = stock.starved.load(Ordering::SeqCst) != 0;
    {
        let mut slots = SLOTS_IN_USE.lock();
        slots.stock_wanted = match slots.stock_wanted {
            0 => STOCK_FIRST,
            wanted if starved => (wanted * 2).min(STOCK_MOST),
            wanted => wanted,
        };
    }
    let mut added = false;
    loop {
        let (tail, wanted) = {
            let slots = SLOTS_IN_USE.lock();
            (slots.stock_tail, slots.stock_wanted)
        };
        let filled = tail.wrapping_sub(stock.head.load(Ordering::Acquire)) as usize;
        if filled >= wanted {
            break;
        }
        let Ok(slot) = open(STREAM_RX, STREAM_TX) else {
            break;
        };
        stock.entries[tail as usize % STOCK].store(slot.index as u32, Ordering::Relaxed);
        let mut slots = SLOTS_IN_USE.lock();
        slots.stocked.insert(slot.index, slot);
        slots.stock_tail = tail.wrapping_add(1);
        drop(slots);
        stock.tail.store(tail.wrapping_add(1), Ordering::SeqCst);
        added = true;
    }
    fence(Ordering::SeqCst);
    if added && stock.starved.swap(0, Ordering::SeqCst) != 0 {
        doorbell::ring(slot::CONTROL);
    }
}

/// The slot of a connection that the host has accepted.
pub fn accepted(index: usize) -> Option<Slot> {
    SLOTS_IN_USE.lock().stocked.remove(&index)
}
