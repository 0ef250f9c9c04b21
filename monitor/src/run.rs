//! Runs the vCPU: enters the guest, answers its host calls, delivers upcalls.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvm_bindings::kvm_regs;
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd};
use spore_abi::boot::KernelHeader;
use spore_abi::hostcall::{HostCall, note, number};
use spore_abi::layout::{DOORBELL_CALL_GPA, DOORBELL_KICK_GPA, GATE_VA, HOSTCALL_GPA, PAGE};

use crate::clock::{self, Clock};
use crate::control::VcpuControl;
use crate::crash::{self, CrashContext};
use crate::debugger::Debugger;
use crate::error::{
    MonitorError, Result, SPORE_KERNEL_PANIC, SPORE_KVM_FAILED, SPORE_OUTPUT_WRITE,
};
use crate::events::Events;
use crate::finish::{self, Outcome};
use crate::housekeeping::Housekeeping;
use crate::machine::Machine;
use crate::memory::GuestMemory;
use crate::net::Net;
use crate::snapshot::freezer::Freezer;
use crate::standby::fork;
use crate::terminal;
use crate::used::Used;

/// Longest message of a kernel panic that is shown.
const PANIC_LIMIT: u64 = 1024;

/// What the vCPU thread works with.
pub struct Runner {
    /// Guest memory.
    pub memory: Arc<GuestMemory>,
    /// The handle other threads use.
    pub control: Arc<VcpuControl>,
    /// Rings and idle wait.
    pub net: Arc<Net>,
    /// The guest's clock.
    pub clock: Arc<Clock>,
    /// Ticks.
    pub housekeeping: Arc<Housekeeping>,
    /// Entry points and limits of the kernel's code.
    pub header: KernelHeader,
    /// Host descriptors of the standard streams.
    pub streams: [RawFd; 3],
    /// What is needed to explain a crash.
    pub crash: CrashContext,
    /// Who tells what the program used, if that is recorded.
    pub recorder: Option<Arc<Events>>,
    /// The debugger, if one was asked for.
    pub debugger: Option<Debugger>,
    /// Takes the copy when the guest is at rest.
    pub freezer: Arc<Freezer>,
    /// Hears what the program says about itself.
    pub events: Arc<Events>,
}

/// Why the guest was left.
enum Left {
    /// The host-call doorbell rang.
    HostCall,
    /// The kick doorbell rang, and KVM does not know it yet.
    Kick,
    /// RAM was used that the VM does not have yet; the access itself was carried out.
    Absent,
    /// KVM cannot carry out the next instruction; it can if the memory that it uses
    /// lies in RAM that the VM does not have yet.
    Stuck,
    /// Another thread or a signal wants something.
    Interrupted,
    /// Nothing to do.
    Nothing,
}

impl Runner {
    /// Runs the guest until it ends.
    pub fn run(mut self, machine: &'static mut Machine) -> Result<Outcome> {
        let result = self.turn(machine);
        if let Err(error) = &result
            && error.code == SPORE_KERNEL_PANIC
            && let Ok(registers) = machine.vcpu.get_regs()
        {
            crash::report_kernel(&self.memory, &self.crash, &registers, &error.what);
        }
        result
    }

    fn turn(&mut self, machine: &mut Machine) -> Result<Outcome> {
        let run_page = &raw mut machine.vcpu.get_kvm_run().immediate_exit;
        // SAFETY: the run page belongs to the vCPU, which is never dropped.
        unsafe { self.control.attach(run_page) };
        let mut exits = 0_u64;
        loop {
            let left = enter(&mut machine.vcpu, &self.memory)?;
            exits += 1;
            match left {
                Left::HostCall if self.is_frozen() => self.at_rest(machine)?,
                Left::HostCall => {
                    if let Some(outcome) = self.host_call(machine)? {
                        if finish::debugging() {
                            // `spore bench` reads it.
                            finish::eprintln_quietly(&format!(
                                "debug: left the guest {exits} times"
                            ));
                            finish::eprintln_quietly(&self.net.statistics());
                        }
                        return Ok(outcome);
                    }
                }
                Left::Interrupted => {
                    machine.vcpu.set_kvm_immediate_exit(0);
                    if self.control.attention().load(Ordering::SeqCst) != 0 {
                        self.upcall(machine)?;
                    }
                }
                Left::Kick => machine.kicked()?,
                // A wild access of the program, as the kernel asks beforehand.
                Left::Absent => {
                    machine.grow(u64::MAX)?;
                }
                Left::Stuck => {
                    if !machine.grow(u64::MAX)? {
                        print_details(&mut machine.vcpu);
                        return Err(kernel_stopped("KVM cannot run its next instruction"));
                    }
                }
                Left::Nothing => {}
            }
        }
    }

