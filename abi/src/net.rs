//! Shared rings: standard streams, log and sockets.
//!
//! ## Slots
//! A slot is one connection: two byte rings and two cache lines, of which the
//! guest writes one ([`GuestLine`]) and the host the other ([`HostLine`]). The
//! first slots are the standard streams and the log ([`slot`]); all others are
//! handed out by the guest. Ring buffers lie anywhere in guest RAM above
//! `FREE_GPA`; the guest states them as [`Buffer`] words.
//!
//! Indices run freely (mod 2^32), ring sizes are powers of two, `used = tail -
//! head`. A writer copies, stores its index (Release) and then rings the
//! [`Doorbell`]; a reader collects the doorbell, loads the index (Acquire) and
//! then copies.
//!
//! ## Generations
//! The upper half of both `flags` words is the generation of the slot. A side
//! ignores the other's flags while the generations differ, so nothing that was
//! said about an earlier connection can be taken for news about this one.
//!
//! ## Closing
//! The guest sets [`guest_flag::CLOSE`] and rings. The host sends what is left
//! (unless [`guest_flag::RESET`]), closes, and answers [`host_flag::CLOSED`].
//! Only then does the guest use slot and buffers again.
//!
//! ## Accepting
//! The guest keeps the [`Stock`] filled with slots that have buffers. The host
//! takes one for every connection it accepts, starts to receive into it, and
//! writes an [`AcceptRecord`] into the receive ring of the listener's slot.
//!
//! ## Datagrams
//! The rings of a datagram slot carry records: a [`DatagramHeader`], the data,
//! and padding to 8 bytes.
//!
//! ## Larger rings
//! The transmit buffer may be replaced by the guest whenever the ring is empty.
//! A larger receive buffer is offered in `rx_next` with
//! [`guest_flag::RX_SWITCH`]; the host moves over when it finds the ring empty
//! and says so with [`host_flag::RX_SWITCHED`] before it publishes any byte there.
//!
//! ## Sleeping
//! The I/O thread sets `io_sleep`, looks at the doorbell once more, then waits.
//! A guest that has rung swaps `io_sleep` for 0 and, if it was 1, stores to
//! `DOORBELL_KICK_GPA`. All of these accesses are sequentially consistent.
//!
//! While the I/O thread is awake it counts its passes in `io_passes`. A guest that
//! spins and sees the count stand still knows that the thread gets no processor,
//! and says so in the second argument of IDLE ([`STARVED`]): then the vCPU's own
//! thread serves the rings.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Version of this layout; the monitor writes it to [`Header::version`].
pub const VERSION: u32 = 1;
/// Second argument of IDLE: the I/O thread has made no pass while the guest spun.
pub const STARVED: u64 = 1;
/// Number of slots.
pub const SLOTS: usize = 4096;
/// Smallest ring, in bytes.
pub const MIN_RING: u32 = 4096;
/// Largest ring, in bytes.
pub const MAX_RING: u32 = 4 << 20;
/// Bytes of an accept record in a listener's receive ring.
pub const ACCEPT_RECORD: u32 = 64;
/// Bytes of a datagram header.
pub const DATAGRAM_HEADER: u32 = 32;
/// Largest payload of a datagram.
pub const MAX_DATAGRAM: u32 = 65_507;

/// Slots with a fixed meaning.
pub mod slot {
    /// Standard input (receive ring only). Not read before the guest rings it.
    pub const STDIN: usize = 0;
    /// Standard output (transmit ring only).
    pub const STDOUT: usize = 1;
    /// Standard error (transmit ring only).
    pub const STDERR: usize = 2;
    /// Lines for the log, which the monitor prints on its standard error.
    pub const LOG: usize = 3;
    /// Rung by the guest when it has added to the [`super::Stock`] that ran dry.
    pub const CONTROL: usize = 4;
    /// First slot for sockets.
    pub const FIRST: usize = 8;
}

/// Flags of [`GuestLine::flags`].
pub mod guest_flag {
    /// Send what is in the ring, then shut the sending direction down.
    pub const SHUT_WRITE: u32 = 1;
    /// Send what is in the ring, then close and answer CLOSED.
    pub const CLOSE: u32 = 2;
    /// With CLOSE: drop what is in the ring and reset the connection.
    pub const RESET: u32 = 4;
    /// `rx_next` is to replace `rx_buffer`.
    pub const RX_SWITCH: u32 = 8;
}

