//! Copies between kernel and user memory that survive bad addresses.

use core::arch::global_asm;

use spore_abi::layout::USER_END;

/// The user memory could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

// The page-fault handler finds rip inside [spore_user_copy, spore_user_copy_end)
// and resumes at `spore_user_copy_fault` when the address cannot be made valid.
global_asm!(
    r#"
    .section .text.spore_user_copy,"ax",@progbits
    .globl spore_user_copy
    .globl spore_user_copy_fault
    .globl spore_user_copy_end
    .p2align 5
spore_user_copy:
    xor eax, eax
    cmp rdx, 64
    ja 5f
    cmp edx, 8
    jb 3f
    mov r8, [rsi + rdx - 8]
    lea r9, [rdx - 8]
    xor ecx, ecx
1:  cmp rcx, r9
    jae 2f
    mov r10, [rsi + rcx]
    mov [rdi + rcx], r10
    add rcx, 8
    jmp 1b
2:  mov [rdi + rdx - 8], r8
    ret
3:  xor ecx, ecx
4:  cmp rcx, rdx
    je 6f
    mov r8b, [rsi + rcx]
    mov [rdi + rcx], r8b
    inc rcx
    jmp 4b
6:  ret
5:  mov rcx, rdx
    rep movsb
    ret
spore_user_copy_fault:
    mov eax, 1
    ret
    // Compare-and-exchange on a user word: rdi = address, esi = old, edx = new,
    // rcx = where to put the value found.
    .globl spore_user_cmpxchg
spore_user_cmpxchg:
    mov eax, esi
    lock cmpxchg [rdi], edx
    mov [rcx], eax
    xor eax, eax
    ret
spore_user_copy_end:
"#
);

unsafe extern "C" {
    fn spore_user_copy(to: u64, from: u64, len: usize) -> u32;
    fn spore_user_cmpxchg(addr: u64, old: u32, new: u32, found: *mut u32) -> u32;
    static spore_user_copy_fault: u8;
    static spore_user_copy_end: u8;
}

fn in_user_range(addr: u64, len: usize) -> bool {
    // On the host, tests stand in for the application with memory of their own.
    addr.checked_add(len as u64)
        .is_some_and(|end| cfg!(feature = "hosted") || end <= USER_END)
}

/// Copies `buffer.len()` bytes from user address `from`.
#[inline]
pub fn copy_in(buffer: &mut [u8], from: u64) -> Result<(), Fault> {
    if !in_user_range(from, buffer.len()) {
        return Err(Fault);
    }
    // SAFETY: the destination is a live exclusive slice; the source lies below the
    // kernel window, and a fault on it ends the copy with 1 instead of trapping.
    match unsafe { spore_user_copy(buffer.as_mut_ptr() as u64, from, buffer.len()) } {
        0 => Ok(()),
        _ => Err(Fault),
    }
}

/// Copies `bytes` to user address `to`.
#[inline]
pub fn copy_out(to: u64, bytes: &[u8]) -> Result<(), Fault> {
    if !in_user_range(to, bytes.len()) {
        return Err(Fault);
    }
    // SAFETY: the source is a live slice; the destination lies below the kernel
    // window (application memory, which the kernel never borrows), and a fault on
    // it ends the copy with 1 instead of trapping.
    match unsafe { spore_user_copy(to, bytes.as_ptr() as u64, bytes.len()) } {
        0 => Ok(()),
        _ => Err(Fault),
    }
}

/// Copies `len` bytes of guest-physical memory (RAM or an image layer) to user memory.
pub fn copy_frames(to: u64, gpa: u64, len: u64) -> Result<(), Fault> {
    crate::direct::check_readable(gpa, len);
    // SAFETY: the range was checked to be mapped; it is only read, byte by byte.
    copy_out(to, unsafe {
        core::slice::from_raw_parts(
            (spore_abi::layout::DIRECT_VA + gpa) as *const u8,
            len as usize,
        )
    })
}

/// Fills `len` bytes of user memory with zero.
pub fn zero(to: u64, len: u64) -> Result<(), Fault> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(ZEROS.len() as u64);
        copy_out(to + done, &ZEROS[..step as usize])?;
        done += step;
    }
    Ok(())
}

/// Atomically replaces the aligned user word at `addr` by `new` if it is `old`;
/// answers what was found.
pub fn compare_exchange(addr: u64, old: u32, new: u32) -> Result<u32, Fault> {
    if !in_user_range(addr, 4) || !addr.is_multiple_of(4) {
        return Err(Fault);
    }
    let mut found = 0;
    // SAFETY: the word lies below the kernel window; a fault ends the call with 1;
    // `found` is a live local.
    match unsafe { spore_user_cmpxchg(addr, old, new, &raw mut found) } {
        0 => Ok(found),
        _ => Err(Fault),
    }
}

/// If `rip` is inside a user-copy routine: where to continue after a fault that
/// cannot be repaired.
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    let start = spore_user_copy as *const () as u64;
    let end = &raw const spore_user_copy_end as u64;
    (start..end)
        .contains(&rip)
        .then_some(&raw const spore_user_copy_fault as u64)
}
