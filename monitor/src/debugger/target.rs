//! The guest as gdb sees it: the registers of the stopped thread, memory through
//! the guest's page tables, software breakpoints.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::Arc;

use gdbstub::common::{Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::auxv::{Auxv, AuxvOps};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, SwBreakpoint, SwBreakpointOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use spore_abi::hostcall::DebugRegisters;
use spore_abi::layout::PML4_GPA;

use super::thread_id;
use crate::config::Program;
use crate::memory::{GuestMemory, OutOfRange};
use crate::pagetable::translate;

/// `int3`
const BREAKPOINT: u8 = 0xcc;
/// Trap flag: stop after one instruction.
const TRAP_FLAG: u64 = 1 << 8;
/// Flags that a debugger may change: the arithmetic ones and the direction.
const USER_FLAGS: u64 = 0xcd5;

/// What gdb works on.
pub struct GuestTarget {
    memory: Arc<GuestMemory>,
    auxv: Vec<u8>,
    registers: DebugRegisters,
    stepping: bool,
    deliver: u32,
    /// Address and the byte that the breakpoint covers.
    breakpoints: BTreeMap<u64, u8>,
    /// The debugger's connection, -1 before the first one.
    pub connection: RawFd,
}

impl GuestTarget {
    /// A guest that has not stopped yet.
    pub fn new(memory: Arc<GuestMemory>, program: &Program) -> Self {
        Self {
            memory,
            auxv: auxv(program),
            registers: DebugRegisters::default(),
            stepping: false,
            deliver: 0,
            breakpoints: BTreeMap::new(),
            connection: -1,
        }
    }

    /// The guest has stopped; says how gdb is told.
    pub fn stopped(
        &mut self,
        registers: DebugRegisters,
        signal: u32,
    ) -> MultiThreadStopReason<u64> {
        self.registers = registers;
        self.deliver = match signal as i32 {
            libc::SIGTRAP => 0,
            _ => signal,
        };
        let tid = self.thread();
        let stepped = std::mem::take(&mut self.stepping);
        self.registers.rflags &= !TRAP_FLAG;
        if signal != libc::SIGTRAP as u32 {
            return MultiThreadStopReason::SignalWithThread {
                tid,
                signal: gdb_signal(signal),
            };
        }
        let before = registers.rip.wrapping_sub(1);
        if stepped {
            MultiThreadStopReason::DoneStep
        } else if self.breakpoints.contains_key(&before) {
            self.registers.rip = before;
            MultiThreadStopReason::SwBreak(tid)
        } else {
            MultiThreadStopReason::SignalWithThread {
                tid,
                signal: Signal::SIGTRAP,
            }
        }
    }

    /// Registers with which the guest goes on, and the signal it gets (or 0).
    pub fn resumed(&mut self) -> (DebugRegisters, u32) {
        if self.stepping {
            self.registers.rflags |= TRAP_FLAG;
        }
        (self.registers, std::mem::take(&mut self.deliver))
    }

    /// The debugger is gone: the program gets what it would have got without one.
    pub fn detach(&mut self) {
        self.stepping = false;
        for (at, byte) in std::mem::take(&mut self.breakpoints) {
            let _ = self.write_memory(at, &[byte]);
        }
    }

    /// The stopped thread.
    pub fn thread(&self) -> Tid {
        thread_id(self.registers.tid)
    }

    /// Reads as much as is mapped.
    fn read_memory(&self, mut at: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            let Some((gpa, left)) = translate(&self.memory, PML4_GPA, at) else {
                break;
            };
            let len = (into.len() - done).min(left as usize);
            let part = &mut into[done..done + len];
            if self.memory.read_bytes(gpa, part).is_err() {
                break;
            }
            done += len;
            at = at.wrapping_add(len as u64);
        }
        // A debugger shall not see its own breakpoints.
        let start = at.wrapping_sub(done as u64);
        for (place, byte) in self.breakpoints.range(start..at.max(start)) {
            into[(place - start) as usize] = *byte;
        }
        done
    }

    fn write_memory(&self, mut at: u64, mut from: &[u8]) -> Result<(), OutOfRange> {
        while !from.is_empty() {
            let (gpa, left) = translate(&self.memory, PML4_GPA, at).ok_or(OutOfRange)?;
            let (part, rest) = from.split_at(from.len().min(left as usize));
            self.memory.patch_bytes(gpa, part)?;
            at = at.wrapping_add(part.len() as u64);
            from = rest;
        }
        Ok(())
    }
}

impl Target for GuestTarget {
    type Arch = X86_64_SSE;
    type Error = &'static str;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_auxv(&mut self) -> Option<AuxvOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for GuestTarget {
    fn read_registers(&mut self, to: &mut X86_64CoreRegs, _tid: Tid) -> TargetResult<(), Self> {
        let from = &self.registers;
        to.regs = from.general;
        to.rip = from.rip;
        to.eflags = from.rflags as u32;
        to.segments.cs = 0x33;
        to.segments.ss = 0x2b;
        Ok(())
    }