/// Flags of [`HostLine::flags`].
pub mod host_flag {
    /// The slot is served.
    pub const OPEN: u32 = 1;
    /// Everything was received: end of file after the ring's bytes.
    pub const EOF: u32 = 2;
    /// Both directions are over.
    pub const HUP: u32 = 4;
    /// `error` holds an error number.
    pub const ERROR: u32 = 8;
    /// The connection is established (or has failed, with ERROR).
    pub const CONNECTED: u32 = 16;
    /// The receive ring was full: ring the slot after taking bytes out.
    pub const RX_STALL: u32 = 32;
    /// The host is done with slot and buffers.
    pub const CLOSED: u32 = 64;
    /// Receiving goes on in the buffer `rx_next`.
    pub const RX_SWITCHED: u32 = 128;
}

/// Both flags words: flags in the lower, generation in the upper half.
pub const fn tagged(flags: u32, generation: u16) -> u32 {
    (flags & 0xffff) | (generation as u32) << 16
}

/// The generation in a flags word.
pub const fn generation_of(word: u32) -> u16 {
    (word >> 16) as u16
}

/// Bits of [`GuestLine::options`].
pub mod socket_option {
    /// SO_KEEPALIVE with the times in `keepalive`.
    pub const KEEPALIVE: u32 = 1;
}

/// Host calls of this module; numbers are part of the contract. The first
/// argument of all but PERMIT is `slot | generation << 32`; three arguments after
/// it are an [`Address`] as words. Negative results are negated errnos.
pub mod call {
    use crate::hostcall::number::NET_FIRST;
    /// Connects a stream. 0, -EINPROGRESS (CONNECTED follows), or an error, after
    /// which the host does not know the slot.
    pub const CONNECT: u64 = NET_FIRST;
    /// Publishes a listener. args: 1..=3 = the guest's address; port 0: the host
    /// picks one. 4 = backlog. 5 = 1: the program did not ask for the port by number,
    /// the host may publish it at another one. Result: the guest port, or 0: that
    /// port is not published, the host does not know the slot.
    pub const LISTEN: u64 = NET_FIRST + 1;
    /// Opens a datagram slot, or changes the peer of an open one. args: 1..=3 =
    /// address to connect to; port 0 and all-zero address: not connected. 4 = port that the
    /// program has bound by number, to be published, or 0. -ENOENT: that port is not
    /// published, the host does not know the slot.
    pub const DATAGRAM: u64 = NET_FIRST + 2;
    /// Asks whether a destination may be reached. args: 0..=2 = address. 0 or -EACCES.
    pub const PERMIT: u64 = NET_FIRST + 3;
}

/// An IPv4 or IPv6 address with port, as three words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// 4 or 6; anything else is invalid.
    pub family: u16,
    /// Port in host byte order.
    pub port: u16,
    /// IPv6 scope id.
    pub scope: u32,
    /// Address bytes in network order; IPv4 uses the first four.
    pub bytes: [u8; 16],
}

impl Address {
    /// Number of words.
    pub const WORDS: usize = 3;
    /// As words.
    pub fn to_words(&self) -> [u64; 3] {
        let half = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.bytes[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        [
            u64::from(self.family) | u64::from(self.port) << 16 | u64::from(self.scope) << 32,
            half(0),
            half(8),
        ]
    }
    /// From words. Every triple is accepted; the family is judged by whoever uses it.
    pub fn from_words(words: [u64; 3]) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&words[1].to_le_bytes());
        bytes[8..].copy_from_slice(&words[2].to_le_bytes());
        Self {
            family: words[0] as u16,
            port: (words[0] >> 16) as u16,
            scope: (words[0] >> 32) as u32,
            bytes,
        }
    }
    /// An IPv4 address.
    pub fn v4(address: [u8; 4], port: u16) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address);
        Self {
            family: 4,
            port,
            scope: 0,
            bytes,
        }
    }
    /// An IPv6 address.
    pub fn v6(bytes: [u8; 16], port: u16, scope: u32) -> Self {
        Self {
            family: 6,
            port,
            scope,
            bytes,
        }
    }
}

/// A connection that the host has accepted; 64 bytes in the listener's receive ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptRecord {
    /// Slot of the connection, taken from the stock.
    pub slot: u32,
    /// Its generation.
    pub generation: u16,
    /// The other side.
    pub peer: Address,
}

