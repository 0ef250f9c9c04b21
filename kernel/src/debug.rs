//! Stops for a debugger: breakpoints and steps of the program are reported to
//! the monitor, which serves the gdb protocol.

use core::sync::atomic::{AtomicBool, Ordering};

use spore_abi::boot::option;
use spore_abi::hostcall::{DebugRegisters, number};
use spore_hal::trap::TrapFrame;
use spore_hal::{cpu, host};

use crate::sched;
use crate::signal::crash::registers;

static ATTACHED: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether a debugger is attached.
pub fn attached() -> bool {
    ATTACHED.load(Ordering::Relaxed)
}

/// Reports the first stop if the launch asked for it.
pub fn initialise(options: u32, frame: &mut TrapFrame) {
    ATTACHED.store(options & option::DEBUGGER != 0, Ordering::Relaxed);
    if options & option::DEBUG_STOP != 0 {
        stop(crate::signal::number::TRAP, frame);
    }
}

/// Gives the registers to the debugger and takes them back as it leaves them.
/// Answers the signal that the program is to get, 0 for none.
pub fn stop(signal: u32, frame: &mut TrapFrame) -> u32 {
    let thread = sched::current();
    let mut block = registers(thread, frame);
    let answer = host::call_with(number::DEBUG_STOP, u64::from(signal), &mut block);
    apply(&block, frame);
    u32::try_from(answer).unwrap_or(0)
}

/// The debugger asked for a stop (Ctrl-C in gdb); done at the next way out of the kernel.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Stops if the debugger asked for it; `frame` is that of the loaded thread.
pub fn stop_if_requested(frame: &mut TrapFrame) {
    if REQUESTED.swap(false, Ordering::Relaxed) {
        send(stop(crate::signal::number::TRAP, frame));
    }
}

fn send(signal: u32) {
    if signal != 0 && signal != crate::signal::number::TRAP {
        crate::signal::send_to_current(signal);
    }
}

fn apply(block: &DebugRegisters, frame: &mut TrapFrame) {
    [
        frame.rax, frame.rbx, frame.rcx, frame.rdx, frame.rsi, frame.rdi, frame.rbp, frame.rsp,
        frame.r8, frame.r9, frame.r10, frame.r11, frame.r12, frame.r13, frame.r14, frame.r15,
    ] = block.general;
    frame.rip = block.rip;
    frame.rflags = block.rflags;
    cpu::set_fs_base(block.fs_base);
}
