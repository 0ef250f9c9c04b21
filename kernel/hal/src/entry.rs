//! The assembly of the entries, the exits and the ring-0 gate. See [`crate::trap`].

use core::arch::global_asm;
use core::mem::offset_of;

use spore_abi::layout::DIRECT_VA;
use spore_abi::vcpu::VcpuBlock;

use crate::trap::GATE_TOP;

// Offsets into the vCPU block, relative to GS.
const USER_RSP: usize = offset_of!(VcpuBlock, user_rsp);
const KERNEL_RSP: usize = offset_of!(VcpuBlock, kernel_rsp);
const SAVED_RCX: usize = offset_of!(VcpuBlock, saved_rcx);
const SAVED_R11: usize = offset_of!(VcpuBlock, saved_r11);
const SCRATCH: usize = offset_of!(VcpuBlock, scratch);

global_asm!(
    r#"
    // ---- header page: offset 0 is KernelHeader, 0x100 the fast entry, 0x140 that of cpuid ----
    .section .spore.header,"ax",@progbits
    .globl spore_header
spore_header:
    .quad {magic}
    .long {version}
    .long 0
    .quad spore_boot
    .quad spore_syscall_entry
    .quad spore_exception_entry
    .quad spore_exception_stack_top
    .quad spore_upcall_entry
    .quad spore_boot_stack_top
    .quad spore_gate
    .quad spore_text_start
    .quad spore_text_end
    .quad spore_image_end
    .org 0x100
    .globl spore_fast_entry
spore_fast_entry:
    mov r11d, 0x202
    jmp spore_fast_call
    .org 0x140
    .globl spore_cpuid_entry
spore_cpuid_entry:
    jmp spore_cpuid_call

    .section .spore.entry,"ax",@progbits
    .macro push_frame
    // The kernel stack top is ≡ 8 (mod 16), so that the frame of 168 bytes ends aligned.
    mov gs:[{user_rsp}], rsp
    mov rsp, gs:[{kernel_rsp}]
    push 0x2b
    push gs:[{user_rsp}]
    .endm
    .macro push_registers
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    .endm
    .macro pop_registers
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    .endm
    .macro save_xmm
    movaps [rip + spore_xmm + 0x00], xmm0
    movaps [rip + spore_xmm + 0x10], xmm1
    movaps [rip + spore_xmm + 0x20], xmm2
    movaps [rip + spore_xmm + 0x30], xmm3
    movaps [rip + spore_xmm + 0x40], xmm4
    movaps [rip + spore_xmm + 0x50], xmm5
    movaps [rip + spore_xmm + 0x60], xmm6
    movaps [rip + spore_xmm + 0x70], xmm7
    movaps [rip + spore_xmm + 0x80], xmm8
    movaps [rip + spore_xmm + 0x90], xmm9
    movaps [rip + spore_xmm + 0xa0], xmm10
    movaps [rip + spore_xmm + 0xb0], xmm11
    movaps [rip + spore_xmm + 0xc0], xmm12
    movaps [rip + spore_xmm + 0xd0], xmm13
    movaps [rip + spore_xmm + 0xe0], xmm14
    movaps [rip + spore_xmm + 0xf0], xmm15
    .endm
    .macro load_xmm
    movaps xmm0, [rip + spore_xmm + 0x00]
    movaps xmm1, [rip + spore_xmm + 0x10]
    movaps xmm2, [rip + spore_xmm + 0x20]
    movaps xmm3, [rip + spore_xmm + 0x30]
    movaps xmm4, [rip + spore_xmm + 0x40]
    movaps xmm5, [rip + spore_xmm + 0x50]
    movaps xmm6, [rip + spore_xmm + 0x60]
    movaps xmm7, [rip + spore_xmm + 0x70]
    movaps xmm8, [rip + spore_xmm + 0x80]
    movaps xmm9, [rip + spore_xmm + 0x90]
    movaps xmm10, [rip + spore_xmm + 0xa0]
    movaps xmm11, [rip + spore_xmm + 0xb0]
    movaps xmm12, [rip + spore_xmm + 0xc0]
    movaps xmm13, [rip + spore_xmm + 0xd0]
    movaps xmm14, [rip + spore_xmm + 0xe0]
    movaps xmm15, [rip + spore_xmm + 0xf0]
    .endm

    .globl spore_boot
spore_boot:
    lea rsp, [rip + spore_boot_stack_top]
    xor ebp, ebp
    call spore_start
    ud2

    .p2align 6
    .globl spore_syscall_entry
spore_syscall_entry:
    mov gs:[{saved_rcx}], rcx
    mov ecx, cs
    test cl, 3
    jz 2f
1:  mov rcx, gs:[{saved_rcx}]
    push_frame
    push r11
    push 0x33
    push rcx
    push rax
    push_registers
    save_xmm
    cld
    mov rdi, rsp
    mov esi, 1
    call spore_system_call
    load_xmm
    test eax, eax
    jnz spore_full_return
    pop_registers
    mov rcx, [rsp + 8]
    mov r11, [rsp + 24]
    push r11
    popfq
    mov rsp, [rsp + 32]
    jmp rcx
2:  // CPL0, hardware virtualisation: go down to CPL3, everything else unchanged.
    mov gs:[{saved_r11}], r11
    lea rcx, [rip + 3f]
    mov r11d, 0x2
    sysretq
3:  mov r11, gs:[{saved_r11}]
    jmp 1b

    .p2align 6
spore_fast_call:
    push_frame
    push r11
    push 0x33
    push rcx
    push rax
    push_registers
    save_xmm
    cld
    mov rdi, rsp
    xor esi, esi
    call spore_system_call
    load_xmm
    test eax, eax
    jnz spore_full_return
    pop_registers
    mov rcx, [rsp + 8]
    mov rsp, [rsp + 32]
    jmp rcx

    // As cpuid does, it changes four registers and no flag, and `iretq` makes the
    // processor wait for everything before it.
    .p2align 4
spore_cpuid_call:
    push_frame
    pushfq
    push 0x33
    push rdx
    push rax
    push_registers
    save_xmm
    cld
    mov rdi, rsp
    call spore_cpuid
    load_xmm
    jmp spore_full_return

    .globl spore_full_return
spore_full_return:
    pop_registers
    add rsp, 8
    iretq

    .p2align 4
    .globl spore_upcall_entry
spore_upcall_entry:
    push_frame
    pushfq
    push 0x33
    push 0
    push rax
    push_registers
    save_xmm
    cld
    mov rdi, rsp
    call spore_upcall
    load_xmm
    jmp spore_full_return

    .p2align 4
    .globl spore_exception_entry
spore_exception_entry:
    // rsp = scratch stack, rax saved by the gate, all other registers are the program's.
    mov gs:[{scratch}], rcx
    movabs rax, {gate_top} - 40
    mov rax, [rax]
    lea rcx, [rip + spore_text_start]
    cmp rax, rcx
    jb 1f
    lea rcx, [rip + spore_text_end]
    cmp rax, rcx
    jae 1f
    // Inside the kernel: below its red zone.
    movabs rax, {gate_top} - 16
    mov rsp, [rax]
    sub rsp, 512
    and rsp, -16
    sub rsp, 8
    lea rcx, [rip + spore_kernel_exception]
    jmp 2f
1:  mov rsp, gs:[{kernel_rsp}]
    lea rcx, [rip + spore_exception]
2:  mov gs:[{scratch} + 8], rcx
    mov rcx, gs:[{scratch}]
    movabs rax, {gate_top} - 72
    push [rax + 64]
    push [rax + 56]
    push [rax + 48]
    push [rax + 40]
    push [rax + 32]
    push [rax + 24]
    push rdi
    push rsi
    push rdx
    push rcx
    push [rax + 16]
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    cld
    mov rax, gs:[{scratch} + 8]
    lea rcx, [rip + spore_exception]
    cmp rax, rcx
    jne 3f
    save_xmm
    call rax
    load_xmm
    jmp spore_full_return
3:  call rax
    jmp spore_full_return

    .globl spore_enter_user
spore_enter_user:
    mov rsi, rdi
    mov rsp, gs:[{kernel_rsp}]
    sub rsp, 168
    mov rdi, rsp
    mov ecx, 21
    cld
    rep movsq
    load_xmm
    jmp spore_full_return

    .globl spore_flush
    .globl spore_flush_return
    .p2align 4
spore_flush:
    int3
spore_flush_return:
    ret

    // ---- the ring-0 gate: one page, mapped again at GATE_VA as supervisor code ----
    .section .spore.gate,"ax",@progbits
    .p2align 12
    .globl spore_gate
spore_gate:
    .set vector, 0
    .rept 32
    .p2align 6
    .if vector == 3
    // int3: flush if it is ours, else an exception like any other.
    push rax
    movabs rax, offset spore_flush_return
    cmp [rsp + 8], rax
    jne 1f
    mov rax, cr3
    mov cr3, rax
    pop rax
    iretq
1:  pop rax
    jmp spore_gate_bp
    .else
    .if (vector == 8) || (vector == 10) || (vector == 11) || (vector == 12) || (vector == 13) || (vector == 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push 0
    .endif
    push rax
    mov rax, cr2
    push rax
    push vector
    movabs rsp, {gate_frame}
    iretq
    .endif
    .set vector, vector + 1
    .endr
    .p2align 6
spore_gate_bp:
    push 0
    push rax
    mov rax, cr2
    push rax
    push 3
    movabs rsp, {gate_frame}
    iretq
    // What else the linker puts into the frame is read-only too.

    .section .bss.spore_stacks,"aw",@nobits
    .p2align 12
    .skip 4096
    .globl spore_exception_stack_top
spore_exception_stack_top:
    .skip 65536
    .globl spore_boot_stack_top
spore_boot_stack_top:
    .skip 131072
    .globl spore_kernel_stack_pad
spore_kernel_stack_pad:
    .skip 8
    .globl spore_kernel_stack_top
spore_kernel_stack_top:
    .skip 8
    .p2align 6
    .globl spore_xmm
spore_xmm:
    .skip 256
"#,
    magic = const spore_abi::boot::KERNEL_MAGIC,
    version = const spore_abi::ABI_VERSION,
    user_rsp = const USER_RSP,
    kernel_rsp = const KERNEL_RSP,
    saved_rcx = const SAVED_RCX,
    saved_r11 = const SAVED_R11,
    scratch = const SCRATCH,
    gate_top = const GATE_TOP,
    gate_frame = const DIRECT_VA + spore_abi::layout::GATE_FRAME_GPA,
);
