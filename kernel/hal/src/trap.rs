//! Entries into the kernel and exits from it.
//!
//! - `spore_fast_entry` (constant address): patched code jumps here; rcx is the
//!   return address.
//! - `spore_cpuid_entry` (constant address): patched code jumps here instead of
//!   executing `cpuid`; rdx is the return address.
//! - `spore_syscall_entry` (LSTAR): reached by the `syscall` instruction, at CPL3
//!   under software KVM, at CPL0 on hardware, where it bounces to CPL3 at once.
//! - `spore_exception_entry`: the ring-0 gate goes here with any exception.
//! - `spore_upcall_entry`: the monitor redirects an interrupted vCPU here.
//!
//! All of them leave the application's stack at once and touch nothing above
//! `rsp - 128` (red zone, goroutine stacks). They build a [`TrapFrame`], keep
//! xmm0–15 (the prebuilt core library uses SSE; wider parts of the registers are
//! never touched), and call one Rust function, which may replace the frame.

use spore_abi::layout::{DIRECT_VA, GATE_STACK_GPA, PAGE};

use crate::paging;
use crate::user;

/// Registers of the application at a trap, in the order in which the entries push them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "register names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// System-call number, or error code of an exception.
    pub orig: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Code segment selector of applications.
pub const USER_CS: u64 = 0x33;
/// Stack segment selector of applications.
pub const USER_SS: u64 = 0x2b;

/// RFLAGS.TF: every instruction ends in a debug exception.
pub const TRAP_FLAG: u64 = 1 << 8;
/// RFLAGS.NT: `iretq` is refused.
const NESTED_TASK: u64 = 1 << 14;
/// RFLAGS.AC: accesses must be aligned.
const ALIGNMENT_CHECK: u64 = 1 << 18;

/// How to go back to the application.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The system call is done: rcx and r11 may be lost, flags too.
    Call = 0,
    /// Restore every register.
    Full = 1,
}

/// An exception that the application caused.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// Vector number.
    pub vector: u64,
    /// CR2, valid for page faults.
    pub address: u64,
    /// Error code, 0 if the vector has none.
    pub error: u64,
}

/// The kernel proper, as the entries see it. Implemented once, in `spore-kernel`.
pub trait Kernel {
    /// A system call; number in `frame.orig`. `trapped`: it came through the
    /// `syscall` instruction.
    fn system_call(frame: &mut TrapFrame, trapped: bool) -> Return;
    /// An exception in the application.
    fn exception(frame: &mut TrapFrame, exception: Exception);
    /// The monitor wants attention.
    fn upcall(frame: &mut TrapFrame);
    /// A page of user memory was touched by a copy routine and is not there:
    /// make it so and answer true, or answer false for EFAULT.
    fn copy_fault(address: u64, write: bool) -> bool;
    /// First function after the boot stack is set; leaves by [`enter_user`].
    fn start() -> !;
    /// The kernel itself is broken; does not return.
    fn fatal(reason: &str, a: u64, b: u64) -> !;
}

/// Defines the symbols that the entries call. Use exactly once.
#[macro_export]
macro_rules! install_kernel {
    ($kernel:ty) => {
        #[allow(
            unsafe_code,
            reason = "names the entries link to; their only callers are the entries"
        )]
        mod spore_entries {
            use super::*;
            #[unsafe(no_mangle)]
            extern "C" fn spore_system_call(
                frame: &mut $crate::trap::TrapFrame,
                trapped: u64,
            ) -> u64 {
                let how = <$kernel as $crate::trap::Kernel>::system_call(frame, trapped != 0);
                // A program that steps through itself: the quick way back would set its
                // trap flag some instructions before the program goes on.
                how as u64 | (frame.rflags & $crate::trap::TRAP_FLAG)
            }
            #[unsafe(no_mangle)]
            extern "C" fn spore_exception(frame: &mut $crate::trap::TrapFrame) {
                $crate::trap::exception::<$kernel>(frame);
            }
            #[unsafe(no_mangle)]
            extern "C" fn spore_kernel_exception(frame: &mut $crate::trap::TrapFrame) {
                $crate::trap::kernel_exception::<$kernel>(frame);
            }
            #[unsafe(no_mangle)]
            extern "C" fn spore_cpuid(frame: &mut $crate::trap::TrapFrame) {
                $crate::trap::cpuid::<$kernel>(frame);
            }
            #[unsafe(no_mangle)]
            extern "C" fn spore_upcall(frame: &mut $crate::trap::TrapFrame) {
                frame.rip = $crate::host::vcpu()
                    .upcall_rip
                    .load(core::sync::atomic::Ordering::Relaxed);
                <$kernel as $crate::trap::Kernel>::upcall(frame);
            }
            #[unsafe(no_mangle)]
            extern "C" fn spore_start() -> ! {
                <$kernel as $crate::trap::Kernel>::start()
            }
        }
    };
}

