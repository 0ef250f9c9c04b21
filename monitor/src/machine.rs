//! The virtual machine: memory slots, doorbell, one vCPU in its first state.
//!
//! Nothing here depends on how KVM runs guests (VMX, SVM or software). Slots come
//! before the vCPU and there is no interrupt controller: the guest gets no
//! interrupts, see `spore_abi::vcpu`.

use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_MEM_READONLY, KVM_SYNC_X86_EVENTS, KVM_SYNC_X86_REGS,
    KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry, kvm_regs,
    kvm_segment, kvm_userspace_memory_region, kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, NoDatamatch, SyncReg, VcpuExit, VcpuFd, VmFd};
use spore_abi::boot::KernelHeader;
use spore_abi::layout::{
    BOOT_GPA, DIRECT_VA, DOORBELL_CALL_GPA, DOORBELL_KICK_GPA, HUGE, PML4_GPA, VCPU_GPA,
};
use vmm_sys_util::eventfd::EventFd;

use crate::descriptors as gdt;
use crate::error::{
    MonitorError, Result, SPORE_KVM_FAILED, SPORE_KVM_MISSING, SPORE_KVM_PERMISSION,
    SPORE_MEMORY_UNAVAILABLE,
};
use crate::memory::GuestMemory;
use crate::snapshot::warm::Stub;

/// Protected mode, monitor coprocessor, extension type, numeric error, write
/// protect, alignment mask, paging.
pub const CR0: u64 = 0x8005_0033;
/// PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE.
pub const CR4: u64 = 0x5_0620;
/// System calls, long mode (enabled and active), no-execute.
pub const EFER: u64 = 0xd01;
/// x87, SSE, AVX and AVX-512; what KVM offers beyond that is not used.
pub const XCR0_WANTED: u64 = 0xe7;
/// `_IOW(KVMIO, 0xe1, struct kvm_device_attr)`, `linux/kvm.h`.
const KVM_SET_DEVICE_ATTR: u32 = 0x4018_aee1;
/// Kicks that go through the monitor before KVM is told of the doorbell.
const KICKS_BEFORE_IOEVENTFD: u32 = 4;
/// Stack of the thread that works ahead.
const STACK: usize = 128 << 10;
/// RFLAGS.TF.
const TRAP_FLAG: u64 = 1 << 8;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_SFMASK: u32 = 0xc000_0084;

/// Start of every message here, as the error registry words it.
const PREFIX: &str = "KVM failed: ";

/// One virtual machine with one vCPU.
pub struct Machine {
    /// The vCPU, ready for its first instruction.
    pub vcpu: VcpuFd,
    /// Rate of the guest's time-stamp counter in kHz, 0 if KVM does not know.
    pub tsc_khz: u32,
    /// Registers travel in the shared page instead of by ioctl.
    pub sync_regs: bool,
    /// The processor's features that the guest sees.
    pub features: CpuId,
    vm: VmFd,
    kick: EventFd,
    kicks: u32,
    /// Slots that there are.
    slots: u32,
    /// RAM that lies in slots, from 0 up; what the guest's record says is a copy.
    present: u64,
    // Lies behind the VM's slots.
    memory: Arc<GuestMemory>,
}

/// Opens /dev/kvm.
pub fn open_kvm() -> Result<Kvm> {
    let kvm = Kvm::new().map_err(|e| match e.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            MonitorError::new(SPORE_KVM_MISSING, "/dev/kvm does not exist")
        }
        libc::EACCES | libc::EPERM => {
            MonitorError::new(SPORE_KVM_PERMISSION, "no permission to open /dev/kvm")
        }
        _ => failed("open /dev/kvm", e),
    })?;
    match kvm.get_api_version() {
        12 => Ok(kvm),
        version => Err(problem(&format!(
            "its interface has version {version}, not 12"
        ))),
    }
}

/// The processor's features as KVM offers them.
pub enum Features {
    /// Another thread reads them.
    Reading(Receiver<Result<CpuId>>),
    /// They are read when they are needed.
    Later(Arc<Kvm>),
    /// They were read before.
    Known(CpuId),
}

