//! Stops for a debugger: breakpoints and steps of the program are reported to
//! the monitor, which serves the gdb protocol.

use core::sync::atomic::{AtomicBool, Ordering};

use spore_abi::boot::{BootInfo, option};
use spore_abi::hostcall::{DebugRegisters, number};
use spore_hal::trap::TrapFrame;
use spore_hal::{cpu, direct, host};

use crate::debug::{DEBUGGER, Debugger};
use crate::sched;
use crate::signal::crash::registers;
use crate::signal::number::TRAP;

static REQUESTED: AtomicBool = AtomicBool::new(false);

struct Monitor;

/// Lets the monitor's debugger in if the launch asked for it.
pub fn initialise(info: &BootInfo) {
    if info.options & option::DEBUGGER != 0 {
        DEBUGGER.set(&Monitor);
    }
}

impl Debugger for Monitor {
    fn begin(&self, frame: &mut TrapFrame) {
        if direct::boot_info().options & option::DEBUG_STOP != 0 {
            self.stop(TRAP, frame);
        }
    }

    fn stop(&self, signal: u32, frame: &mut TrapFrame) -> u32 {
        let mut block = registers(sched::current(), frame);
        let answer = host::call_with(number::DEBUG_STOP, u64::from(signal), &mut block);
        apply(&block, frame);
        u32::try_from(answer).unwrap_or(0)
    }

    fn request(&self) {
        REQUESTED.store(true, Ordering::Relaxed);
    }

    fn stop_if_requested(&self, frame: &mut TrapFrame) {
        if REQUESTED.swap(false, Ordering::Relaxed) {
            let signal = self.stop(TRAP, frame);
            if signal != 0 && signal != TRAP {
                crate::signal::send_to_current(signal);
            }
        }
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
