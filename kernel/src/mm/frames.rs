//! Guest memory by the page.
//!
//! All RAM above the program segments is one arena that the monitor mapped
//! linearly: a page of the arena *is* its address (`ARENA_VA + gpa`). Ordinary
//! anonymous memory is taken from the low end, so that what is used is dense
//! and no page table changes. Everybody else (kernel heap, exact pages, tmpfs,
//! rings) is lent whole 2 MiB blocks or runs from the high end.
//!
//! The machine has little memory at first: KVM's tables for what is never used would
//! cost more than a short program's whole run. The allocator asks for more when it
//! has none left, and as much again as there is, so that it asks rarely.
//!
//! Pages that were never handed out are zero (the host gave them so); pages that
//! were are marked, and zeroed when they are given out as fresh memory again.

use alloc::vec;
use alloc::vec::Vec;

use spore_abi::hostcall::number;
use spore_abi::layout::{HUGE, PAGE, PT_POOL_END, PT_POOL_GPA};
use spore_hal::{Lock, direct, host};

use crate::errno::{Errno, Result};

const PAGES_PER_BLOCK: usize = (HUGE / PAGE) as usize;
/// Single pages come from pieces of so many, which share a block with the runs.
const SINGLES: usize = 64;

/// One bit per page.
struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    const fn empty() -> Self {
        Self { words: Vec::new() }
    }
    fn new(bits: usize) -> Self {
        Self {
            words: vec![0; bits.div_ceil(64)],
        }
    }
    fn get(&self, bit: usize) -> bool {
        self.words[bit / 64] >> (bit % 64) & 1 == 1
    }
    fn fill(&mut self, first: usize, count: usize, value: bool) {
        for bit in first..first + count {
            if value {
                self.words[bit / 64] |= 1 << (bit % 64);
            } else {
                self.words[bit / 64] &= !(1 << (bit % 64));
            }
        }
    }
    /// First set bit in `[from, end)`.
    fn next_set(&self, from: usize, end: usize) -> Option<usize> {
        self.next(from, end, 0)
    }
    /// First clear bit in `[from, end)`.
    fn next_clear(&self, from: usize, end: usize) -> Option<usize> {
        self.next(from, end, u64::MAX)
    }
    fn next(&self, from: usize, end: usize, flip: u64) -> Option<usize> {
        let mut at = from;
        while at < end {
            let word = (self.words[at / 64] ^ flip) >> (at % 64);
            if word != 0 {
                let found = at + word.trailing_zeros() as usize;
                return (found < end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }
}

/// Nothing here allocates after `initialise`: the kernel heap itself grows from it.
struct Frames {
    free: Bitmap,
    /// Pages handed out at least once.
    used_before: Bitmap,
    /// Free single pages inside blocks that are shared by single pages.
    singles: Bitmap,
    free_in_block: Vec<u16>,
    first: usize,
    /// End of what there is.
    end: usize,
    /// End of what there can be.
    limit: usize,
    /// Asks the monitor to let memory end there (GPA); whether it does.
    more: fn(u64) -> bool,
    free_pages: usize,
    free_singles: usize,
    /// No free page below.
    low_hint: usize,
    /// No free single page below.
    single_hint: usize,
    /// Free pages of the pool for page tables.
    tables: TablePool,
}

/// Pages for page tables, apart from all other memory: software that stands in for the
/// processor's second level of page tables maps 2 MiB as small pages if one of them is a
/// page table.
struct TablePool([u64; (PT_POOL_PAGES as usize).div_ceil(64)]);

/// Pages of the pool.
const PT_POOL_PAGES: u64 = (PT_POOL_END - PT_POOL_GPA) / PAGE;

impl TablePool {
    const EMPTY: Self = Self([0; (PT_POOL_PAGES as usize).div_ceil(64)]);

    fn holds(gpa: u64) -> bool {
        (PT_POOL_GPA..PT_POOL_END).contains(&gpa)
    }

    fn give(&mut self, gpa: u64) {
        let page = ((gpa - PT_POOL_GPA) / PAGE) as usize;
        self.0[page / 64] |= 1 << (page % 64);
    }

    fn take(&mut self) -> Option<u64> {
        let word = self.0.iter().position(|word| *word != 0)?;
        let bit = self.0[word].trailing_zeros() as u64;
        self.0[word] &= self.0[word] - 1;
        Some(PT_POOL_GPA + (word as u64 * 64 + bit) * PAGE)
    }
}

static FRAMES: Lock<Frames> = Lock::new(Frames {
    free: Bitmap::empty(),
    used_before: Bitmap::empty(),
    singles: Bitmap::empty(),
    free_in_block: Vec::new(),
    first: 0,
    end: 0,
    limit: 0,
    more: ask,
    free_pages: 0,
    free_singles: 0,
    low_hint: 0,
    single_hint: 0,
    tables: TablePool::EMPTY,
});

fn ask(end: u64) -> bool {
    host::call(number::GROW, [end, 0, 0, 0, 0, 0]) == 0
}

/// Hands all RAM from `free_start` (GPA) on to the allocator, of which there are
/// `present` bytes yet, and the pool for page tables from `tables` on. Called once at boot.
pub fn initialise(free_start: u64, present: u64, ram_size: u64, tables: u64) {
    let first = free_start.div_ceil(PAGE) as usize;
    let (end, limit) = (page(present), page(ram_size));
    let mut fresh = Frames {
        free: Bitmap::new(limit),
        used_before: Bitmap::new(limit),
        singles: Bitmap::new(limit),
        free_in_block: vec![0; limit.div_ceil(PAGES_PER_BLOCK)],
        first,
        end,
        limit,
        more: ask,
        free_pages: 0,
        free_singles: 0,
        low_hint: first,
        single_hint: 0,
        tables: TablePool::EMPTY,
    };
    fresh.give(first, end - first);
    for table in (tables.max(PT_POOL_GPA)..PT_POOL_END).step_by(PAGE as usize) {
        fresh.tables.give(table);
    }
    *FRAMES.lock() = fresh;
}

impl Frames {
    fn adjust(&mut self, first: usize, count: usize, freed: bool) {
        self.free.fill(first, count, freed);
        let mut at = first;
        while at < first + count {
            let block = at / PAGES_PER_BLOCK;
            let step = ((block + 1) * PAGES_PER_BLOCK).min(first + count) - at;
            if freed {
                self.free_in_block[block] += step as u16;
            } else {
                self.free_in_block[block] -= step as u16;
            }
            at += step;
        }
    }

    fn take(&mut self, first: usize, count: usize) {
        self.adjust(first, count, false);
        self.free_pages -= count;
        if first == self.low_hint {
            self.low_hint += count;
        }
    }

    fn give(&mut self, first: usize, count: usize) {
        debug_assert!(
            self.free.next_set(first, first + count).is_none(),
            "page freed twice"
        );
        self.adjust(first, count, true);
        self.free_pages += count;
        self.low_hint = self.low_hint.min(first);
    }

    /// Asks for memory with room for `count` more pages; false if there is no more.
    fn grow(&mut self, count: usize) -> bool {
        // The block at the old end may be in use: the room must lie behind it.
        let wanted = (self.end + count).next_multiple_of(PAGES_PER_BLOCK);
        let end = wanted.max(2 * self.end).min(self.limit);
        if end <= self.end || !(self.more)(gpa(end)) {
            return false;
        }
        let old = core::mem::replace(&mut self.end, end);
        self.give(old, end - old);
        true
    }

    fn lowest(&mut self, count: usize, align: usize) -> Option<usize> {
        loop {
            match self.lowest_present(count, align) {
                None if self.grow(count + align) => {}
                found => return found,
            }
        }
    }

    fn lowest_present(&mut self, count: usize, align: usize) -> Option<usize> {
        let mut at = self.free.next_set(self.low_hint, self.end)?;
        self.low_hint = at;
        loop {
            at = at.next_multiple_of(align);
            if at + count > self.end {
                return None;
            }
            match self.free.next_clear(at, at + count) {
                None => {
                    self.take(at, count);
                    return Some(at);
                }
                Some(taken) => at = self.free.next_set(taken, self.end)?,
            }
        }
    }

    fn highest(&mut self, count: usize) -> Option<usize> {
        loop {
            match self.highest_present(count) {
                None if self.grow(count) => {}
                found => return found,
            }
        }
    }

    fn highest_present(&mut self, count: usize) -> Option<usize> {
        let align = if count == PAGES_PER_BLOCK {
            PAGES_PER_BLOCK
        } else {
            1
        };
        let mut end = self.end;
        while end >= self.first + count {
            let at = (end - count) / align * align;
            if at < self.first {
                return None;
            }
            match self.free.next_clear(at, at + count) {
                None => {
                    self.take(at, count);
                    return Some(at);
                }
                // Go down past the last taken page of the window.
                Some(mut taken) => {
                    while let Some(more) = self.free.next_clear(taken + 1, at + count) {
                        taken = more;
                    }
                    end = if align == 1 {
                        self.free_end_below(taken)
                    } else {
                        at
                    };
                }
            }
        }
        None
    }

    /// End of the highest free run that lies below `page`.
    fn free_end_below(&self, page: usize) -> usize {
        let mut at = page;
        while at > self.first && !self.free.get(at - 1) {
            let block = (at - 1) / PAGES_PER_BLOCK;
            at = if self.free_in_block[block] == 0 {
                block * PAGES_PER_BLOCK
            } else {
                at - 1
            };
        }
        at
    }

    fn take_single(&mut self) -> Option<usize> {
        if self.free_singles == 0 {
            if let Some(first) = self.highest(SINGLES) {
                self.singles.fill(first, SINGLES, true);
                self.free_singles += SINGLES;
                self.single_hint = first;
            } else {
                return self.highest(1);
            }
        }
        let page = self.singles.next_set(self.single_hint, self.end)?;
        self.single_hint = page;
        self.singles.fill(page, 1, false);
        self.free_singles -= 1;
        Some(page)
    }

    fn stale_run(&self, from: usize, end: usize) -> Option<(usize, usize)> {
        let first = self.used_before.next_set(from, end)?;
        let last = self.used_before.next_clear(first, end).unwrap_or(end);
        Some((first, last))
    }
}

/// Zeroes those of the pages that were used before, and marks all as used.
fn make_fresh(first: usize, count: usize) {
    let mut from = first;
    loop {
        let run = FRAMES.lock().stale_run(from, first + count);
        let Some((start, end)) = run else { break };
        direct::zero(start as u64 * PAGE, (end - start) as u64 * PAGE);
        from = end;
    }
    FRAMES.lock().used_before.fill(first, count, true);
}

/// Zeroes the free pages that were used before. They are in no copy of the memory then,
/// and nobody who goes on from one has to zero them first.
pub fn clear_free() {
    let mut from = 0;
    while let Some((start, end)) = next_free_and_stale(from) {
        direct::zero(gpa(start), gpa(end - start));
        FRAMES.lock().used_before.fill(start, end - start, false);
        from = end;
    }
}

fn next_free_and_stale(from: usize) -> Option<(usize, usize)> {
    let frames = FRAMES.lock();
    let mut from = from.max(frames.first);
    loop {
        let (start, end) = frames.stale_run(from, frames.end)?;
        let Some(free) = frames.free.next_set(start, end) else {
            from = end;
            continue;
        };
        let taken = frames.free.next_clear(free, end).unwrap_or(end);
        return Some((free, taken));
    }
}

fn gpa(page: usize) -> u64 {
    page as u64 * PAGE
}

fn page(gpa: u64) -> usize {
    (gpa / PAGE) as usize
}

/// Takes `len` bytes of arena (a multiple of the page size), aligned to `align`, from
/// the low end. Answers the GPA; the content is zero. `None`: no such run.
pub fn arena_take(len: u64, align: u64) -> Option<u64> {
    let first = FRAMES.lock().lowest(page(len), page(align).max(1))?;
    make_fresh(first, page(len));
    Some(gpa(first))
}

/// Takes exactly `[start, start + len)` (GPA) if all of it is free; content zero.
pub fn arena_take_at(start: u64, len: u64) -> bool {
    let (first, count) = (page(start), page(len));
    {
        let mut frames = FRAMES.lock();
        while first + count > frames.end && frames.grow(count) {}
        if first < frames.first
            || first + count > frames.end
            || frames.free.next_clear(first, first + count).is_some()
        {
            return false;
        }
        frames.take(first, count);
    }
    make_fresh(first, count);
    true
}

/// Gives arena pages back.
pub fn arena_give(start: u64, len: u64) {
    FRAMES.lock().give(page(start), page(len));
}

/// A whole 2 MiB block from the high end, zeroed. ENOMEM.
pub fn alloc_block() -> Result<u64> {
    let first = FRAMES
        .lock()
        .highest(PAGES_PER_BLOCK)
        .ok_or(Errno::ENOMEM)?;
    make_fresh(first, PAGES_PER_BLOCK);
    Ok(gpa(first))
}

/// Gives a block back.
pub fn free_block(start: u64) {
    arena_give(start, HUGE);
}

/// `len` bytes (whole blocks) in one piece for the kernel heap: not zeroed, never
/// given back.
pub fn heap_blocks(len: u64) -> Option<u64> {
    let mut frames = FRAMES.try_lock()?;
    let first = frames.highest(page(len))?;
    frames.used_before.fill(first, page(len), true);
    Some(gpa(first))
}

/// `pages` contiguous pages, content arbitrary (rings, bulk file data). ENOMEM.
pub fn alloc_run(pages: u64) -> Result<u64> {
    let mut frames = FRAMES.lock();
    let count = usize::try_from(pages).map_err(|_| Errno::ENOMEM)?;
    let first = frames.highest(count).ok_or(Errno::ENOMEM)?;
    frames.used_before.fill(first, count, true);
    Ok(gpa(first))
}

/// Gives a run back.
pub fn free_run(start: u64, pages: u64) {
    arena_give(start, pages * PAGE);
}

/// One zeroed page. ENOMEM. Single pages share blocks, so that the arena stays whole.
pub fn alloc_page() -> Result<u64> {
    let single = FRAMES.lock().take_single().ok_or(Errno::ENOMEM)?;
    make_fresh(single, 1);
    Ok(gpa(single))
}

/// Gives a page back to the shared blocks.
pub fn free_page(start: u64) {
    let mut frames = FRAMES.lock();
    if TablePool::holds(start) {
        return frames.tables.give(start);
    }
    frames.singles.fill(page(start), 1, true);
    frames.free_singles += 1;
    frames.single_hint = frames.single_hint.min(page(start));
}

/// A zeroed page for a page table.
pub fn table_page() -> Option<u64> {
    let pooled = FRAMES.lock().tables.take();
    let page = pooled.or_else(|| alloc_page().ok())?;
    spore_hal::paging::zero_table(page);
    Some(page)
}

/// Bytes of RAM in all and bytes that are free.
pub fn totals() -> (u64, u64) {
    let frames = FRAMES.lock();
    let to_come = frames.limit - frames.end;
    (
        gpa(frames.limit),
        gpa(frames.free_pages + frames.free_singles + to_come),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(pages: usize) -> Frames {
        growing(pages, pages)
    }

    fn growing(pages: usize, limit: usize) -> Frames {
        let mut frames = Frames {
            free: Bitmap::new(limit),
            used_before: Bitmap::new(limit),
            singles: Bitmap::new(limit),
            free_in_block: vec![0; limit.div_ceil(PAGES_PER_BLOCK)],
            first: 100,
            end: pages,
            limit,
            more: |_| true,
            free_pages: 0,
            free_singles: 0,
            low_hint: 100,
            single_hint: 0,
            tables: TablePool::EMPTY,
        };
        frames.give(100, pages - 100);
        frames
    }

    #[test]
    fn low_and_high_ends_do_not_meet() {
        let mut frames = fresh(4096);
        assert_eq!(frames.lowest(10, 1), Some(100));
        assert_eq!(frames.highest(PAGES_PER_BLOCK), Some(4096 - 512));
        assert_eq!(frames.lowest(8, 16), Some(112));
        assert_eq!(frames.lowest(2, 1), Some(110));
        frames.give(100, 10);
        assert_eq!(frames.lowest(10, 1), Some(100));
    }

    #[test]
    fn a_high_run_goes_below_what_is_taken() {
        let mut frames = fresh(4096);
        assert_eq!(frames.highest(16), Some(4080));
        assert_eq!(frames.highest(16), Some(4064));
        frames.give(4080, 16);
        assert_eq!(frames.highest(8), Some(4088));
        assert_eq!(frames.highest(16), Some(4048));
        assert_eq!(frames.highest(PAGES_PER_BLOCK), Some(3072));
    }

    #[test]
    fn single_pages_share_a_block() {
        let mut frames = fresh(4096);
        let first = frames.take_single();
        let second = frames.take_single();
        assert_eq!(first, Some(4096 - SINGLES));
        assert_eq!(second, Some(4096 - SINGLES + 1));
        assert_eq!(frames.free_pages, 4096 - 100 - SINGLES);
    }

    #[test]
    fn page_tables_come_from_their_pool() {
        let mut tables = TablePool::EMPTY;
        assert_eq!(tables.take(), None);
        let last = PT_POOL_END - PAGE;
        tables.give(last);
        tables.give(PT_POOL_GPA + 5 * PAGE);
        assert_eq!(tables.take(), Some(PT_POOL_GPA + 5 * PAGE));
        assert_eq!(tables.take(), Some(last));
        assert_eq!(tables.take(), None);
        assert!(TablePool::holds(last) && !TablePool::holds(PT_POOL_END));
    }

    #[test]
    fn memory_grows_when_none_is_left() {
        let mut frames = growing(612, 4096);
        assert_eq!(frames.lowest(500, 1), Some(100));
        assert_eq!(frames.end, 612);
        assert_eq!(frames.highest(PAGES_PER_BLOCK), Some(1024));
        assert_eq!(frames.end, 1536);
        assert_eq!(frames.lowest(3000, 1), None);
        assert_eq!(frames.end, 4096);
        assert_eq!(frames.highest(PAGES_PER_BLOCK), Some(4096 - 512));
    }

    #[test]
    fn memory_that_is_refused_is_not_there() {
        let mut frames = growing(612, 4096);
        frames.more = |_| false;
        assert_eq!(frames.highest(PAGES_PER_BLOCK), None);
        assert_eq!(frames.end, 612);
    }

    #[test]
    fn memory_runs_out_with_none() {
        let mut frames = fresh(612);
        assert_eq!(frames.highest(PAGES_PER_BLOCK), None);
        assert_eq!(frames.lowest(512, 1), Some(100));
        assert_eq!(frames.take_single(), None);
    }
}