impl Features {
    /// Reads them on another processor, if there is one: it takes a millisecond
    /// where the CPUID instruction traps.
    pub fn read_ahead(kvm: &Arc<Kvm>, processors: usize) -> Self {
        let again = Arc::clone(kvm);
        let (say, hear) = mpsc::sync_channel(1);
        let work = move || {
            // Nobody listens if the start has failed meanwhile.
            let _ = say.send(supported_features(&again));
        };
        let thread = std::thread::Builder::new().stack_size(STACK);
        let reader = (processors >= 2).then(|| thread.spawn(work));
        let Some(Ok(reader)) = reader else {
            return Self::Later(Arc::clone(kvm));
        };
        move_elsewhere(&reader);
        Self::Reading(hear)
    }

    /// While they are being read, brings the frames into being that every guest needs at
    /// once: clearing 2 MiB takes a tenth of a millisecond.
    fn get(self, memory: &GuestMemory, frames: &[u64]) -> Result<CpuId> {
        let reading = match self {
            Self::Later(kvm) => return supported_features(&kvm),
            Self::Known(features) => return Ok(features),
            Self::Reading(features) => features,
        };
        for frame in frames {
            match reading.try_recv() {
                Ok(features) => return features,
                Err(_) => memory.touch(*frame),
            }
        }
        let failed = |_| problem("cannot read the processor's features");
        reading.recv().map_err(failed)?
    }
}

/// Puts a new thread on another processor than this one, where Linux mostly leaves it to
/// wait until its maker sleeps.
fn move_elsewhere(thread: &JoinHandle<()>) {
    // SAFETY: a zeroed set is a value, and the calls read or fill one of its size; the
    // thread is alive, since nobody has joined it. Where a call fails, it stays here.
    unsafe {
        let mut others: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&others), &mut others);
        if let Ok(here) = usize::try_from(libc::sched_getcpu()) {
            libc::CPU_CLR(here, &mut others);
            libc::pthread_setaffinity_np(thread.as_pthread_t() as _, size_of_val(&others), &others);
        }
    }
}

/// The processor's features as KVM offers them now.
pub fn supported_features(kvm: &Kvm) -> Result<CpuId> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(|e| failed("read the processor's features", e))
}

impl Machine {
    /// Creates VM and vCPU. `kick` is signalled when the kick doorbell rings. `frames` are
    /// what the guest will need first. With `registers` the guest goes on instead of booting.
    pub fn new(
        kvm: &Kvm,
        memory: Arc<GuestMemory>,
        header: &KernelHeader,
        features: Features,
        kick: EventFd,
        frames: &[u64],
        registers: Option<kvm_regs>,
    ) -> Result<Self> {
        let vm = kvm.create_vm().map_err(|e| failed("create a VM", e))?;
        let present = memory.ram_present();
        let slots = add_slots(&vm, &memory, present)?;
        let mut vcpu = vm.create_vcpu(0).map_err(|e| failed("create a vCPU", e))?;
        let cpuid = features.get(&memory, frames)?;
        vcpu.set_cpuid2(&cpuid)
            .map_err(|e| failed("set the processor's features", e))?;
        set_registers(&vcpu, header, &cpuid, registers)?;
        crate::cpuid::write(&vcpu, &memory).map_err(|_| problem("guest memory is too small"))?;
        let wanted = KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;
        let sync_regs = vm.check_extension_int(Cap::SyncRegs) as u32 & wanted == wanted;
        if sync_regs {
            vcpu.set_sync_valid_reg(SyncReg::Register);
            vcpu.set_sync_valid_reg(SyncReg::VcpuEvents);
        }
        align_tsc(&vcpu);
        Ok(Self {
            tsc_khz: vcpu.get_tsc_khz().unwrap_or(0),
            vcpu,
            sync_regs,
            features: cpuid,
            vm,
            kick,
            kicks: 0,
            slots,
            present,
            memory,
        })
    }

    /// Lets the guest have its RAM up to `end`, or as far as that goes. Answers whether
    /// there is more than before.
    pub fn grow(&mut self, end: u64) -> Result<bool> {
        let present = self.present;
        let end = end.min(self.memory.ram_size()) / HUGE * HUGE;
        if end <= present {
            return Ok(false);
        }
        let pointer = self.memory.ram_pointer(present, end - present);
        let host = pointer.map_err(|_| problem("guest memory is too small"))?;
        add_slot(&self.vm, self.slots, 0, present, end - present, host)?;
        self.slots += 1;
        self.present = end;
        self.memory.set_ram_present(end);
        Ok(true)
    }

