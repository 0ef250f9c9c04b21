//! The per-vCPU block: GS base of the kernel and the mailbox of the monitor.
//!
//! ## Upcalls
//! The monitor never injects interrupts. To get the kernel's attention it sets
//! bits in [`VcpuBlock::attention`], kicks the vCPU out of KVM_RUN, and, if
//! - rip lies outside the kernel's text and outside the gate page, and
//! - `upcall_ok` is 1,
//!
//! clears `upcall_ok`, stores rip in `upcall_rip` and sets rip to the kernel's
//! upcall entry, all other registers untouched. Otherwise it just lets the vCPU
//! go on: the kernel looks at `attention` before it returns to the program. If
//! the bits are still set at the next tick (1 ms), the monitor tries again.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// At [`crate::layout::VCPU_GPA`]; the rest of the page belongs to the kernel.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct VcpuBlock {
    // -- line 0 and 1: kernel only; offsets are used by the entry assembly --
    /// Direct-map address of this block (so that `mov %gs:0, reg` finds it).
    pub this: AtomicU64,
    /// User stack pointer while in the kernel.
    pub user_rsp: AtomicU64,
    /// Top of the kernel stack.
    pub kernel_rsp: AtomicU64,
    /// rcx saved by the CPL0 half of the system-call entry.
    pub saved_rcx: AtomicU64,
    /// r11 saved by the CPL0 half of the system-call entry.
    pub saved_r11: AtomicU64,
    /// Kernel scratch.
    pub scratch: [AtomicU64; 11],
    // -- line 2: written by the monitor --
    /// Bits of [`attention`], set by the monitor, cleared by the kernel.
    pub attention: AtomicU32,
    /// Pad.
    pub reserved0: AtomicU32,
    /// Signals for the program: bit n-1 is signal n; set by the monitor, taken by the kernel.
    pub signals: AtomicU64,
    /// rip that an upcall interrupted.
    pub upcall_rip: AtomicU64,
    /// How long the program may take to get ready for a freeze, ns.
    pub freeze_patience: AtomicU64,
    /// Pad to the line.
    pub reserved1: [AtomicU64; 4],
    // -- line 3: written by the kernel --
    /// 1: the monitor may redirect to the upcall entry.
    pub upcall_ok: AtomicU32,
    /// 1: more than one thread can run, ticks are wanted.
    pub tick_wanted: AtomicU32,
    /// CLOCK_MONOTONIC ns of the earliest timer, u64::MAX if none. The monitor
    /// sends [`attention::TIMER`] once it has passed while the vCPU is busy.
    pub next_deadline: AtomicU64,
    /// Pad to the line.
    pub reserved2: [AtomicU64; 6],
}

/// Bits of [`VcpuBlock::attention`].
pub mod attention {
    /// Time slice over: let another thread run.
    pub const TICK: u32 = 1;
    /// `signals` is not empty.
    pub const SIGNAL: u32 = 2;
    /// `next_deadline` has passed.
    pub const TIMER: u32 = 4;
    /// The debugger wants the vCPU to stop.
    pub const DEBUG: u32 = 8;
    /// Rings have news (the I/O thread published while the guest was busy).
    pub const RINGS: u32 = 16;
    /// Come to rest and say so ([`crate::restore`]).
    pub const FREEZE: u32 = 32;
}

const _: () = assert!(core::mem::offset_of!(VcpuBlock, attention) == 128);
const _: () = assert!(core::mem::offset_of!(VcpuBlock, upcall_ok) == 192);
