//! Guest memory by the page.
//!
//! All RAM above the program segments is one arena that the monitor mapped
//! linearly: a page of the arena *is* its address (`ARENA_VA + gpa`). Ordinary
//! anonymous memory is taken from the low end, so that what is used is dense
//! and no page table changes. Everybody else (kernel heap, exact pages, tmpfs,
//! rings) is lent whole 2 MiB blocks or runs from the high end.
//!
//! Pages that were never handed out are zero (the host gave them so); pages that
//! were are marked, and zeroed when they are given out as fresh memory again.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use spore_abi::layout::{HUGE, PAGE};
use spore_hal::{Lock, direct};

use crate::errno::{Errno, Result};

const PAGES_PER_BLOCK: u64 = HUGE / PAGE;

struct Frames {
    /// Free runs of pages: first page number to length.
    free: BTreeMap<u64, u64>,
    /// Pages handed out at least once.
    used_before: Vec<u64>,
    /// Single pages that are free inside lent blocks.
    singles: Vec<u64>,
    free_pages: u64,
    total_pages: u64,
}

static FRAMES: Lock<Option<Frames>> = Lock::new(None);

fn with<T>(work: impl FnOnce(&mut Frames) -> T) -> T {
    let mut guard = FRAMES.lock();
    let frames = guard.get_or_insert_with(|| Frames {
        free: BTreeMap::new(),
        used_before: Vec::new(),
        singles: Vec::new(),
        free_pages: 0,
        total_pages: 0,
    });
    work(frames)
}

/// Hands all RAM from `free_start` (GPA) on to the allocator. Called once at boot.
pub fn initialise(free_start: u64, ram_size: u64) {
    let first = free_start.div_ceil(PAGE);
    let end = ram_size / PAGE;
    let words = vec![0; (end as usize).div_ceil(64)];
    with(|frames| {
        frames.used_before = words;
        frames.free.insert(first, end - first);
        frames.free_pages = end - first;
        frames.total_pages = end;
    });
}

impl Frames {
    fn mark_used(&mut self, first: u64, count: u64) {
        for page in first..first + count {
            self.used_before[page as usize / 64] |= 1 << (page % 64);
        }
    }

    fn take(&mut self, run: u64, run_len: u64, first: u64, count: u64) {
        self.free.remove(&run);
        if first > run {
            self.free.insert(run, first - run);
        }
        if first + count < run + run_len {
            self.free.insert(first + count, run + run_len - first - count);
        }
        self.free_pages -= count;
    }

    fn lowest(&mut self, count: u64, align: u64) -> Option<u64> {
        let (run, len, first) = self.free.iter().find_map(|(run, len)| {
            let first = run.next_multiple_of(align);
            (first + count <= run + len).then_some((*run, *len, first))
        })?;
        self.take(run, len, first, count);
        Some(first)
    }

    fn highest(&mut self, count: u64, align: u64) -> Option<u64> {
        let (run, len, first) = self.free.iter().rev().find_map(|(run, len)| {
            let first = (run + len).checked_sub(count)? / align * align;
            (first >= *run).then_some((*run, *len, first))
        })?;
        self.take(run, len, first, count);
        Some(first)
    }

    fn give_back(&mut self, first: u64, count: u64) {
        let mut start = first;
        let mut len = count;
        if let Some((before, before_len)) = self.free.range(..first).next_back().map(|(run, len)| (*run, *len)) {
            debug_assert!(before + before_len <= first, "page freed twice");
            if before + before_len == first {
                self.free.remove(&before);
                start = before;
                len += before_len;
            }
        }
        if let Some(after_len) = self.free.remove(&(first + count)) {
            len += after_len;
        }
        self.free.insert(start, len);
        self.free_pages += count;
    }

    /// Runs of pages inside `[first, first + count)` that were used before; all are
    /// marked used.
    fn stale_runs(&mut self, first: u64, count: u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for page in first..first + count {
            if self.used_before[page as usize / 64] >> (page % 64) & 1 == 1 {
                match runs.last_mut() {
                    Some((start, len)) if *start + *len == page => *len += 1,
                    _ => runs.push((page, 1)),
                }
            }
        }
        self.mark_used(first, count);
        runs
    }
}