    /// Serves one host call; an outcome ends the run.
    fn host_call(&mut self, machine: &mut Machine) -> Result<Option<Outcome>> {
        let call: HostCall = self
            .memory
            .read(HOSTCALL_GPA)
            .map_err(|_| internal("host call outside memory"))?;
        let args = &call.args;
        let result = match call.number {
            number::EXIT => return self.exit(args).map(Some),
            number::IDLE => self.idle(args[0], args[1] == spore_abi::net::STARVED),
            number::PANIC => return Err(self.kernel_panic(args[0], args[1])),
            number::TERMINAL_IOCTL => match self.streams.get(args[0] as usize) {
                Some(&fd) => terminal::ioctl(&self.memory, fd, args[1], args[2]),
                None => -i64::from(libc::EBADF),
            },
            number::RECORD => match &self.recorder {
                Some(events) => {
                    events.record(Used::new(Arc::clone(&self.memory), args[0]));
                    0
                }
                None => -i64::from(libc::ENOSYS),
            },
            number::DEBUG_STOP => match &mut self.debugger {
                Some(debugger) => debugger.stop(&self.memory, args[0], args[1]),
                None => -i64::from(libc::ENOSYS),
            },
            number::NOTE => self.note(args[0], args[1]),
            number::GROW => match machine.grow(args[0]) {
                Ok(_) if args[0] <= self.memory.ram_size() => 0,
                _ => -i64::from(libc::ENOMEM),
            },
            number if number >= number::NET_FIRST => self.net.host_call(number, args),
            _ => -i64::from(libc::ENOSYS),
        };
        self.answer(result)?;
        Ok(None)
    }

    /// Whether the host call under way says that the guest is at rest.
    fn is_frozen(&self) -> bool {
        self.memory.read::<u64>(HOSTCALL_GPA) == Ok(number::FROZEN)
    }

    /// The guest is at rest: a copy is taken if somebody waits for it.
    fn at_rest(&self, machine: &mut Machine) -> Result<()> {
        let call: HostCall = self
            .memory
            .read(HOSTCALL_GPA)
            .map_err(|_| internal("host call outside memory"))?;
        if call.args[1] == 0 {
            self.freezer.refused(call.args[2]);
            return self.answer(0);
        }
        let registers = || {
            // The store that rang the doorbell is done only by the next entry.
            machine.vcpu.set_kvm_immediate_exit(1);
            let done = machine.vcpu.run().map(drop);
            machine.vcpu.set_kvm_immediate_exit(0);
            match done {
                Err(e) if e.errno() != libc::EINTR => return Err(kvm_failed("stop the guest", e)),
                _ => {}
            }
            machine
                .vcpu
                .get_regs()
                .map_err(|e| kvm_failed("read registers", e))
        };
        self.freezer.at_rest(&self.net, &self.events, registers)?;
        self.housekeeping.vcpu_is_busy();
        self.answer(0)
    }

    /// Puts the answer of a host call into its block. The block may have been changed
    /// meanwhile; only the answer is written.
    fn answer(&self, result: i64) -> Result<()> {
        let at = HOSTCALL_GPA + std::mem::offset_of!(HostCall, result) as u64;
        self.memory
            .write(at, &result)
            .map_err(|_| internal("host call outside memory"))
    }

    /// What the program says about itself.
    fn note(&self, kind: u64, value: u64) -> i64 {
        match kind {
            note::READY => self.events.ready(),
            note::HOLDS => self.events.holds(value),
            _ => return -i64::from(libc::EINVAL),
        }
        0
    }

    fn idle(&self, deadline: u64, starved: bool) -> i64 {
        if deadline == 0 {
            self.net.idle(0, false);
            return 0;
        }
        fork::rests();
        // 0 would mean "do not wait".
        let deadline = self.clock.host_monotonic(deadline).max(1);
        self.control.set_idle(true);
        self.net.idle(deadline, starved);
        self.control.set_idle(false);
        self.clock.refresh_if_old(clock::monotonic());
        self.housekeeping.vcpu_is_busy();
        0
    }

    fn exit(&mut self, args: &[u64; 6]) -> Result<Outcome> {
        // What the program wrote comes before what is said about its end.
        let lost = self.net.drain();
        let [code, signal, record, ..] = *args;
        if record != 0 {
            crash::report(&self.memory, &self.crash, record);
        }
        let outcome = match signal {
            0 => Outcome::Exited(code as u8),
            signal => Outcome::Killed(signal as u32 & 0x7f),
        };
        if let Some(debugger) = &mut self.debugger {
            debugger.ended(outcome);
        }
        match lost {
            // The program has gone on and ended well, as if its last words had been heard.
            Some((stream, error)) if outcome == Outcome::Exited(0) => Err(MonitorError::new(
                SPORE_OUTPUT_WRITE,
                format!("cannot write {stream}: {error}"),
            )),
            _ => Ok(outcome),
        }
    }

    fn kernel_panic(&self, at: u64, len: u64) -> MonitorError {
        self.net.drain();
        let bytes = self.memory.read_vec(at, len.min(PANIC_LIMIT), PANIC_LIMIT);
        let message = match bytes {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => "its message lies outside memory".to_owned(),
        };
        kernel_stopped(&message)
    }

