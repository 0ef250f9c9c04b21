//! Warm mappings: a machine that stands by touches its memory once, so that the
//! host's tables for it exist before anybody waits.
//!
//! Where page tables are shadowed, every first touch of a page leaves the guest
//! and costs tens of microseconds. A few instructions, run by the vCPU itself in
//! the buffer that the guest has offered for its restore, touch one byte of every
//! page that the guest has mapped, then ring the doorbell. Nothing is changed.

use std::collections::HashSet;

use spore_abi::layout::{DIRECT_VA, DOORBELL_CALL_GPA, HUGE, LAYERS_GPA, PAGE};
use spore_abi::restore::BUFFER;

use crate::memory::GuestMemory;
use crate::pagetable::{self, Tables};

const USER: u64 = 4;
/// Small pages that are mapped together where one of them is touched.
const WINDOW: u64 = 8;
/// Most pages that are touched; the list must fit behind the code.
const MOST: usize = (BUFFER as usize - PAGE as usize) / 8 - 1;

/// Reads a byte at each address of a list that ends with 0, then stores to the
/// doorbell: rsi = list, rdi = doorbell.
const CODE: [u8; 15] = [
    0x48, 0xad, // lodsq
    0x48, 0x85, 0xc0, // test rax, rax
    0x74, 0x04, // jz +4
    0x8a, 0x00, // mov al, [rax]
    0xeb, 0xf5, // jmp -11
    0x89, 0x07, // mov [rdi], eax
    0xeb, 0xfc, // jmp -4
];

/// Where the code was put and what its registers are.
pub struct Stub {
    /// First instruction.
    pub rip: u64,
    /// The list of addresses.
    pub list: u64,
    /// The doorbell that it rings at the end.
    pub doorbell: u64,
}

/// Writes code and list into the guest's buffer at `buffer`.
pub fn place(memory: &GuestMemory, buffer: u64) -> Option<Stub> {
    let mut addresses = mapped(memory);
    addresses.truncate(MOST);
    addresses.push(0);
    let list: Vec<u8> = addresses.iter().flat_map(|at| at.to_le_bytes()).collect();
    memory.write_bytes(buffer, &CODE).ok()?;
    memory.write_bytes(buffer + PAGE, &list).ok()?;
    Some(Stub {
        rip: DIRECT_VA + buffer,
        list: DIRECT_VA + buffer + PAGE,
        doorbell: DIRECT_VA + DOORBELL_CALL_GPA,
    })
}

/// Every page that the guest's tables map to memory which the host has, large ones
/// first.
fn mapped(memory: &GuestMemory) -> Vec<u64> {
    let resident: HashSet<u64> = memory.resident_frames().into_iter().collect();
    let backed = |gpa: u64| {
        gpa >= LAYERS_GPA && memory.read::<u8>(gpa).is_ok()
            || resident.contains(&(gpa / HUGE * HUGE))
    };
    let Tables { mut leaves, tables } = pagetable::walk(memory);
    leaves.retain(|leaf| leaf.entry & USER != 0 && backed(leaf.gpa()));
    leaves.sort_by_key(|leaf| !leaf.large);
    // Where page tables lie, small pages stand in for the large one.
    let small: HashSet<u64> = tables.iter().map(|table| table / HUGE * HUGE).collect();
    let mut addresses = Vec::new();
    for leaf in leaves {
        let step = match leaf.large && small.contains(&leaf.gpa()) {
            true => WINDOW * PAGE,
            false => HUGE,
        };
        let end = if leaf.large { HUGE } else { PAGE };
        addresses.extend((0..end).step_by(step as usize).map(|at| leaf.va + at));
    }
    addresses
}
