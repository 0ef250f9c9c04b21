//! Small pieces of processor state.

use core::arch::asm;

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

/// CPUID leaf.
pub fn cpuid(leaf: u32, sub: u32) -> (u32, u32, u32, u32) {
    let result = core::arch::x86_64::__cpuid_count(leaf, sub);
    (result.eax, result.ebx, result.ecx, result.edx)
}
