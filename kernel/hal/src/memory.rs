//! memcpy and friends: the target has no libc to bring them.

use core::arch::global_asm;

// Small sizes move with a few overlapping loads and stores; large ones with
// `rep movsb`, which the processor does in cache lines (ERMS, FSRM).
// Functions that copy to or from user memory live in `user.rs`.
global_asm!(
    r#"
    .section .text.memcpy,"ax",@progbits
    .globl memcpy
    .globl memmove
    .type memcpy,@function
    .p2align 5
memcpy:
    mov rax, rdi
    cmp rdx, 16
    jb 2f
    cmp rdx, 32
    ja 1f
    movups xmm0, [rsi]
    movups xmm1, [rsi + rdx - 16]
    movups [rdi], xmm0
    movups [rdi + rdx - 16], xmm1
    ret
1:  cmp rdx, 256
    ja 5f
    movups xmm1, [rsi + rdx - 16]
    lea r8, [rdi + rdx - 16]
4:  movups xmm0, [rsi]
    movups [rdi], xmm0
    add rsi, 16
    add rdi, 16
    cmp rdi, r8
    jb 4b
    movups [r8], xmm1
    ret
5:  mov rcx, rdx
    rep movsb
    ret
2:  cmp edx, 8
    jb 3f
    mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
3:  cmp edx, 4
    jb 6f
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
6:  test edx, edx
    jz 7f
    movzx ecx, byte ptr [rsi]
    movzx r8d, byte ptr [rsi + rdx - 1]
    cmp edx, 3
    jne 8f
    movzx r9d, byte ptr [rsi + 1]
    mov [rdi + 1], r9b
8:  mov [rdi], cl
    mov [rdi + rdx - 1], r8b
7:  ret

    .type memmove,@function
    .p2align 5
memmove:
    mov rax, rdi
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jae memmove_forward
    mov rcx, rdx
    lea rsi, [rsi + rdx - 1]
    lea rdi, [rdi + rdx - 1]
    std
    rep movsb
    cld
    ret
memmove_forward:
    mov rcx, rdx
    rep movsb
    ret

    .section .text.memset,"ax",@progbits
    .globl memset
    .type memset,@function
    .p2align 5
memset:
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret

    .section .text.memcmp,"ax",@progbits
    .globl memcmp
    .globl bcmp
    .type memcmp,@function
    .p2align 5
memcmp:
bcmp:
    xor eax, eax
    xor ecx, ecx
1:  cmp rcx, rdx
    je 2f
    movzx eax, byte ptr [rdi + rcx]
    movzx r8d, byte ptr [rsi + rcx]
    inc rcx
    sub eax, r8d
    je 1b
2:  ret

    .section .text.strlen,"ax",@progbits
    .globl strlen
strlen:
    xor eax, eax
1:  cmp byte ptr [rdi + rax], 0
    je 2f
    inc rax
    jmp 1b
2:  ret
"#
);

// The prebuilt core and alloc libraries name the unwinder. Panics abort here, so
// nothing ever calls it.
global_asm!(
    ".section .text.unwind_absent,\"ax\",@progbits",
    ".globl rust_eh_personality, _Unwind_Resume",
    "rust_eh_personality:",
    "_Unwind_Resume:",
    "ud2",
);