impl AcceptRecord {
    /// As bytes of the ring.
    pub fn to_bytes(&self) -> [u8; ACCEPT_RECORD as usize] {
        let mut bytes = [0; ACCEPT_RECORD as usize];
        let peer = self.peer.to_words();
        let words = [
            u64::from(self.slot) | u64::from(self.generation) << 32,
            peer[0],
            peer[1],
            peer[2],
        ];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
    /// From bytes of the ring.
    pub fn from_bytes(bytes: &[u8; ACCEPT_RECORD as usize]) -> Self {
        let word = |index: usize| word_at(bytes, index);
        Self {
            slot: word(0) as u32,
            generation: (word(0) >> 32) as u16,
            peer: Address::from_words([word(1), word(2), word(3)]),
        }
    }
}

/// In front of every datagram in a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramHeader {
    /// Bytes of data that follow.
    pub len: u32,
    /// Receive ring: an errno to report instead of data, or 0.
    pub error: u32,
    /// Sender (receive) or destination (transmit; family 0: the connected peer).
    pub address: Address,
}

impl DatagramHeader {
    /// As bytes of the ring.
    pub fn to_bytes(&self) -> [u8; DATAGRAM_HEADER as usize] {
        let mut bytes = [0; DATAGRAM_HEADER as usize];
        let address = self.address.to_words();
        let words = [
            u64::from(self.len) | u64::from(self.error) << 32,
            address[0],
            address[1],
            address[2],
        ];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
    /// From bytes of the ring.
    pub fn from_bytes(bytes: &[u8; DATAGRAM_HEADER as usize]) -> Self {
        let word = |index: usize| word_at(bytes, index);
        Self {
            len: word(0) as u32,
            error: (word(0) >> 32) as u32,
            address: Address::from_words([word(1), word(2), word(3)]),
        }
    }
    /// Bytes that header, data and padding take in the ring.
    pub const fn record_len(len: u32) -> u32 {
        DATAGRAM_HEADER + ((len + 7) & !7)
    }
}

fn word_at(bytes: &[u8], index: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
    u64::from_le_bytes(word)
}

/// A ring buffer as one word: page-aligned guest-physical address, and log2 of the
/// size in the low bits. 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer(pub u64);

impl Buffer {
    /// `gpa` is a multiple of 4096, `size` a power of two.
    pub const fn new(gpa: u64, size: u32) -> Self {
        Self(gpa | size.trailing_zeros() as u64)
    }
    /// Guest-physical address of the first byte.
    pub const fn gpa(self) -> u64 {
        self.0 & !0xfff
    }
    /// Size in bytes, if it is one that rings may have.
    pub const fn size(self) -> Option<u32> {
        let order = (self.0 & 0xfff) as u32;
        if order < MIN_RING.trailing_zeros() || order > MAX_RING.trailing_zeros() {
            return None;
        }
        Some(1 << order)
    }
}

/// What the guest writes of a slot.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct GuestLine {
    /// Bytes taken out of the receive ring so far.
    pub rx_head: AtomicU32,
    /// Bytes put into the transmit ring so far.
    pub tx_tail: AtomicU32,
    /// [`guest_flag`]s and generation.
    pub flags: AtomicU32,
    /// Not 0: the guest waits for room in the transmit ring.
    pub want_space: AtomicU32,
    /// Receive [`Buffer`].
    pub rx_buffer: AtomicU64,
    /// Transmit [`Buffer`].
    pub tx_buffer: AtomicU64,
    /// Receive buffer to switch to.
    pub rx_next: AtomicU64,
    /// [`socket_option`]s.
    pub options: AtomicU32,
    /// Pad.
    pub reserved: AtomicU32,
    /// Idle seconds, interval seconds << 16, probes << 32.
    pub keepalive: AtomicU64,
}

/// What the host writes of a slot.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct HostLine {
    /// Bytes put into the receive ring so far.
    pub rx_tail: AtomicU32,
    /// Bytes taken out of the transmit ring so far.
    pub tx_head: AtomicU32,
    /// [`host_flag`]s and generation.
    pub flags: AtomicU32,
    /// Error number, valid with ERROR.
    pub error: AtomicU32,
}

/// A slot.
#[repr(C)]
#[derive(Debug)]
pub struct Slot {
    /// Written by the guest.
    pub guest: GuestLine,
    /// Written by the host.
    pub host: HostLine,
}

/// One bit per slot, set by one side and taken by the other. It cannot overflow,
/// coalesces, and a spurious bit is harmless.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Doorbell {
    /// Bit n: word n may have bits. On a line of its own: it is what is polled.
    summary: AtomicU64,
    reserved: [AtomicU64; 7],
    words: [AtomicU64; SLOTS / 64],
}

