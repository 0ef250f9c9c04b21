//! Many sends or receives as one system call (io_uring). Every operation carries
//! MSG_DONTWAIT, so each call completes all that it submits.

use io_uring::{IoUring, opcode, types::Fd};
use spore_abi::net::{host_flag, piece};

use crate::net::engine::Engine;

/// Operations per call.
const BATCH: usize = 256;

/// A ring of the thread that created it.
pub struct Batch {
    ring: IoUring,
}

impl Batch {
    /// `None` where io_uring does not exist or is not permitted: then every socket
    /// gets a system call of its own.
    pub fn new() -> Option<Self> {
        let entries = BATCH as u32;
        let frugal = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(entries);
        let ring = frugal.or_else(|_| IoUring::new(entries)).ok()?;
        Some(Self { ring })
    }

    /// Sends what waits in the given slots.
    pub fn send(&mut self, engine: &mut Engine, slots: &[u16]) {
        if let [one] = slots {
            return engine.transmit(usize::from(*one));
        }
        for slots in slots.chunks(BATCH) {
            let count = slots
                .iter()
                .filter(|slot| self.queue_send(engine, **slot))
                .count();
            self.finish(count, |index, asked, result| {
                finish_send(engine, index, asked, result)
            });
        }
    }

    /// Receives into the given slots.
    pub fn receive(&mut self, engine: &mut Engine, slots: &[u16]) {
        if let [one] = slots {
            return engine.take_in(usize::from(*one));
        }
        for slots in slots.chunks(BATCH) {
            let count = slots
                .iter()
                .filter(|slot| self.queue_receive(engine, **slot))
                .count();
            self.finish(count, |index, asked, result| {
                finish_receive(engine, index, asked, result)
            });
        }
    }

    fn queue_send(&mut self, engine: &mut Engine, index: u16) -> bool {
        let Some(entry) = engine.entries[usize::from(index)].as_mut() else {
            return false;
        };
        let rings = &engine.rings;
        let Ok((waiting @ 1.., ring)) = entry.tx_waiting(rings, rings.slot(entry.slot)) else {
            return false;
        };
        let (offset, first) = piece(entry.tx_head, waiting, ring.size);
        let place = rings.pointer(ring, offset, first);
        let operation = opcode::Send::new(Fd(entry.fd.raw()), place, first)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .build()
            .user_data(u64::from(index) | u64::from(waiting) << 32);
        // SAFETY: the memory is guest RAM, mapped as long as the engine lives, and
        // the operation completes within `finish`.
        unsafe { self.ring.submission().push(&operation) }.is_ok()
    }

    fn queue_receive(&mut self, engine: &mut Engine, index: u16) -> bool {
        let place = usize::from(index);
        let Some(entry) = engine.entries[place].as_mut() else {
            return false;
        };
        let rings = &engine.rings;
        let room = entry.rx_room(rings, rings.slot(place));
        let (Ok(room @ 1..), Some(ring)) = (room, entry.rx) else {
            engine.take_in(place); // Stalls, or ends the connection.
            return false;
        };
        let (offset, first) = piece(entry.rx_tail, room, ring.size);
        let place = rings.pointer(ring, offset, first);
        let operation = opcode::Recv::new(Fd(entry.fd.raw()), place, first)
            .flags(libc::MSG_DONTWAIT)
            .build()
            .user_data(u64::from(index) | u64::from(first) << 32);
        // SAFETY: as in `queue_send`; the monitor holds no reference to guest RAM.
        unsafe { self.ring.submission().push(&operation) }.is_ok()
    }

    /// Submits what was queued and hands out every result.
    fn finish(&mut self, count: usize, mut each: impl FnMut(usize, u32, i32)) {
        let mut left = count;
        while left > 0 {
            // An interrupted wait is repeated: nothing may be left behind that the
            // host kernel still works on.
            let _ = self.ring.submit_and_wait(left);
            for entry in self.ring.completion() {
                left -= 1;
                let data = entry.user_data();
                each(
                    usize::from(data as u16),
                    (data >> 32) as u32,
                    entry.result(),
                );
            }
        }
    }
}

fn finish_send(engine: &mut Engine, index: usize, waiting: u32, result: i32) {
    let Some(entry) = engine.entries[index].as_mut() else {
        return;
    };
    let Ok(count @ 1..) = u32::try_from(result) else {
        return engine.transmit(index);
    };
    let Some(ring) = entry.tx else { return };
    let line = engine.rings.slot(index);
    let news = entry.sent(line, count, waiting, ring);
    let flushed = entry.is_flushed(&engine.rings);
    if news {
        engine.tell(index);
    }
    if !flushed {
        engine.transmit(index);
    }
}

fn finish_receive(engine: &mut Engine, index: usize, asked: u32, result: i32) {
    let Some(entry) = engine.entries[index].as_mut() else {
        return;
    };
    match u32::try_from(result) {
        Ok(count @ 1..) => {
            entry.received(engine.rings.slot(index), count);
            engine.tell(index);
            if count == asked {
                engine.take_in(index);
            }
        }
        _ if result == -libc::EAGAIN => {}
        _ if entry.has(host_flag::EOF) => {}
        _ => engine.take_in(index),
    }
}