/// Takes `len` bytes of arena (a multiple of the page size), aligned to `align`, from
/// the low end. Answers the GPA; the content is zero. `None`: no such run.
pub fn arena_take(len: u64, align: u64) -> Option<u64> {
    let count = len / PAGE;
    let (first, stale) = with(|frames| {
        let first = frames.lowest(count, (align / PAGE).max(1))?;
        Some((first, frames.stale_runs(first, count)))
    })?;
    zero_runs(&stale);
    Some(first * PAGE)
}

/// Takes exactly `[gpa, gpa + len)` if all of it is free; content zero.
pub fn arena_take_at(gpa: u64, len: u64) -> bool {
    let (first, count) = (gpa / PAGE, len / PAGE);
    let stale = with(|frames| {
        let (run, run_len) = frames.free.range(..=first).next_back().map(|(run, len)| (*run, *len))?;
        if first + count > run + run_len {
            return None;
        }
        frames.take(run, run_len, first, count);
        Some(frames.stale_runs(first, count))
    });
    match stale {
        Some(stale) => {
            zero_runs(&stale);
            true
        }
        None => false,
    }
}

/// Gives arena pages back.
pub fn arena_give(gpa: u64, len: u64) {
    with(|frames| frames.give_back(gpa / PAGE, len / PAGE));
}

fn zero_runs(runs: &[(u64, u64)]) {
    for (page, count) in runs {
        direct::zero(page * PAGE, count * PAGE);
    }
}

/// A whole 2 MiB block from the high end, zeroed. ENOMEM.
pub fn alloc_block() -> Result<u64> {
    let (first, stale) = with(|frames| {
        let first = frames.highest(PAGES_PER_BLOCK, PAGES_PER_BLOCK)?;
        Some((first, frames.stale_runs(first, PAGES_PER_BLOCK)))
    })
    .ok_or(Errno::ENOMEM)?;
    zero_runs(&stale);
    Ok(first * PAGE)
}

/// Gives a block back.
pub fn free_block(gpa: u64) {
    arena_give(gpa, HUGE);
}

/// A frame for the kernel heap: not zeroed, never given back.
pub fn heap_block() -> Option<u64> {
    // The heap may ask while this module itself allocates: then its small static
    // reserve has to do.
    let mut guard = FRAMES.try_lock()?;
    let frames = guard.as_mut()?;
    let first = frames.highest(PAGES_PER_BLOCK, PAGES_PER_BLOCK)?;
    frames.mark_used(first, PAGES_PER_BLOCK);
    Some(first * PAGE)
}

/// `pages` contiguous pages, content arbitrary (rings, bulk file data). ENOMEM.
pub fn alloc_run(pages: u64) -> Result<u64> {
    with(|frames| {
        let first = frames.highest(pages, 1)?;
        frames.mark_used(first, pages);
        Some(first * PAGE)
    })
    .ok_or(Errno::ENOMEM)
}

/// Gives a run back.
pub fn free_run(gpa: u64, pages: u64) {
    arena_give(gpa, pages * PAGE);
}

/// One zeroed page. ENOMEM. Single pages share blocks, so that the arena stays whole.
pub fn alloc_page() -> Result<u64> {
    let (page, stale) = with(|frames| {
        if frames.singles.is_empty() {
            let first = frames.highest(PAGES_PER_BLOCK, PAGES_PER_BLOCK).or_else(|| None);
            match first {
                Some(first) => frames.singles.extend((first..first + PAGES_PER_BLOCK).rev()),
                None => frames.singles.extend(frames.highest(1, 1)),
            }
        }
        let page = frames.singles.pop()?;
        Some((page, !frames.stale_runs(page, 1).is_empty()))
    })
    .ok_or(Errno::ENOMEM)?;
    if stale {
        direct::zero(page * PAGE, PAGE);
    }
    Ok(page * PAGE)
}

/// Gives a page back to the shared blocks.
pub fn free_page(gpa: u64) {
    with(|frames| frames.singles.push(gpa / PAGE));
}

/// A zeroed page for a page table.
pub fn table_page() -> Option<u64> {
    let page = alloc_page().ok()?;
    spore_hal::paging::zero_table(page);
    Some(page)
}

/// Bytes of RAM in all and bytes that are free.
pub fn totals() -> (u64, u64) {
    with(|frames| (frames.total_pages * PAGE, (frames.free_pages + frames.singles.len() as u64) * PAGE))
}
