//! The time page: what the vDSO and the kernel need to read a clock without
//! leaving the guest.

use core::sync::atomic::AtomicU64;

/// At [`crate::layout::TIME_GPA`]. `ns = base + ((tsc - tsc_base) * mult >> 32)`.
/// The monitor makes `sequence` odd while it changes the page (seqlock).
#[repr(C)]
#[derive(Debug)]
pub struct TimePage {
    /// Even: stable. Odd: being written.
    pub sequence: AtomicU64,
    /// TSC value at which the bases hold.
    pub tsc_base: AtomicU64,
    /// Nanoseconds per tick, 32.32 fixed point.
    pub mult: AtomicU64,
    /// CLOCK_MONOTONIC at `tsc_base`, in ns.
    pub monotonic_base: AtomicU64,
    /// CLOCK_REALTIME at `tsc_base`, in ns since the epoch.
    pub realtime_base: AtomicU64,
}
