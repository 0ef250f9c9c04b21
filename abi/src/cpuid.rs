//! What the CPUID instruction answers, for programs that ask without executing it:
//! it leaves the guest, dozens of times in the start of a C library.

/// Entries that fit.
pub const CAPACITY: usize = 127;

/// At [`crate::layout::CPUID_GPA`]; written by the monitor before the first
/// instruction, never changed. What is not in it, the instruction itself answers:
/// an empty table is a slow one, nothing else.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Number of entries, at most [`CAPACITY`].
    pub count: u32,
    /// Zero.
    pub reserved: [u32; 7],
    /// The entries, in no order; no two fit the same question.
    pub entries: [Entry; CAPACITY],
}

/// One answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Leaf: eax of the question.
    pub leaf: u32,
    /// Sub-leaf: ecx of the question, if `indexed` is 1.
    pub index: u32,
    /// 1: ecx is part of the question; 0: it does not matter.
    pub indexed: u32,
    /// Zero.
    pub reserved: u32,
    /// Registers of the answer.
    pub eax: u32,
    /// See `eax`.
    pub ebx: u32,
    /// See `eax`.
    pub ecx: u32,
    /// See `eax`.
    pub edx: u32,
}

const _: () = assert!(core::mem::size_of::<Table>() == 4096);