    /// Redirects the vCPU to the kernel's upcall entry, if the rules of
    /// `spore_abi::vcpu` allow it; else the kernel looks when it returns.
    fn upcall(&self, machine: &mut Machine) -> Result<()> {
        let block = self.control.block();
        if block.upcall_ok.load(Ordering::SeqCst) != 1 {
            return Ok(());
        }
        let mut regs = if machine.sync_regs {
            let state = machine.vcpu.sync_regs();
            let exception = state.events.exception;
            if exception.injected != 0 || exception.pending != 0 {
                // On its way to the kernel, which looks at its attention word then.
                return Ok(());
            }
            state.regs
        } else {
            machine
                .vcpu
                .get_regs()
                .map_err(|e| kvm_failed("read registers", e))?
        };
        if !self.interruptible(&regs) {
            return Ok(());
        }
        block.upcall_ok.store(0, Ordering::Relaxed);
        block.upcall_rip.store(regs.rip, Ordering::Relaxed);
        regs.rip = self.header.upcall_entry;
        if machine.sync_regs {
            machine.vcpu.sync_regs_mut().regs = regs;
            machine.vcpu.set_sync_dirty_reg(SyncReg::Register);
            return Ok(());
        }
        machine
            .vcpu
            .set_regs(&regs)
            .map_err(|e| kvm_failed("set registers", e))
    }

    /// Outside the kernel's code and outside the gate.
    fn interruptible(&self, regs: &kvm_regs) -> bool {
        let in_kernel = (self.header.text_start..self.header.text_end).contains(&regs.rip);
        let in_gate = (GATE_VA..GATE_VA + 3 * PAGE).contains(&regs.rip);
        !in_kernel && !in_gate
    }
}

/// Runs guest code until something needs the monitor.
fn enter(vcpu: &mut VcpuFd, memory: &GuestMemory) -> Result<Left> {
    let stopped = match vcpu.run() {
        Ok(VcpuExit::MmioWrite(DOORBELL_CALL_GPA, _)) => return Ok(Left::HostCall),
        Ok(VcpuExit::MmioWrite(DOORBELL_KICK_GPA, _)) => return Ok(Left::Kick),
        Ok(VcpuExit::MmioWrite(at, data)) if memory.write_bytes(at, data).is_ok() => {
            return Ok(Left::Absent);
        }
        Ok(VcpuExit::InternalError) => return Ok(Left::Stuck),
        Ok(VcpuExit::Intr) => return Ok(Left::Interrupted),
        Err(e) if e.errno() == libc::EINTR => return Ok(Left::Interrupted),
        Err(e) if e.errno() == libc::EAGAIN => return Ok(Left::Nothing),
        Err(e) if e.errno() == libc::EFAULT => {
            kernel_stopped("memory it needs could not be provided (was an image file cut short?)")
        }
        Err(e) => kvm_failed("run the guest", e),
        Ok(VcpuExit::MmioWrite(at, _)) => nothing_there("wrote to", at),
        Ok(VcpuExit::MmioRead(at, data)) => match memory.read_bytes(at, data) {
            Ok(()) => return Ok(Left::Absent),
            Err(_) => nothing_there("read from", at),
        },
        Ok(VcpuExit::Shutdown) => kernel_stopped("an exception could not be delivered"),
        Ok(VcpuExit::Hlt) => kernel_stopped("it halted the processor"),
        Ok(VcpuExit::FailEntry(reason, _)) => {
            kernel_stopped(&format!("KVM refuses its state (reason {reason:#x})"))
        }
        Ok(VcpuExit::IoIn(..) | VcpuExit::IoOut(..)) => kernel_stopped("it used an I/O port"),
        Ok(_) => kernel_stopped("it left the guest for an unknown reason"),
    };
    print_details(vcpu);
    Err(stopped)
}

/// With SPORE_DEBUG=1, the state of a vCPU that cannot go on.
fn print_details(vcpu: &mut VcpuFd) {
    if finish::debugging()
        && let (Ok(regs), Ok(sregs)) = (vcpu.get_regs(), vcpu.get_sregs())
    {
        let reason = vcpu.get_kvm_run().exit_reason;
        finish::eprintln_quietly(&format!(
            "debug: exit reason {reason}, cr2 {:#x}, cr3 {:#x}, cs {:#x}\n{regs:#x?}",
            sregs.cr2, sregs.cr3, sregs.cs.selector
        ));
    }
}

fn nothing_there(what: &str, at: u64) -> MonitorError {
    kernel_stopped(&format!(
        "it {what} guest-physical address {at:#x}, outside its memory"
    ))
}

fn kernel_stopped(problem: &str) -> MonitorError {
    MonitorError::new(
        SPORE_KERNEL_PANIC,
        format!("the library OS stopped: {problem}"),
    )
}

fn kvm_failed(what: &str, error: kvm_ioctls::Error) -> MonitorError {
    let why = std::io::Error::from_raw_os_error(error.errno());
    MonitorError::new(
        SPORE_KVM_FAILED,
        format!("KVM failed: cannot {what}: {why}"),
    )
}

fn internal(what: &str) -> MonitorError {
    MonitorError::new(SPORE_KVM_FAILED, format!("KVM failed: {what}"))
}
