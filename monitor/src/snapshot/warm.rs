//! Warm mappings: a machine that stands by touches its memory once, so that the
//! host's tables for it exist before anybody waits.
//!
//! Where page tables are shadowed, every first touch of a page leaves the guest
//! and costs tens of microseconds. A few instructions, run by the vCPU itself in
//! the buffer that the guest has offered for its restore, touch one byte of every
//! page that the guest has mapped, then ring the doorbell. Nothing is changed.

use std::collections::HashSet;

use spore_abi::layout::{DIRECT_VA, DOORBELL_CALL_GPA, HUGE, LAYERS_GPA, PAGE, PML4_GPA};
use spore_abi::restore::BUFFER;

use crate::memory::GuestMemory;

const PRESENT: u64 = 1;
const USER: u64 = 4;
const LARGE: u64 = 0x80;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
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
    let (mut large, mut small) = (Vec::new(), Vec::new());
    let resident: HashSet<u64> = memory.resident_frames().into_iter().collect();
    let backed = |gpa: u64| {
        gpa >= LAYERS_GPA && memory.read::<u8>(gpa).is_ok()
            || resident.contains(&(gpa / HUGE * HUGE))
    };
    let walk = |table: u64, index: u64| -> Option<u64> {
        let entry: u64 = memory.read(table + index * 8).ok()?;
        (entry & PRESENT != 0 && entry & USER != 0).then_some(entry)
    };
    for a in 0..256 {
        let Some(third) = walk(PML4_GPA, a) else {
            continue;
        };
        for b in 0..512 {
            let Some(second) = walk(third & ADDRESS, b) else {
                continue;
            };
            for c in 0..512 {
                let Some(entry) = walk(second & ADDRESS, c) else {
                    continue;
                };
                let va = a << 39 | b << 30 | c << 21;
                if entry & LARGE != 0 {
                    if backed(entry & ADDRESS & !(HUGE - 1)) {
                        large.push(va);
                    }
                    continue;
                }
                for d in 0..512 {
                    let Some(page) = walk(entry & ADDRESS, d) else {
                        continue;
                    };
                    if backed(page & ADDRESS) {
                        small.push(va | d << 12);
                    }
                }
            }
        }
    }
    large.extend(small);
    large
}
