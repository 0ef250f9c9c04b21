//! A guest that does what the kernel does, and, where a test wants it, otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use spore_abi::layout::FREE_GPA;
use spore_abi::net::{
    ACCEPT_RECORD, AcceptRecord, Buffer, STOCK, Slot, call, generation_of, guest_flag, host_flag,
    piece, tagged, used,
};

use crate::config::{Policy, Protocol, PublishRule, Rights};
use crate::events::{Events, Style};
use crate::mapping::Mapping;
use crate::memory::GuestMemory;
use crate::net::address;
use crate::net::engine::Engine;
use crate::net::policy::Gate;
use crate::net::rings::Rings;

pub const RAM: u64 = 64 << 20;
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Guest memory of its own.
pub fn memory() -> Arc<GuestMemory> {
    let ram = Mapping::anonymous(RAM).expect("memory for a guest");
    Arc::new(GuestMemory::new(ram, Vec::new()))
}

/// An engine that publishes guest port 80 at a free port, and listens in slot 8.
pub fn engine(memory: &Arc<GuestMemory>) -> Engine {
    let rule = PublishRule {
        address: Ipv4Addr::LOCALHOST.into(),
        host: 0,
        guest: 80,
        protocol: Protocol::Tcp,
        listener: None,
        lent: false,
    };
    let events = Arc::new(Events::new(Style::Quiet, Instant::now()));
    let gate = Gate::new(Policy::default(), &Rights::default(), None);
    let rings = Rings::new(memory.clone()).expect("room for the rings");
    Engine::new(rings, Some(&[rule]), None, gate, events, [-1; 4]).expect("a free port")
}

/// A slot as the guest knows it.
#[derive(Clone, Copy)]
pub struct Line {
    pub index: usize,
    pub generation: u16,
    pub rx: Buffer,
    pub tx: Buffer,
}

/// The guest's side of the rings.
pub struct Guest {
    pub memory: Arc<GuestMemory>,
    pub rings: Rings,
    next_gpa: u64,
    stocked: Vec<Line>,
}

