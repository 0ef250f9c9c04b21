//! The end of a program that crashed: what is known goes to the monitor.

use alloc::boxed::Box;

use spore_abi::hostcall::{CallRecord, CrashRecord, DebugRegisters, ModuleRecord};
use spore_hal::cpu;
use spore_hal::host::ring_memory;
use spore_hal::trap::TrapFrame;

use crate::mm::frames;
use crate::mm::user::{self, UserAddr};
use crate::mm::vma::prot;
use crate::sched::thread::Thread;
use crate::signal::SigInfo;

/// Registers in the order of the debugger.
pub fn registers(thread: &Thread, frame: &TrapFrame) -> DebugRegisters {
    DebugRegisters {
        general: [
            frame.rax, frame.rbx, frame.rcx, frame.rdx, frame.rsi, frame.rdi, frame.rbp, frame.rsp,
            frame.r8, frame.r9, frame.r10, frame.r11, frame.r12, frame.r13, frame.r14, frame.r15,
        ],
        rip: frame.rip,
        rflags: frame.rflags,
        fs_base: cpu::fs_base(),
        tid: thread.tid() as u64,
    }
}

fn modules(record: &mut CrashRecord) {
    crate::mm::for_each_vma(|vma| {
        let name = vma.name();
        let count = record.module_count as usize;
        if vma.prot & prot::EXEC == 0 || name.is_empty() || count >= record.modules.len() {
            return;
        }
        let mut path = [0; 104];
        let len = name.len().min(path.len());
        path[..len].copy_from_slice(&name.as_bytes()[..len]);
        record.modules[count] = ModuleRecord {
            start: vma.start,
            end: vma.end,
            file_offset: vma.offset(),
            path,
        };
        record.module_count += 1;
    });
}

fn walk_stack(record: &mut CrashRecord, frame: &TrapFrame) {
    let mut at = frame.rbp;
    for slot in &mut record.stack {
        let Ok([next, address]) = user::read::<[u64; 2]>(UserAddr::new(at)) else {
            return;
        };
        if address == 0 || next <= at {
            return;
        }
        *slot = address;
        record.stack_count += 1;
        at = next;
    }
}

/// Ends the process by the signal in `info`, with a report for the monitor.
pub fn end_with_report(thread: &'static Thread, frame: &TrapFrame, info: &SigInfo) -> ! {
    let (calls, call_count) = crate::stats::last_calls();
    let mut record = Box::new(CrashRecord {
        signal: info.signal,
        code: info.code,
        address: info.value0,
        registers: registers(thread, frame),
        tid: thread.tid() as u32,
        call_count,
        calls: [CallRecord::default(); 16],
        module_count: 0,
        stack_count: 0,
        modules: [ModuleRecord {
            start: 0,
            end: 0,
            file_offset: 0,
            path: [0; 104],
        }; 32],
        stack: [0; 16],
    });
    record.calls = calls;
    modules(&mut record);
    walk_stack(&mut record, frame);
    let len = size_of::<CrashRecord>();
    match frames::alloc_run(len.div_ceil(4096) as u64) {
        Ok(gpa) => {
            ring_memory::write_record(gpa, &*record);
            crate::syscall::process::end_by_crash(info.signal, gpa)
        }
        Err(_) => crate::syscall::process::end_by_signal(info.signal),
    }
}
