//! A hostile guest: random words in every line it writes, random doorbells, random
//! host calls. The engine must neither fail nor touch memory that is no ring.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;

use spore_abi::layout::{FREE_GPA, RINGS_GPA};
use spore_abi::net::{Address, Buffer, STOCK, call};

use super::guest::{Guest, engine, memory, pattern};
use crate::net::address;

const STEPS: usize = 30_000;
/// Slots that the guest plays with.
const PLAYED: u64 = 40;

struct Dice(u64);

impl Dice {
    /// xorshift64*.
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }
    /// An index or length: small, near the limits, or anything.
    fn number(&mut self) -> u32 {
        match self.below(4) {
            0 => self.below(8) as u32,
            1 => 4096 + self.below(9) as u32 - 4,
            2 => u32::MAX - self.below(8) as u32,
            _ => self.roll() as u32,
        }
    }
    fn buffer(&mut self) -> u64 {
        match self.below(3) {
            0 => self.roll(),
            1 => Buffer::new(self.below(96 << 20) & !0xfff, 1 << self.below(32)).0,
            _ => Buffer::new(FREE_GPA + (self.below(8) << 17), 4096 << self.below(5)).0,
        }
    }
}

fn scribble(guest: &Guest, dice: &mut Dice) {
    let line = &guest.rings.header().slots[dice.below(PLAYED) as usize].guest;
    match dice.below(9) {
        0 => line.rx_head.store(dice.number(), Ordering::Relaxed),
        1 => line.tx_tail.store(dice.number(), Ordering::Relaxed),
        2 => line
            .flags
            .store(dice.roll() as u32 & 0x0001_001f, Ordering::Relaxed),
        3 => line.rx_buffer.store(dice.buffer(), Ordering::Relaxed),
        4 => line.tx_buffer.store(dice.buffer(), Ordering::Relaxed),
        5 => line.rx_next.store(dice.buffer(), Ordering::Relaxed),
        6 => line.options.store(dice.roll() as u32, Ordering::Relaxed),
        7 => line.keepalive.store(dice.roll(), Ordering::Relaxed),
        _ => line.want_space.store(dice.roll() as u32, Ordering::Relaxed),
    }
}

/// The lines of the host are writable for the guest as well.
fn scribble_on_the_host(guest: &Guest, dice: &mut Dice) {
    let line = &guest.rings.header().slots[dice.below(PLAYED) as usize].host;
    match dice.below(4) {
        0 => line.rx_tail.store(dice.number(), Ordering::Relaxed),
        1 => line.tx_head.store(dice.number(), Ordering::Relaxed),
        2 => line.flags.store(dice.roll() as u32, Ordering::Relaxed),
        _ => line.error.store(dice.roll() as u32, Ordering::Relaxed),
    }
}

fn stock(guest: &Guest, dice: &mut Dice) {
    let stock = &guest.rings.header().stock;
    let entry = dice.below(STOCK as u64) as usize;
    stock.entries[entry].store(dice.number() % 5000, Ordering::Relaxed);
    let tail = if dice.below(8) == 0 {
        dice.number()
    } else {
        stock.head.load(Ordering::Relaxed) + 1
    };
    stock.tail.store(tail, Ordering::Relaxed);
}

/// An address inside this test, or one that must be refused: never the world.
fn target(dice: &mut Dice, inside: &[SocketAddr]) -> Address {
    match dice.below(4) {
        0 => Address {
            family: dice.roll() as u16 | 8,
            ..Address::default()
        },
        1 => Address::v4([169, 254, 169, 254], 80),
        _ => address::to_guest(&inside[dice.below(inside.len() as u64) as usize]),
    }
}

/// Memory outside header and rings, which nobody may write.
fn guarded() -> Vec<u8> {
    pattern(RINGS_GPA as usize)
}

#[test]
fn a_hostile_guest_harms_only_itself() {
    let memory = memory();
    memory.write_bytes(0, &guarded()).unwrap();
    let (mut engine, mut guest) = (engine(&memory), Guest::new(&memory));
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    echo.set_nonblocking(true).unwrap();
    let inside = [server.local_addr().unwrap(), echo.local_addr().unwrap()];
    guest.listen(&mut engine);
    let published = engine.publications[0].as_ref().unwrap().host;
    let mut peers: Vec<TcpStream> = Vec::new();
    let mut dice = Dice(0x5eed_5eed_5eed_5eed);
    for _ in 0..STEPS {
        match dice.below(8) {
            0..=2 => scribble(&guest, &mut dice),
            3 => scribble_on_the_host(&guest, &mut dice),
            4 => stock(&guest, &mut dice),
            5 => guest
                .rings
                .header()
                .to_host
                .ring(dice.below(PLAYED) as usize),
            6 => {
                let words = target(&mut dice, &inside).to_words();
                let slot = dice.below(PLAYED + 2) | dice.below(2) << 32;
                let number = call::CONNECT + dice.below(6);
                engine.call(
                    number,
                    &[slot, words[0], words[1], words[2], dice.roll(), 0],
                );
            }
            _ => {
                engine.pass(None);
            }
        }
        if peers.len() < 20 && dice.below(64) == 0 {
            peers.extend(server.accept().ok().map(|(peer, _)| peer));
            peers.extend(
                TcpStream::connect_timeout(&published, std::time::Duration::from_millis(50)).ok(),
            );
        }
        play(&mut peers, &mut dice);
        if let Ok((count, from)) = echo.recv_from(&mut [0; 2048]) {
            let _ = echo.send_to(&[7; 2048][..count], from);
        }
    }
    let mut now = guarded();
    memory.read_bytes(0, &mut now).unwrap();
    assert!(now == guarded(), "memory outside the rings was written");
    assert!(
        engine.entries.iter().flatten().count() > 0,
        "nothing was ever opened: a useless run"
    );
}

/// The other sides send, receive and go away.
fn play(peers: &mut Vec<TcpStream>, dice: &mut Dice) {
    if peers.is_empty() {
        return;
    }
    let at = dice.below(peers.len() as u64) as usize;
    let _ = peers[at].set_nonblocking(true);
    match dice.below(40) {
        0 => drop(peers.swap_remove(at)),
        1..=10 => drop(peers[at].write(&[9; 3000])),
        11..=20 => drop(peers[at].read(&mut [0; 8192])),
        _ => {}
    }
}
