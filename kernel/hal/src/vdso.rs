//! The vDSO: a shared object of one page inside the kernel image, written by
//! hand so that no linker is needed. glibc, musl and Go find its functions
//! through AT_SYSINFO_EHDR (vdso(7)); it reads the time page ([`crate::time`]).
//! One PT_LOAD at address 0 and version LINUX_2.6, because glibc's parser of the
//! vDSO supports no more.

use core::arch::global_asm;

use spore_abi::layout::{DIRECT_VA, TIME_GPA};

unsafe extern "C" {
    static spore_vdso_start: u8;
}

/// Address of the ELF header, for AT_SYSINFO_EHDR.
pub fn address() -> u64 {
    &raw const spore_vdso_start as u64
}

/// Length of the vDSO in bytes.
pub const LENGTH: u64 = 4096;

global_asm!(
    r#"
    .section .spore.vdso,"ax",@progbits
    .p2align 12
    .globl spore_vdso_start
spore_vdso_start:
    .set B, spore_vdso_start
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    .short 3, 62
    .long 1
    .quad 0, 64, 0
    .long 0
    .short 64, 56, 2, 64, 0, 0
    // PT_LOAD R+X, PT_DYNAMIC
    .long 1, 5
    .quad 0, 0, 0, 4096, 4096, 4096
    .long 2, 4
    .quad 10f - B, 10f - B, 10f - B, 11f - 10f, 11f - 10f, 8
    .p2align 3
10: // dynamic section
    .quad 4, 20f - B
    .quad 5, 30f - B
    .quad 6, 40f - B
    .quad 10, 31f - 30f
    .quad 11, 24
    .quad 14, 1
    .quad 0x6ffffff0, 50f - B
    .quad 0x6ffffffc, 60f - B
    .quad 0x6ffffffd, 2
    .quad 0, 0
11:
    .p2align 3
20: // DT_HASH with one bucket: symbols 1..5
    .long 1, 6
    .long 1
    .long 0, 2, 3, 4, 5, 0
    .p2align 3
30: // string table
    .byte 0
    .asciz "linux-vdso.so.1"
32: .asciz "__vdso_clock_gettime"
33: .asciz "__vdso_gettimeofday"
34: .asciz "__vdso_time"
35: .asciz "__vdso_getcpu"
36: .asciz "__vdso_clock_getres"
37: .asciz "LINUX_2.6"
31:
    .p2align 3
40: // symbols: global functions, section index 1 (defined)
    .long 0
    .byte 0, 0
    .short 0
    .quad 0, 0
    .long 32b - 30b
    .byte 0x12, 0
    .short 1
    .quad vdso_clock_gettime - B, 256
    .long 33b - 30b
    .byte 0x12, 0
    .short 1
    .quad vdso_gettimeofday - B, 128
    .long 34b - 30b
    .byte 0x12, 0
    .short 1
    .quad vdso_time - B, 64
    .long 35b - 30b
    .byte 0x12, 0
    .short 1
    .quad vdso_getcpu - B, 32
    .long 36b - 30b
    .byte 0x12, 0
    .short 1
    .quad vdso_clock_getres - B, 32
50: // version of each symbol
    .short 0, 2, 2, 2, 2, 2
    .p2align 3
60: // version definitions: base, LINUX_2.6 (hash 0x03ae75f6)
    .short 1, 1, 1, 1
    .long 0x0f77e84e, 20, 28
    .long 30b + 1 - 30b, 0
    .short 1, 0, 2, 1
    .long 0x03ae75f6, 20, 0
    .long 37b - 30b, 0

    // Answers CLOCK_MONOTONIC in rax and CLOCK_REALTIME in rdx, ns. Uses rax, rcx, rdx, r8-r11.
    .p2align 5
vdso_now:
    movabs r8, {time}
1:  mov r9, [r8]
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, [r8 + 8]
    jae 2f
    xor eax, eax
2:  mul qword ptr [r8 + 16]
    shrd rax, rdx, 32
    mov rdx, [r8 + 32]
    mov rcx, [r8 + 24]
    test r9b, 1
    jnz 1b
    cmp r9, [r8]
    jne 1b
    add rdx, rax
    add rax, rcx
    ret

    .p2align 5
vdso_clock_gettime:
    // REALTIME 0, MONOTONIC 1, MONOTONIC_RAW 4, REALTIME_COARSE 5, MONOTONIC_COARSE 6, BOOTTIME 7, TAI 11
    cmp edi, 11
    ja 3f
    mov ecx, 0x8f3
    bt ecx, edi
    jnc 3f
    call vdso_now
    mov ecx, 0x821
    bt ecx, edi
    jnc 1f
    mov rax, rdx
1:  xor edx, edx
    mov ecx, 1000000000
    div rcx
    mov [rsi], rax
    mov [rsi + 8], rdx
    xor eax, eax
    ret
3:  mov eax, 228
    lea rcx, [rip + 4f]
    jmp vdso_call
4:  ret

vdso_call: // a system call without a trap; returns to rcx
    movabs r11, {fast_entry}
    jmp r11

    .p2align 5
vdso_gettimeofday:
    test rsi, rsi
    jz 1f
    mov qword ptr [rsi], 0
1:  test rdi, rdi
    jz 2f
    call vdso_now
    mov rax, rdx
    xor edx, edx
    mov ecx, 1000000000
    div rcx
    mov [rdi], rax
    mov rax, rdx
    xor edx, edx
    mov ecx, 1000
    div rcx
    mov [rdi + 8], rax
2:  xor eax, eax
    ret

    .p2align 5
vdso_time:
    call vdso_now
    mov rax, rdx
    xor edx, edx
    mov ecx, 1000000000
    div rcx
    test rdi, rdi
    jz 1f
    mov [rdi], rax
1:  ret

    .p2align 5
vdso_getcpu:
    xor eax, eax
    test rdi, rdi
    jz 1f
    mov [rdi], eax
1:  test rsi, rsi
    jz 2f
    mov [rsi], eax
2:  ret

    .p2align 5
vdso_clock_getres:
    test rsi, rsi
    jz 1f
    mov qword ptr [rsi], 0
    mov qword ptr [rsi + 8], 1
1:  xor eax, eax
    ret
"#,
    time = const DIRECT_VA + TIME_GPA,
    fast_entry = const spore_abi::layout::FAST_ENTRY_VA,
);
