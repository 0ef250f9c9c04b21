//! Segment and interrupt descriptors, and the frames around the ring-0 gate.
//!
//! Programs and kernel run at CPL3 with the selectors 0x33 and 0x2b; ring 0 is
//! only the gate of a few instructions through which exceptions come back to
//! CPL3. Layout of `GATE_VA`: gate code, GDT and TSS, IDT, a page each.

use spore_abi::boot::KernelHeader;
use spore_abi::layout::{
    DIRECT_VA, GATE_FRAME_GPA, GATE_STACK_GPA, GATE_VA, GDT_GPA, IDT_GPA, PAGE,
};

use crate::memory::{GuestMemory, OutOfRange};

/// Selector of 64-bit code at CPL0.
pub const KERNEL_CODE: u16 = 0x10;
/// Selector of 64-bit code at CPL3.
pub const USER_CODE: u16 = 0x33;
/// Selector of data and stacks at CPL3.
pub const USER_DATA: u16 = 0x2b;
/// Selector of the task state segment.
pub const TASK: u16 = 0x40;
/// Where the task state segment lies.
pub const TASK_VA: u64 = GDT_VA + TASK_OFFSET;
/// Its last byte.
pub const TASK_LIMIT: u32 = 0x67;
/// Where the global descriptor table lies.
pub const GDT_VA: u64 = GATE_VA + PAGE;
/// Its last byte: ten entries.
pub const GDT_LIMIT: u16 = 10 * 8 - 1;
/// Where the interrupt descriptor table lies.
pub const IDT_VA: u64 = GATE_VA + 2 * PAGE;
/// Its last byte: 32 vectors, all that exceptions use.
pub const IDT_LIMIT: u16 = 32 * 16 - 1;

const TASK_OFFSET: u64 = 0x800;
/// Offset of rsp0 in a 64-bit task state segment.
const RSP0: u64 = 4;
/// Offset of the I/O bitmap's address; beyond the limit there is none.
const IO_BITMAP: u64 = 0x66;
const DEBUG: u64 = 1;
const BREAKPOINT: u64 = 3;

/// Writes descriptors and the constant frame of the gate.
pub fn write(memory: &GuestMemory, header: &KernelHeader) -> Result<(), OutOfRange> {
    write_gdt(memory)?;
    for vector in 0..32 {
        // int3 flushes address translations from CPL3, vector 1 is `int1`.
        let dpl = u64::from(vector == DEBUG || vector == BREAKPOINT) * 3;
        let at = IDT_GPA + vector * 16;
        let [low, high] = interrupt_gate(GATE_VA + vector * 64, dpl);
        memory.write(at, &low)?;
        memory.write(at + 8, &high)?;
    }
    let frame = [
        header.exception_entry,
        u64::from(USER_CODE),
        0x202,
        header.exception_stack,
        u64::from(USER_DATA),
    ];
    for (index, word) in frame.iter().enumerate() {
        memory.write(GATE_FRAME_GPA + index as u64 * 8, word)?;
    }
    Ok(())
}

fn write_gdt(memory: &GuestMemory) -> Result<(), OutOfRange> {
    let [task_low, task_high] = task_descriptor(TASK_VA);
    let entries: [u64; 10] = [
        0,
        0,
        0x00af_9b00_0000_ffff, // 0x10: code, 64 bits, CPL0
        0x00cf_9300_0000_ffff, // 0x18: data, CPL0
        0x00cf_fb00_0000_ffff, // 0x20: code, 32 bits, CPL3 (sysret counts from here)
        0x00cf_f300_0000_ffff, // 0x28: data, CPL3
        0x00af_fb00_0000_ffff, // 0x30: code, 64 bits, CPL3
        0,
        task_low,
        task_high,
    ];
    for (index, entry) in entries.iter().enumerate() {
        memory.write(GDT_GPA + index as u64 * 8, entry)?;
    }
    let task = GDT_GPA + TASK_OFFSET;
    memory.write(task + RSP0, &(DIRECT_VA + GATE_STACK_GPA + PAGE))?;
    memory.write_bytes(task + IO_BITMAP, &(TASK_LIMIT as u16 + 1).to_le_bytes())
}

/// A busy 64-bit task state segment at `base`.
fn task_descriptor(base: u64) -> [u64; 2] {
    let low =
        u64::from(TASK_LIMIT) | (base & 0xff_ffff) << 16 | 0x8b << 40 | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// An interrupt gate into CPL0 code at `handler`.
fn interrupt_gate(handler: u64, dpl: u64) -> [u64; 2] {
    let low = (handler & 0xffff)
        | u64::from(KERNEL_CODE) << 16
        | (0x8e00 | dpl << 13) << 32
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_hold_their_addresses() {
        let [low, high] = interrupt_gate(0x1122_3344_5566_7788, 3);
        assert_eq!((low, high), (0x5566_ee00_0010_7788, 0x1122_3344));
        let [low, high] = task_descriptor(0x1122_3344_5566_7788);
        assert_eq!((low, high), (0x5500_8b66_7788_0067, 0x1122_3344));
    }
}