    fn write_registers(&mut self, from: &X86_64CoreRegs, _tid: Tid) -> TargetResult<(), Self> {
        let to = &mut self.registers;
        to.general = from.regs;
        to.rip = from.rip;
        to.rflags = to.rflags & !USER_FLAGS | u64::from(from.eflags) & USER_FLAGS;
        Ok(())
    }

    fn read_addrs(&mut self, at: u64, into: &mut [u8], _tid: Tid) -> TargetResult<usize, Self> {
        match self.read_memory(at, into) {
            0 if !into.is_empty() => Err(TargetError::NonFatal),
            read => Ok(read),
        }
    }

    fn write_addrs(&mut self, at: u64, from: &[u8], _tid: Tid) -> TargetResult<(), Self> {
        self.write_memory(at, from)
            .map_err(|_| TargetError::NonFatal)
    }

    fn list_active_threads(&mut self, active: &mut dyn FnMut(Tid)) -> Result<(), Self::Error> {
        active(self.thread());
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadResume for GuestTarget {
    fn resume(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Self::Error> {
        self.stepping = false;
        self.deliver = 0;
        Ok(())
    }

    fn set_resume_action_continue(
        &mut self,
        _tid: Tid,
        signal: Option<Signal>,
    ) -> Result<(), Self::Error> {
        self.deliver = signal.map_or(0, linux_signal);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSchedulerLocking for GuestTarget {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Self::Error> {
        // gdb asks for it at every step. The kernel schedules on: a step is one
        // instruction, and the trap comes from the thread that makes it.
        Ok(())
    }
}

impl MultiThreadSingleStep for GuestTarget {
    fn set_resume_action_step(
        &mut self,
        _tid: Tid,
        signal: Option<Signal>,
    ) -> Result<(), Self::Error> {
        self.stepping = true;
        self.deliver = signal.map_or(0, linux_signal);
        Ok(())
    }
}

impl Breakpoints for GuestTarget {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for GuestTarget {
    fn add_sw_breakpoint(&mut self, at: u64, _kind: usize) -> TargetResult<bool, Self> {
        let mut byte = [0];
        if self.breakpoints.contains_key(&at) {
            return Ok(true);
        }
        if self.read_memory(at, &mut byte) != 1 || self.write_memory(at, &[BREAKPOINT]).is_err() {
            return Ok(false);
        }
        self.breakpoints.insert(at, byte[0]);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, at: u64, _kind: usize) -> TargetResult<bool, Self> {
        let Some(byte) = self.breakpoints.remove(&at) else {
            return Ok(false);
        };
        Ok(self.write_memory(at, &[byte]).is_ok())
    }
}

impl Auxv for GuestTarget {
    fn get_auxv(&self, offset: u64, length: usize, into: &mut [u8]) -> TargetResult<usize, Self> {
        let rest = self.auxv.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(length).min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// The entries of the auxiliary vector by which gdb finds where a program lies.
fn auxv(program: &Program) -> Vec<u8> {
    let entries = [
        (3, program.phdr.0), // AT_PHDR
        (4, 56),             // AT_PHENT
        (5, program.phnum),  // AT_PHNUM
        (6, 4096),           // AT_PAGESZ
        (7, program.interp_base.0),
        (9, program.entry.0), // AT_ENTRY
        (0, 0),
    ];
    let words = entries
        .into_iter()
        .flat_map(|(key, value): (u64, u64)| [key, value]);
    words.flat_map(u64::to_le_bytes).collect()
}

/// Linux signal number (index + 1) to gdb's own numbering.
const SIGNALS: [Signal; 31] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGKILL,
    Signal::SIGUSR1,
    Signal::SIGSEGV,
    Signal::SIGUSR2,
    Signal::SIGPIPE,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::UNKNOWN, // SIGSTKFLT
    Signal::SIGCHLD,
    Signal::SIGCONT,
    Signal::SIGSTOP,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGURG,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGWINCH,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGSYS,
];

/// gdb's number of a Linux signal.
pub fn gdb_signal(signal: u32) -> Signal {
    let index = (signal as usize).wrapping_sub(1);
    SIGNALS.get(index).copied().unwrap_or(Signal::UNKNOWN)
}

/// Linux's number of gdb's signal, 0 if it has none.
fn linux_signal(signal: Signal) -> u32 {
    let known = signal != Signal::UNKNOWN;
    let index = SIGNALS.iter().position(|each| known && *each == signal);
    index.map_or(0, |index| index as u32 + 1)
}