    /// Lets the vCPU touch its memory once ([`crate::snapshot::warm`]), then gives it
    /// its registers back. The guest has not run yet.
    pub fn warm(&mut self, stub: &Stub) -> Result<()> {
        let before = self
            .vcpu
            .get_regs()
            .map_err(|e| failed("read the vCPU's registers", e))?;
        let set = |vcpu: &VcpuFd, regs: &kvm_regs| {
            vcpu.set_regs(regs)
                .map_err(|e| failed("set the vCPU's registers", e))
        };
        let regs = kvm_regs {
            rip: stub.rip,
            rsi: stub.list,
            rdi: stub.doorbell,
            rflags: 2,
            ..kvm_regs::default()
        };
        set(&self.vcpu, &regs)?;
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::MmioWrite(DOORBELL_CALL_GPA, _)) => break,
                Ok(VcpuExit::Intr) => {}
                Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => {}
                Ok(_) => return Err(problem("a machine that stands by left the guest")),
                Err(e) => return Err(failed("run the guest", e)),
            }
        }
        // The store is done only by the next entry.
        self.vcpu.set_kvm_immediate_exit(1);
        let _ = self.vcpu.run();
        self.vcpu.set_kvm_immediate_exit(0);
        set(&self.vcpu, &before)
    }

    /// The kick doorbell has left the guest. After a few times KVM signals the
    /// descriptor itself: that spares the exit, but makes the VM's end some
    /// milliseconds slower, which a short program should not pay for.
    pub fn kicked(&mut self) -> Result<()> {
        // A full counter means that the other side has been told already.
        let _ = self.kick.write(1);
        self.kicks += 1;
        if self.kicks == KICKS_BEFORE_IOEVENTFD {
            let doorbell = IoEventAddress::Mmio(DOORBELL_KICK_GPA);
            self.vm
                .register_ioevent(&self.kick, &doorbell, NoDatamatch)
                .map_err(|e| failed("register a doorbell", e))?;
        }
        Ok(())
    }
}

/// Gives the VM the RAM that is present, and the layers. Answers how many slots that took.
fn add_slots(vm: &VmFd, memory: &GuestMemory, present: u64) -> Result<u32> {
    add_slot(vm, 0, 0, 0, present, memory.ram_base())?;
    let mut slots = 1;
    for layer in memory.layers() {
        let mapping = &layer.mapping;
        let size = mapping.len() as u64;
        add_slot(
            vm,
            slots,
            KVM_MEM_READONLY,
            layer.gpa,
            size,
            mapping.as_ptr(),
        )?;
        slots += 1;
    }
    Ok(slots)
}

fn add_slot(vm: &VmFd, slot: u32, flags: u32, gpa: u64, size: u64, host: *mut u8) -> Result<()> {
    let region = kvm_userspace_memory_region {
        slot,
        flags,
        guest_phys_addr: gpa,
        memory_size: size,
        userspace_addr: host as u64,
    };
    // SAFETY: the mapping is owned by `GuestMemory`, which the machine keeps
    // for as long as the VM exists; slots do not overlap (parts of RAM follow each
    // other and end below the layers, KVM refuses overlapping layers).
    unsafe { vm.set_user_memory_region(region) }.map_err(|e| match e.errno() {
        libc::ENOMEM => MonitorError::new(
            SPORE_MEMORY_UNAVAILABLE,
            format!(
                "the host does not give {} MiB of memory: KVM cannot map it",
                size >> 20
            ),
        ),
        _ => failed("give memory to the VM", e),
    })
}