impl Doorbell {
    /// Sets the bit of `slot` (< [`SLOTS`]).
    ///
    /// The word is always written: "only if it is not set yet" would need a fence
    /// before the look, or a wake-up is lost. The summary is left alone when the
    /// word had bits: whoever set them has set, or is about to set, the summary, and
    /// the collector has not taken the word yet.
    #[inline]
    pub fn ring(&self, slot: usize) {
        let word = (slot / 64) % self.words.len();
        if self.words[word].fetch_or(1 << (slot % 64), Ordering::SeqCst) == 0 {
            self.summary.fetch_or(1 << word, Ordering::SeqCst);
        }
    }
    /// Whether there is something to collect.
    #[inline]
    pub fn pending(&self) -> bool {
        self.summary.load(Ordering::SeqCst) != 0
    }
    /// Takes all bits and calls `each` for every slot; answers whether there were any.
    #[inline]
    pub fn collect(&self, mut each: impl FnMut(usize)) -> bool {
        if self.summary.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut summary = self.summary.swap(0, Ordering::SeqCst);
        let any = summary != 0;
        while summary != 0 {
            let word = summary.trailing_zeros() as usize;
            summary &= summary - 1;
            let mut bits = self.words[word].swap(0, Ordering::SeqCst);
            while bits != 0 {
                each(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        any
    }
}

/// Entries of the stock ring.
pub const STOCK: usize = 1024;

/// Free slots with buffers, for connections that the host accepts.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Stock {
    /// Slots put in so far, by the guest.
    pub tail: AtomicU32,
    reserved0: [AtomicU32; 15],
    /// Slots taken so far, by the host.
    pub head: AtomicU32,
    /// The host wanted a slot and there was none: ring [`slot::CONTROL`] after
    /// adding some. Set by the host; the guest swaps it for 0.
    pub starved: AtomicU32,
    reserved1: [AtomicU32; 14],
    /// Entry n mod [`STOCK`]: slot number.
    pub entries: [AtomicU32; STOCK],
}

/// Counters, for `--json`, tests and benchmarks. Written by the guest.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Statistics {
    /// IDLE host calls that waited.
    pub waits: AtomicU64,
    /// IDLE host calls that did not wait.
    pub polls: AtomicU64,
    /// Kicks of the I/O thread.
    pub kicks: AtomicU64,
    /// Times that spinning found news.
    pub spin_hits: AtomicU64,
    /// Nanoseconds spent spinning.
    pub spin_ns: AtomicU64,
    /// Times that the I/O thread was found starved.
    pub starved: AtomicU64,
    /// Times that the guest has looked for news. The monitor asks a guest for
    /// attention that leaves news lying and does not look.
    pub turns: AtomicU64,
    reserved: AtomicU64,
}

/// A word on a line of its own.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Lonely {
    /// The word.
    pub word: AtomicU32,
}

/// At [`crate::layout::RINGS_GPA`], zero at boot but for `version`.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Header {
    /// [`VERSION`].
    pub version: AtomicU32,
    /// 1: the I/O thread sleeps and must be kicked.
    pub io_sleep: Lonely,
    /// Passes of the I/O thread.
    pub io_passes: Lonely,
    /// Rung by the guest.
    pub to_host: Doorbell,
    /// Rung by the host.
    pub to_guest: Doorbell,
    /// See [`Stock`].
    pub stock: Stock,
    /// See [`Statistics`].
    pub statistics: Statistics,
    /// The slots.
    pub slots: [Slot; SLOTS],
}

const _: () = assert!(core::mem::size_of::<Slot>() == 128);
const _: () = assert!(
    core::mem::size_of::<Header>() as u64 <= crate::layout::RINGS_END - crate::layout::RINGS_GPA
);
const _: () = assert!(SLOTS == 64 * 64);

/// Bytes between two free-running indices; `None` if the ring could not hold them,
/// which only a broken or hostile side produces.
#[inline]
pub const fn used(head: u32, tail: u32, size: u32) -> Option<u32> {
    let used = tail.wrapping_sub(head);
    if used <= size { Some(used) } else { None }
}

/// The contiguous piece of a ring of `size` bytes that starts at `index` and holds
/// at most `len` bytes: offset and length.
#[inline]
pub const fn piece(index: u32, len: u32, size: u32) -> (u32, u32) {
    let offset = index & (size - 1);
    let rest = size - offset;
    (offset, if len < rest { len } else { rest })
}
