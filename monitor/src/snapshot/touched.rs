//! What the first request after a restore touches, seen in a trial.
//!
//! Before the guest of a trial runs, every 2 MiB page of its tables becomes 512 small
//! ones that neither say "accessed" nor "dirty". The processor, or what stands in for
//! one, then marks what is used. The new tables lie behind the guest's memory; the kernel,
//! which looks at its tables through the direct map, finds them there.

use std::collections::HashMap;
use std::ops::Range;

use spore_abi::layout::{DIRECT_VA, HUGE, PAGE, PML4_GPA};

use super::format::{FRAME_PAGES, Frame, Use};
use crate::memory::{GuestMemory, OutOfRange};
use crate::pagetable::{self, ADDRESS, LARGE, TABLE};

const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// At how many addresses a frame may be mapped, on average.
const ALIASES: u64 = 4;

/// Memory behind the guest's that the tables for frames take.
pub fn room(frames: usize) -> u64 {
    (frames as u64 * ALIASES * PAGE).next_multiple_of(HUGE)
}

/// Starts to watch the pages of frames. `from`: end of the memory that the guest knows;
/// `record`: what the monitor itself writes before the guest runs.
pub fn watch(
    memory: &GuestMemory,
    frames: &[Frame],
    from: u64,
    record: &Range<u64>,
) -> Result<(), OutOfRange> {
    let at_first = |gpa: u64| match record.contains(&gpa) {
        true => ACCESSED | DIRTY,
        false => 0,
    };
    let known = numbers(frames);
    let mut next = from;
    for gpa in (from..memory.ram_size()).step_by(HUGE as usize) {
        map_large(memory, DIRECT_VA + gpa, gpa, &mut next)?;
    }
    for leaf in pagetable::walk(memory).leaves {
        if !known.contains_key(&(leaf.gpa() / HUGE)) {
            continue;
        }
        let clean = leaf.entry & !(ACCESSED | DIRTY);
        if !leaf.large {
            memory.write(leaf.at, &(clean | at_first(leaf.gpa())))?;
        } else if next < memory.ram_size() {
            let first = clean & !LARGE;
            let table: Vec<u8> = (0..FRAME_PAGES as u64)
                .map(|page| page * PAGE)
                .flat_map(|at| ((first + at) | at_first(leaf.gpa() + at)).to_le_bytes())
                .collect();
            memory.write_bytes(next, &table)?;
            memory.write(leaf.at, &(next | TABLE))?;
            next += PAGE;
        }
    }
    Ok(())
}

/// Maps 2 MiB; tables that are missing are taken from `next` on.
fn map_large(memory: &GuestMemory, va: u64, gpa: u64, next: &mut u64) -> Result<(), OutOfRange> {
    let mut table = PML4_GPA;
    for level in [39, 30] {
        let at = table + (va >> level & 511) * 8;
        let mut entry: u64 = memory.read(at)?;
        if entry & 1 == 0 {
            entry = *next | TABLE;
            *next += PAGE;
            memory.write(at, &entry)?;
        }
        table = entry & ADDRESS;
    }
    memory.write(table + (va >> 21 & 511) * 8, &(gpa | TABLE | LARGE))
}

/// What was used since then, of each frame.
pub fn seen(memory: &GuestMemory, frames: &[Frame]) -> Vec<Use> {
    let known = numbers(frames);
    let mut uses = vec![Use::default(); frames.len()];
    for leaf in pagetable::walk(memory).leaves {
        let Some(&number) = known.get(&(leaf.gpa() / HUGE)) else {
            continue;
        };
        // A large page is one of a mapping that is new, or of more than there was room for.
        let page = (leaf.gpa() % HUGE / PAGE) as usize;
        if leaf.entry & ACCESSED != 0 && !leaf.large {
            uses[number].touched[page / 64] |= 1 << (page % 64);
        }
        if leaf.entry & DIRTY != 0 && !leaf.large {
            uses[number].written[page / 64] |= 1 << (page % 64);
        }
    }
    uses
}

fn numbers(frames: &[Frame]) -> HashMap<u64, usize> {
    let frames = frames.iter().enumerate();
    frames
        .map(|(number, frame)| (frame.gpa / HUGE, number))
        .collect()
}
