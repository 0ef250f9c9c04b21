//! What the entries call: system calls, exceptions, upcalls.

use core::sync::atomic::{AtomicBool, Ordering};

use spore_hal::trap::{Exception, Kernel, Return, TrapFrame};

use crate::mm::fault::Refused;
use crate::sched;
use crate::signal::{self, SigInfo, code, number};

/// The kernel as the hardware layer sees it.
pub struct LibraryOs;

#[cfg(not(test))]
spore_hal::install_kernel!(crate::traps::LibraryOs);

impl Kernel for LibraryOs {
    fn system_call(frame: &mut TrapFrame, trapped: bool) -> Return {
        crate::syscall::handle(frame, trapped)
    }

    fn exception(frame: &mut TrapFrame, exception: Exception) {
        handle_exception(frame, exception);
        sched::leave_after_exception(frame);
    }

    fn upcall(frame: &mut TrapFrame) {
        sched::leave(frame);
    }

    fn copy_fault(address: u64, write: bool) -> bool {
        let process = sched::current().process();
        // A handler that copies while it changes the memory map gets EFAULT.
        let Some(mut space) = process.memory.try_lock() else {
            return false;
        };
        space.fault(address, write, false).is_ok()
    }

    fn start() -> ! {
        crate::boot::start()
    }

    fn fatal(reason: &str, a: u64, b: u64) -> ! {
        crate::panic::fatal(&alloc::format!("{reason}: {a:#x} {b:#x}"))
    }
}

/// Exception vectors (Intel SDM volume 3, table 6-1).
mod vector {
    pub const DIVIDE: u64 = 0;
    pub const DEBUG: u64 = 1;
    pub const BREAKPOINT: u64 = 3;
    pub const OVERFLOW: u64 = 4;
    pub const INVALID_OPCODE: u64 = 6;
    pub const PAGE_FAULT: u64 = 14;
    pub const FLOATING_POINT: u64 = 16;
    pub const ALIGNMENT: u64 = 17;
    pub const SIMD: u64 = 19;
}

fn handle_exception(frame: &mut TrapFrame, exception: Exception) {
    let thread = sched::current();
    let info = match exception.vector {
        vector::PAGE_FAULT => match page_fault(&exception) {
            Ok(()) => return,
            Err(info) => info,
        },
        vector::BREAKPOINT | vector::DEBUG => match crate::debug::debugger() {
            Some(debugger) => match debugger.stop(number::TRAP, frame) {
                0 | number::TRAP => return,
                other => SigInfo::from_process(other, code::USER, 0),
            },
            None if exception.vector == vector::DEBUG => {
                SigInfo::fault(number::TRAP, code::TRAP_TRACE, frame.rip)
            }
            None => SigInfo::fault(number::TRAP, code::KERNEL, 0),
        },
        vector::DIVIDE => SigInfo::fault(number::FPE, code::FPE_INTDIV, frame.rip),
        vector::FLOATING_POINT | vector::SIMD => {
            SigInfo::fault(number::FPE, code::FPE_FLTINV, frame.rip)
        }
        vector::INVALID_OPCODE => SigInfo::fault(number::ILL, code::ILL_ILLOPN, frame.rip),
        vector::ALIGNMENT => SigInfo::fault(number::BUS, code::BUS_ADRALN, 0),
        vector::OVERFLOW => SigInfo::fault(number::SEGV, code::KERNEL, 0),
        // General protection, stack segment and the rest: non-canonical addresses, privileged instructions.
        _ => SigInfo::fault(number::SEGV, code::KERNEL, 0),
    };
    let trap = matches!(exception.vector, vector::BREAKPOINT | vector::DEBUG);
    if let Some(debugger) = crate::debug::debugger()
        && !trap
    {
        match debugger.stop(info.signal, frame) {
            0 => return,
            same if same == info.signal => {}
            other => {
                return signal::send_to_thread(thread, SigInfo::from_process(other, code::USER, 0));
            }
        }
    }
    signal::send_fault(thread, info);
}

/// Whether the user knows that no memory is left.
static MEMORY_REPORTED: AtomicBool = AtomicBool::new(false);

fn page_fault(exception: &Exception) -> Result<(), SigInfo> {
    const WRITE: u64 = 2;
    const FETCH: u64 = 16;
    let process = sched::current().process();
    let result = process.memory.lock().fault(
        exception.address,
        exception.error & WRITE != 0,
        exception.error & FETCH != 0,
    );
    result.map_err(|refused| {
        let (signal, code) = match refused {
            Refused::NotMapped => (number::SEGV, code::SEGV_MAPERR),
            Refused::NotAllowed => (number::SEGV, code::SEGV_ACCERR),
            Refused::BeyondFile => (number::BUS, code::BUS_ADRERR),
            Refused::NoMemory => {
                // Every thread may come by here before the signal ends them all.
                if !MEMORY_REPORTED.swap(true, Ordering::Relaxed) {
                    crate::log!(
                        "error[SPORE_GUEST_MEMORY]: the guest's memory is used up — give it more with `--memory`"
                    );
                }
                (number::KILL, code::KERNEL)
            }
        };
        let mut info = SigInfo::fault(signal, code, exception.address);
        info.errno = exception.error as i32;
        info
    })
}