impl Guest {
    pub fn new(memory: &Arc<GuestMemory>) -> Self {
        let rings = Rings::new(memory.clone()).expect("room for the rings");
        Self {
            memory: memory.clone(),
            rings,
            next_gpa: FREE_GPA,
            stocked: Vec::new(),
        }
    }
    pub fn slot(&self, line: Line) -> &Slot {
        self.rings.slot(line.index)
    }
    pub fn buffer(&mut self, size: u32) -> Buffer {
        let buffer = Buffer::new(self.next_gpa, size);
        self.next_gpa += u64::from(size);
        assert!(self.next_gpa <= RAM, "the test's guest is out of memory");
        buffer
    }
    /// Prepares a slot with rings of the given sizes.
    pub fn open(&mut self, index: usize, generation: u16, rx: u32, tx: u32) -> Line {
        let mut optional = |size| {
            if size == 0 {
                Buffer(0)
            } else {
                self.buffer(size)
            }
        };
        let line = Line {
            index,
            generation,
            rx: optional(rx),
            tx: optional(tx),
        };
        let guest = &self.slot(line).guest;
        guest.rx_head.store(0, Ordering::Relaxed);
        guest.tx_tail.store(0, Ordering::Relaxed);
        guest.want_space.store(0, Ordering::Relaxed);
        guest.rx_buffer.store(line.rx.0, Ordering::Relaxed);
        guest.tx_buffer.store(line.tx.0, Ordering::Relaxed);
        guest.flags.store(tagged(0, generation), Ordering::Release);
        line
    }
    pub fn handle(line: Line) -> u64 {
        line.index as u64 | u64::from(line.generation) << 32
    }
    /// Arguments of a host call about a slot and an address.
    pub fn args(line: Line, address: SocketAddr) -> [u64; 6] {
        let words = address::to_guest(&address).to_words();
        [Self::handle(line), words[0], words[1], words[2], 16, 0]
    }
    pub fn ring(&self, line: Line) {
        self.rings.header().to_host.ring(line.index);
    }
    /// Listens on guest port 80; answers the slot.
    pub fn listen(&mut self, engine: &mut Engine) -> Line {
        let line = self.open(8, 1, 4096, 0);
        let any = SocketAddr::from(([0, 0, 0, 0], 80));
        assert_eq!(engine.call(call::LISTEN, &Self::args(line, any)), 80);
        line
    }
    /// Adds slots from `first` on to the stock.
    pub fn stock(&mut self, first: usize, count: usize) {
        for index in first..first + count {
            let line = self.open(index, 1, 16 << 10, 64 << 10);
            self.stocked.push(line);
            let stock = &self.rings.header().stock;
            let tail = stock.tail.load(Ordering::Relaxed);
            stock.entries[tail as usize % STOCK].store(index as u32, Ordering::Relaxed);
            stock.tail.store(tail + 1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        if self.rings.header().stock.starved.swap(0, Ordering::SeqCst) != 0 {
            self.rings
                .header()
                .to_host
                .ring(spore_abi::net::slot::CONTROL);
        }
    }
    /// Takes an accepted connection from a listener's ring.
    pub fn accept(&mut self, listener: Line) -> Option<Line> {
        if self.available(listener) < ACCEPT_RECORD {
            return None;
        }
        let mut raw = [0; ACCEPT_RECORD as usize];
        assert_eq!(self.read(listener, &mut raw), raw.len());
        let record = AcceptRecord::from_bytes(&raw);
        self.stocked
            .iter()
            .copied()
            .find(|line| line.index == record.slot as usize)
    }
    pub fn flags(&self, line: Line) -> u32 {
        let word = self.slot(line).host.flags.load(Ordering::Acquire);
        if generation_of(word) == line.generation {
            word & 0xffff
        } else {
            0
        }
    }
    pub fn available(&self, line: Line) -> u32 {
        let slot = self.slot(line);
        let tail = slot.host.rx_tail.load(Ordering::Acquire);
        tail.wrapping_sub(slot.guest.rx_head.load(Ordering::Relaxed))
    }
    /// Reads what is there, at most what fits.
    pub fn read(&self, line: Line, into: &mut [u8]) -> usize {
        let available = self.available(line);
        let guest = &self.slot(line).guest;
        let head = guest.rx_head.load(Ordering::Relaxed);
        let size = line.rx.size().unwrap();
        let count = available.min(into.len() as u32);
        let (offset, first) = piece(head, count, size);
        let (a, b) = into[..count as usize].split_at_mut(first as usize);
        self.memory
            .read_bytes(line.rx.gpa() + u64::from(offset), a)
            .unwrap();
        self.memory.read_bytes(line.rx.gpa(), b).unwrap();
        guest
            .rx_head
            .store(head.wrapping_add(count), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.flags(line) & host_flag::RX_STALL != 0 {
            self.ring(line);
        }
        count as usize
    }
    /// Writes what fits.
    pub fn write(&self, line: Line, bytes: &[u8]) -> usize {
        let slot = self.slot(line);
        let size = line.tx.size().unwrap();
        let tail = slot.guest.tx_tail.load(Ordering::Relaxed);
        let room = |head| size - used(head, tail, size).unwrap();
        let mut free = room(slot.host.tx_head.load(Ordering::Acquire));
        if free == 0 {
            slot.guest.want_space.store(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            free = room(slot.host.tx_head.load(Ordering::SeqCst));
        }
        let count = free.min(bytes.len() as u32);
        let (offset, first) = piece(tail, count, size);
        let (a, b) = bytes[..count as usize].split_at(first as usize);
        self.memory
            .write_bytes(line.tx.gpa() + u64::from(offset), a)
            .unwrap();
        self.memory.write_bytes(line.tx.gpa(), b).unwrap();
        slot.guest
            .tx_tail
            .store(tail.wrapping_add(count), Ordering::Release);
        self.ring(line);
        count as usize
    }
    pub fn set_flag(&self, line: Line, flag: u32) {
        let flags = &self.slot(line).guest.flags;
        let old = flags.load(Ordering::Relaxed) & 0xffff;
        flags.store(tagged(old | flag, line.generation), Ordering::SeqCst);
        self.ring(line);
    }
    pub fn close(&self, line: Line) {
        self.set_flag(line, guest_flag::CLOSE);
    }
    pub fn is_closed(&self, line: Line) -> bool {
        self.flags(line) & host_flag::CLOSED != 0
    }
}

/// Runs passes until `done`; fails the test when that takes too long.
pub fn serve_until(engine: &mut Engine, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "nothing happens any more");
        let deadline = crate::net::sys::monotonic() + 1_000_000;
        crate::net::sys::wait_readable([engine.epoll.fd(), -1], deadline);
        engine.pass(None);
    }
}

/// Bytes that tell where they belong.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8)
        .collect()
}