fn set_registers(
    vcpu: &VcpuFd,
    header: &KernelHeader,
    cpuid: &CpuId,
    registers: Option<kvm_regs>,
) -> Result<()> {
    let mut sregs = vcpu
        .get_sregs()
        .map_err(|e| failed("read the vCPU's state", e))?;
    let data = segment(gdt::USER_DATA, 3, false);
    sregs.cs = segment(gdt::USER_CODE, 11, true);
    (sregs.ss, sregs.ds, sregs.es, sregs.fs) = (data, data, data, data);
    sregs.gs = kvm_segment {
        base: DIRECT_VA + VCPU_GPA,
        ..data
    };
    sregs.tr = kvm_segment {
        base: gdt::TASK_VA,
        limit: gdt::TASK_LIMIT,
        selector: gdt::TASK,
        type_: 11,
        present: 1,
        ..kvm_segment::default()
    };
    sregs.ldt = kvm_segment {
        unusable: 1,
        ..kvm_segment::default()
    };
    (sregs.gdt.base, sregs.gdt.limit) = (gdt::GDT_VA, gdt::GDT_LIMIT);
    (sregs.idt.base, sregs.idt.limit) = (gdt::IDT_VA, gdt::IDT_LIMIT);
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (CR0, PML4_GPA, CR4, EFER);
    vcpu.set_sregs(&sregs).map_err(|e| {
        let failed = failed("set the vCPU's control registers", e);
        // The only reason that a user can meet.
        problem(&format!(
            "{}; a guest needs XSAVE, FSGSBASE and SYSCALL",
            failed.what.trim_start_matches(PREFIX)
        ))
    })?;
    set_extended_state(vcpu, cpuid)?;
    set_system_call_entry(vcpu, header)?;
    let regs = registers.unwrap_or(kvm_regs {
        rip: header.start,
        rsp: header.boot_stack,
        rdi: DIRECT_VA + BOOT_GPA,
        rflags: 2,
        ..kvm_regs::default()
    });
    vcpu.set_regs(&regs)
        .map_err(|e| failed("set the vCPU's registers", e))
}

/// XCR0: what KVM offers of [`XCR0_WANTED`].
fn set_extended_state(vcpu: &VcpuFd, cpuid: &CpuId) -> Result<()> {
    let supported = cpuid
        .as_slice()
        .iter()
        .find(|entry| entry.function == 0xd && entry.index == 0)
        .map_or(3, |leaf| u64::from(leaf.eax) | u64::from(leaf.edx) << 32);
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..kvm_xcrs::default()
    };
    xcrs.xcrs[0] = kvm_xcr {
        value: supported & XCR0_WANTED | 1,
        ..kvm_xcr::default()
    };
    vcpu.set_xcrs(&xcrs)
        .map_err(|e| failed("set the vCPU's extended state", e))
}

/// Where the `syscall` instruction goes. It clears the trap flag: the kernel's entry
/// is not stepped through, and where it runs at CPL0, a debug exception would push
/// its frame on the program's stack.
pub fn system_call_registers(header: &KernelHeader) -> [(u32, u64); 3] {
    let star = u64::from(gdt::KERNEL_CODE) << 32 | 0x23 << 48;
    [
        (MSR_STAR, star),
        (MSR_LSTAR, header.syscall_entry),
        (MSR_SFMASK, TRAP_FLAG),
    ]
}

fn set_system_call_entry(vcpu: &VcpuFd, header: &KernelHeader) -> Result<()> {
    let msrs = system_call_registers(header).map(|(index, data)| kvm_msr_entry {
        index,
        data,
        ..kvm_msr_entry::default()
    });
    let list = Msrs::from_entries(&msrs).map_err(|_| problem("its register list is too short"))?;
    let set = vcpu
        .set_msrs(&list)
        .map_err(|e| failed("set the system-call entry", e))?;
    match set == msrs.len() {
        true => Ok(()),
        false => Err(problem("it refuses to set the system-call entry")),
    }
}

/// A flat segment at CPL3.
fn segment(selector: u16, type_: u8, code: bool) -> kvm_segment {
    kvm_segment {
        selector,
        type_,
        limit: u32::MAX,
        present: 1,
        dpl: 3,
        s: 1,
        g: 1,
        l: u8::from(code),
        db: u8::from(!code),
        ..kvm_segment::default()
    }
}

/// Makes the guest's time-stamp counter equal to the host's, so that the clock
/// code reads the same counter on both sides. Kernels before 5.16 cannot; there
/// software KVM is not found either.
fn align_tsc(vcpu: &VcpuFd) {
    let offset: u64 = 0;
    let attribute = kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: &raw const offset as u64,
        flags: 0,
    };
    // SAFETY: KVM reads the attribute and the offset behind it, both alive here.
    unsafe {
        libc::ioctl(
            vcpu.as_raw_fd(),
            KVM_SET_DEVICE_ATTR as _,
            &raw const attribute,
        )
    };
}

fn failed(what: &str, error: kvm_ioctls::Error) -> MonitorError {
    let why = std::io::Error::from_raw_os_error(error.errno());
    problem(&format!("cannot {what}: {why}"))
}

fn problem(what: &str) -> MonitorError {
    MonitorError::new(SPORE_KVM_FAILED, format!("{PREFIX}{what}"))
}
