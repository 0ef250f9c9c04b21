//! Unit tests on the host never enter or leave the kernel; the names must exist.

use core::arch::global_asm;

global_asm!(
    ".bss",
    ".p2align 4",
    ".globl spore_xmm, spore_kernel_stack_top",
    "spore_kernel_stack_top:",
    "spore_xmm: .skip 256",
    ".text",
    ".globl spore_enter_user, spore_flush",
    "spore_enter_user:",
    "spore_flush: ret",
);
