//! What a restored guest is told before anything else of it runs.
//!
//! The monitor asks for a freeze with [`crate::vcpu::attention::FREEZE`]. The
//! kernel comes to rest (every thread is data) and makes the host call
//! [`crate::hostcall::number::FROZEN`], with a buffer. In the same machine the
//! call answers 0 and nothing has changed. In a machine made from a copy of
//! that memory it answers the generation, and the buffer holds a
//! [`RestoreRecord`]; the time page is right, the rings are as
//! [`crate::net`] says for a fresh start except that slots, indices and stock
//! go on where they were: listeners are served again, and connections that did
//! not survive have ended with an error.

use crate::boot::Span;

/// Bytes of the buffer that the kernel offers.
pub const BUFFER: u64 = 256 << 10;
/// "SPORERES", little endian.
pub const RESTORE_MAGIC: u64 = u64::from_le_bytes(*b"SPORERES");

/// First bytes of the buffer; spans count from its start.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RestoreRecord {
    /// [`RESTORE_MAGIC`].
    pub magic: u64,
    /// How many freezes lie between the boot and this machine.
    pub generation: u64,
    /// Nanoseconds between freeze and restore, by the wall clock.
    pub slept_ns: u64,
    /// New randomness, of this machine alone.
    pub seed: [u8; 32],
    /// New boot id.
    pub boot_id: [u8; 16],
    /// Bits of [`crate::boot::option`].
    pub options: u32,
    /// Process id that getpid answers from now on.
    pub pid: u32,
    /// What the standard streams are now, see [`crate::boot::StreamKind`].
    pub streams: [u32; 3],
    /// Zero.
    pub reserved: u32,
    /// Host name (no NUL); empty: as before.
    pub hostname: Span,
    /// Environment that was given for this machine: `KEY=VALUE`, each ended by NUL.
    pub env: Span,
    /// Name of this machine (no NUL).
    pub instance: Span,
}

const _: () = assert!(core::mem::size_of::<RestoreRecord>() == 120);
