//! Small pieces of processor state.

use core::arch::asm;
use core::sync::atomic::{AtomicPtr, Ordering};

use spore_abi::cpuid::{CAPACITY, Entry, Table};
use spore_abi::layout::{CPUID_GPA, DIRECT_VA};

use crate::trap::TrapFrame;

/// Base of the FS segment: the application's thread pointer.
#[inline]
pub fn fs_base() -> u64 {
    let value: u64;
    // SAFETY: CR4.FSGSBASE is set by the monitor; reading has no effect.
    unsafe { asm!("rdfsbase {}", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Sets the base of the FS segment; the kernel itself never uses FS.
#[inline]
pub fn set_fs_base(value: u64) {
    if value < spore_abi::layout::USER_END {
        // SAFETY: as for `fs_base`; non-canonical values, which would fault, are kept out.
        unsafe { asm!("wrfsbase {}", in(reg) value, options(nostack, preserves_flags)) }
    }
}

/// The monitor's table of answers; null until [`use_answers`].
static ANSWERS: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());

/// Answers [`cpuid`] from the monitor's table from now on. Called once at boot.
pub fn use_answers() {
    ANSWERS.store((DIRECT_VA + CPUID_GPA) as *mut Table, Ordering::Relaxed);
}

/// What the CPUID instruction says: eax, ebx, ecx, edx. It leaves the guest where
/// the table has no answer.
pub fn cpuid(leaf: u32, sub: u32) -> (u32, u32, u32, u32) {
    if let Some(entry) = known_answer(leaf, sub) {
        return (entry.eax, entry.ebx, entry.ecx, entry.edx);
    }
    let result = core::arch::x86_64::__cpuid_count(leaf, sub);
    (result.eax, result.ebx, result.ecx, result.edx)
}

fn known_answer(leaf: u32, sub: u32) -> Option<Entry> {
    let table = ANSWERS.load(Ordering::Relaxed).cast_const();
    if table.is_null() {
        return None;
    }
    // SAFETY: not null means that it is the table's page in the direct map, mapped for
    // the life of the VM. A program may write there: raw reads of numbers claim nothing.
    let count = unsafe { (&raw const (*table).count).read_volatile() } as usize;
    (0..count.min(CAPACITY))
        // SAFETY: as above; the index is below the capacity.
        .map(|index| unsafe { (&raw const (*table).entries[index]).read_volatile() })
        .find(|entry| entry.leaf == leaf && (entry.indexed == 0 || entry.index == sub))
}

/// Does to the registers of a program what the instruction would do.
pub(crate) fn answer(frame: &mut TrapFrame) {
    let (eax, ebx, ecx, edx) = cpuid(frame.rax as u32, frame.rcx as u32);
    frame.rax = eax.into();
    frame.rbx = ebx.into();
    frame.rcx = ecx.into();
    frame.rdx = edx.into();
}
