//! `--export`: another monitor, written here in a few lines, boots what was exported.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, Msrs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment,
    kvm_userspace_memory_region, kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::{Kvm, VcpuExit};
use serde_json::Value;

use crate::guest::{Guest, assert_error};

const DOORBELL_CALL_GPA: u64 = 0xF_0000_0000;
const HOSTCALL_GPA: usize = 0x4000;

/// Guest-physical address and bytes of every segment, and the state of the note.
fn parse(elf: &[u8]) -> (HashMap<u64, Vec<u8>>, Value) {
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap()) as usize;
    let count = usize::from(u16::from_le_bytes([elf[56], elf[57]]));
    let mut segments = HashMap::new();
    let mut state = Value::Null;
    for header in (0..count).map(|index| word(32) + index * 56) {
        let bytes = &elf[word(header + 8)..word(header + 8) + word(header + 32)];
        match elf[header] {
            1 => drop(segments.insert(word(header + 24) as u64, bytes.to_vec())),
            4 => {
                let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
                assert_eq!(&bytes[12..18], b"Spore\0");
                state = serde_json::from_slice(&bytes[20..20 + length]).unwrap();
            }
            other => panic!("a segment of type {other}"),
        }
    }
    (segments, state)
}

fn export(guest: &Guest, format: &str) -> Vec<u8> {
    let launch = guest.command().get_args().last().unwrap().to_owned();
    let file = guest.path("exported");
    let mut command = Command::new(env!("CARGO_BIN_EXE_spore-monitor"));
    command.arg("--export").arg(format).arg(&file).arg(launch);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read(file).unwrap()
}

#[test]
fn the_exported_memory_boots_without_this_monitor() {
    let (segments, state) = parse(&export(&Guest::new("guest_exit"), "elf"));
    let hex = |value: &Value| {
        let digits = value.as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(digits, 16).unwrap()
    };
    let number = |value: &Value| value.as_u64().unwrap();
    let size = number(&state["ramSize"]) as usize;
    // SAFETY: new memory that lives as long as the process.
    let ram = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let ram = libc::mmap(std::ptr::null_mut(), size, 3, flags, -1, 0);
        std::slice::from_raw_parts_mut(ram.cast::<u8>(), size)
    };
    for (gpa, bytes) in segments {
        ram[gpa as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    let kvm = Kvm::new().unwrap();
    let vm = kvm.create_vm().unwrap();
    let region = kvm_userspace_memory_region {
        memory_size: size as u64,
        userspace_addr: ram.as_ptr() as u64,
        ..Default::default()
    };
    // SAFETY: the memory is never unmapped.
    unsafe { vm.set_user_memory_region(region) }.unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    vcpu.set_cpuid2(&cpuid).unwrap();
    let mut sregs = vcpu.get_sregs().unwrap();
    let segment = |selector: u64, type_: u8, code: bool| kvm_segment {
        selector: selector as u16,
        type_,
        limit: u32::MAX,
        present: 1,
        dpl: 3,
        s: 1,
        g: 1,
        l: u8::from(code),
        db: u8::from(!code),
        ..Default::default()
    };
    let table = |value: &Value| kvm_dtable {
        base: hex(&value["base"]),
        limit: number(&value["limit"]) as u16,
        ..Default::default()
    };
    sregs.cs = segment(number(&state["cs"]), 11, true);
    let data = segment(number(&state["ss"]), 3, false);
    (sregs.ss, sregs.ds, sregs.es, sregs.fs, sregs.gs) = (data, data, data, data, data);
    sregs.gs.base = hex(&state["gsBase"]);
    sregs.tr = kvm_segment {
        base: hex(&state["tr"]["base"]),
        limit: number(&state["tr"]["limit"]) as u32,
        selector: number(&state["tr"]["selector"]) as u16,
        type_: 11,
        present: 1,
        ..Default::default()
    };
    sregs.ldt = kvm_segment {
        unusable: 1,
        ..Default::default()
    };
    (sregs.gdt, sregs.idt) = (table(&state["gdt"]), table(&state["idt"]));
    (sregs.cr0, sregs.cr3) = (hex(&state["cr0"]), hex(&state["cr3"]));
    (sregs.cr4, sregs.efer) = (hex(&state["cr4"]), hex(&state["efer"]));
    vcpu.set_sregs(&sregs).unwrap();
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..Default::default()
    };
    xcrs.xcrs[0] = kvm_xcr {
        value: 3,
        ..Default::default()
    };
    vcpu.set_xcrs(&xcrs).unwrap();
    let registers = [
        (0xc000_0081, "star"),
        (0xc000_0082, "lstar"),
        (0xc000_0084, "sfmask"),
    ];
    let registers = registers.map(|(index, name)| kvm_msr_entry {
        index,
        data: hex(&state[name]),
        ..Default::default()
    });
    assert_eq!(
        vcpu.set_msrs(&Msrs::from_entries(&registers).unwrap()),
        Ok(3)
    );
    let regs = kvm_regs {
        rip: hex(&state["rip"]),
        rsp: hex(&state["rsp"]),
        rdi: hex(&state["rdi"]),
        rflags: hex(&state["rflags"]),
        ..Default::default()
    };
    vcpu.set_regs(&regs).unwrap();
    match vcpu.run() {
        Ok(VcpuExit::MmioWrite(address, _)) => assert_eq!(address, DOORBELL_CALL_GPA),
        other => panic!("{other:?}"),
    }
    let word = |at: usize| u64::from_le_bytes(ram[at..at + 8].try_into().unwrap());
    // EXIT, with the status that the guest ends with here as well.
    assert_eq!((word(HOSTCALL_GPA), word(HOSTCALL_GPA + 8)), (1, 7));
}

#[test]
fn raw_memory_is_the_same_at_its_guest_physical_addresses() {
    let guest = Guest::new("guest_exit");
    let (segments, _) = parse(&export(&guest, "elf"));
    let raw = export(&guest, "raw");
    assert_eq!(raw.len(), 32 << 20);
    let mut rest = raw.clone();
    for (gpa, bytes) in segments {
        assert_eq!(&raw[gpa as usize..][..bytes.len()], bytes);
        rest[gpa as usize..][..bytes.len()].fill(0);
    }
    assert!(rest.iter().all(|byte| *byte == 0));
    assert_eq!(raw, export(&guest, "raw"), "nothing in it is random");
}

#[test]
fn what_cannot_be_written_is_told() {
    let guest = Guest::new("guest_exit");
    let launch = guest.command().get_args().last().unwrap().to_owned();
    let monitor = || Command::new(env!("CARGO_BIN_EXE_spore-monitor"));
    let words = |format: &str, out: &str| {
        let mut command = monitor();
        command.arg("--export").arg(format).arg(out).arg(&launch);
        command.output().unwrap()
    };
    assert_error(&words("elf", "/nowhere/file"), "SPORE_OUTPUT_WRITE", 73);
    assert_error(&words("iso", "/nowhere/file"), "SPORE_LAUNCH_CONFIG", 70);
}