/// Words of the gate page's stack, below its top (see `GATE_STACK_GPA`).
pub(crate) const GATE_TOP: u64 = DIRECT_VA + GATE_STACK_GPA + PAGE;

fn gate_exception() -> Exception {
    // SAFETY: the gate has just stored these words on its mapped stack page.
    unsafe {
        Exception {
            error: ((GATE_TOP - 48) as *const u64).read_volatile(),
            address: ((GATE_TOP - 64) as *const u64).read_volatile(),
            vector: ((GATE_TOP - 72) as *const u64).read_volatile(),
        }
    }
}

/// Called by the entry for exceptions in the application.
#[doc(hidden)]
pub fn exception<K: Kernel>(frame: &mut TrapFrame) {
    K::exception(frame, gate_exception());
}

/// Called by the entry that stands for the CPUID instruction. What the monitor wants
/// meanwhile is seen to on the way out, as after a system call.
#[doc(hidden)]
pub fn cpuid<K: Kernel>(frame: &mut TrapFrame) {
    crate::cpu::answer(frame);
    K::upcall(frame);
}

/// Called by the entry for exceptions inside the kernel: only user copies may have any.
#[doc(hidden)]
pub fn kernel_exception<K: Kernel>(frame: &mut TrapFrame) {
    let exception = gate_exception();
    // Patched code jumps here with whatever flags the program had set.
    let flag = match exception.vector {
        1 => TRAP_FLAG,
        13 => NESTED_TASK,
        17 => ALIGNMENT_CHECK,
        _ => 0,
    };
    if frame.rflags & flag != 0 {
        frame.rflags &= !flag;
        return;
    }
    if let Some(target) = user::fixup(frame.rip) {
        let page_fault = exception.vector == 14;
        if !(page_fault && K::copy_fault(exception.address, exception.error & 2 != 0)) {
            frame.rip = target;
        }
        return;
    }
    K::fatal(
        "exception inside the kernel",
        frame.rip,
        exception.vector << 48 | exception.address & 0xffff_ffff_ffff,
    );
}

/// Prepares the vCPU block. Called once at boot.
pub fn initialise() {
    let vcpu = crate::host::vcpu();
    let top = &raw const spore_kernel_stack_top as u64;
    vcpu.this.store(
        core::ptr::from_ref(vcpu) as u64,
        core::sync::atomic::Ordering::Relaxed,
    );
    vcpu.kernel_rsp
        .store(top, core::sync::atomic::Ordering::Relaxed);
}

/// Address of the vDSO's ELF header.
pub fn vdso_address() -> u64 {
    crate::vdso::address()
}

/// Leaves the kernel for the first time, with `frame` as the registers.
pub fn enter_user(frame: &TrapFrame) -> ! {
    // SAFETY: the frame is copied to the kernel stack by the assembly, which then
    // restores it exactly as for a return from a trap; the boot stack is abandoned.
    unsafe { spore_enter_user(frame) }
}

/// Flushes the translations of all user addresses (a trap: use it once per batch).
pub fn flush_translations() {
    // SAFETY: int3 at this very address is recognised by the gate, which reloads CR3
    // and returns; rax is the only register it changes.
    unsafe {
        spore_flush();
    }
}

unsafe extern "C" {
    static spore_kernel_stack_top: u8;
    fn spore_enter_user(frame: *const TrapFrame) -> !;
    fn spore_flush();
}

const _: () = assert!(size_of::<TrapFrame>() == 168);
const _: () = assert!(paging::USER_FLAGS == 0x67);
