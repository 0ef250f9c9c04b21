//! An address space: its mappings, and the placing of new ones.
//!
//! Two kinds of blocks exist. *Loose* ones (2 MiB pages, readable, writable and
//! executable throughout) hold whatever cannot depend on a fault; in them every
//! byte that no mapping covers is zero. *Exact* ones are described page by page.
//! The two never share a 2 MiB block of the sparse windows.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use spore_abi::layout::{ARENA_VA, HUGE, PAGE, SPARSE_END, SPARSE_MIN, USER_END};
use spore_hal::paging::{self, Mapping};
use spore_hal::trap;

use crate::errno::{Errno, Result};
use crate::mm::frames;
use crate::mm::vma::{Backing, Vma, VmaTree};

/// Loose sparse mappings lie below, exact ones above this address.
pub const EXACT_MIN: u64 = 0x6000_0000_0000;

/// Which window a new mapping goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The arena, pages at once.
    Arena,
    /// Sparse, 2 MiB blocks on demand.
    Loose,
    /// Sparse, single pages on demand.
    Exact,
}

/// A set of addresses, in order.
pub(super) struct Blocks(Vec<u64>);

impl Blocks {
    pub(super) fn contains(&self, block: u64) -> bool {
        self.0.binary_search(&block).is_ok()
    }
    pub(super) fn insert(&mut self, block: u64) {
        if let Err(place) = self.0.binary_search(&block) {
            self.0.insert(place, block);
        }
    }
    pub(super) fn remove(&mut self, block: u64) {
        if let Ok(place) = self.0.binary_search(&block) {
            self.0.remove(place);
        }
    }
}

/// Mappings and heap of one process.
pub struct AddressSpace {
    /// All mappings.
    pub vmas: VmaTree,
    /// Start of the heap.
    pub brk_start: u64,
    /// Current break.
    pub brk: u64,
    /// Frames whose translation may still be cached; freed after the next flush.
    quarantine: alloc::vec::Vec<Frame>,
    /// A permission was taken away since the last flush.
    stale: bool,
    /// Loose blocks (address) that this space has mapped on demand.
    pub(super) loose_blocks: Blocks,
    /// Private pages that PROT_NONE took out of the page table: address to frame.
    pub(super) parked: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy)]
enum Frame {
    Page(u64),
    Block(u64),
}

impl AddressSpace {
    /// Nothing mapped.
    pub const fn new() -> Self {
        Self {
            vmas: VmaTree::new(),
            brk_start: 0,
            brk: 0,
            quarantine: alloc::vec::Vec::new(),
            stale: false,
            loose_blocks: Blocks(Vec::new()),
            parked: BTreeMap::new(),
        }
    }

    /// Finds room for `len` bytes. ENOMEM.
    pub fn place(&self, window: Window, len: u64, align: u64) -> Result<u64> {
        let align = align.max(if len >= HUGE && window != Window::Arena {
            HUGE
        } else {
            PAGE
        });
        match window {
            Window::Arena => frames::arena_take(len, align).map(|gpa| ARENA_VA + gpa),
            Window::Loose => self.vmas.highest_gap(SPARSE_MIN, EXACT_MIN, len, align),
            Window::Exact => self.vmas.highest_gap(EXACT_MIN, SPARSE_END, len, align),
        }
        .ok_or(Errno::ENOMEM)
    }

    /// Whether `[start, end)` lies where applications may map.
    pub fn allowed(start: u64, end: u64) -> bool {
        start >= spore_abi::layout::USER_MIN && start < end && end <= USER_END
    }

    /// Notes that cached translations are out of date.
    pub(super) fn mark_stale(&mut self) {
        self.stale = true;
    }

    pub(super) fn retire_page(&mut self, gpa: u64) {
        self.quarantine.push(Frame::Page(gpa));
        self.stale = true;
    }

    pub(super) fn retire_block(&mut self, gpa: u64) {
        self.quarantine.push(Frame::Block(gpa));
        self.stale = true;
    }

    /// Flushes translations if anything was taken away, then frees the frames.
    pub fn settle(&mut self) {
        if core::mem::take(&mut self.stale) {
            trap::flush_translations();
        }
        for frame in self.quarantine.drain(..) {
            match frame {
                Frame::Page(gpa) => frames::free_page(gpa),
                Frame::Block(gpa) => frames::free_block(gpa),
            }
        }
    }

    /// Makes the small pages of the block at `va` editable.
    pub(super) fn split_block(&mut self, va: u64) -> Result<()> {
        if matches!(paging::lookup(va), Mapping::Huge { .. }) {
            paging::split(va, &mut frames::table_page).map_err(|_| Errno::ENOMEM)?;
            self.mark_stale();
        }
        Ok(())
    }

    /// Gives the memory behind a removed mapping back. `settle` must follow.
    pub(super) fn release(&mut self, vma: &Vma) {
        match vma.backing {
            Backing::Arena => self.release_arena(vma.start, vma.end),
            Backing::Sparse if vma.exact => self.release_exact(vma),
            Backing::Sparse => self.release_loose(vma.start, vma.end),
            // Segments of the program keep their frames: their addresses are not reused.
            Backing::Static => {}
        }
    }

    fn release_arena(&mut self, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let next = ((at & !(HUGE - 1)) + HUGE).min(end);
            if paging::has_page_table(at) {
                self.restore_arena_pages(at, next);
            }
            at = next;
        }
        frames::arena_give(start - ARENA_VA, end - start);
    }

    /// Small pages of an arena block: every page its own again, writable.
    pub(super) fn restore_arena_pages(&mut self, start: u64, end: u64) {
        for va in (start..end).step_by(PAGE as usize) {
            match paging::lookup(va) {
                Mapping::Page {
                    gpa,
                    writable: true,
                } if gpa == va - ARENA_VA => {}
                Mapping::Page { gpa, .. } if gpa != va - ARENA_VA => {
                    paging::unmap_page(va);
                    if gpa < spore_hal::direct::ram_size() {
                        self.retire_page(gpa);
                    }
                    self.mark_stale();
                    let _ = paging::map_page(va, va - ARENA_VA, true, &mut frames::table_page);
                }
                _ => {
                    let _ = paging::map_page(va, va - ARENA_VA, true, &mut frames::table_page);
                }
            }
        }
    }

    /// Unmaps the pages of an exact mapping and frees those that it owns.
    pub(super) fn release_exact(&mut self, vma: &Vma) {
        let owned = !vma.shared || vma.is_anonymous();
        self.drop_parked(vma.start, vma.end);
        let mut at = vma.start;
        while at < vma.end {
            let block = at & !(HUGE - 1);
            let next = (block + HUGE).min(vma.end);
            match paging::lookup(at) {
                Mapping::Huge { gpa, .. } if at == block && next == block + HUGE => {
                    paging::unmap_huge(block);
                    self.retire_block(gpa);
                }
                Mapping::Huge { .. }
                    // Only a part goes: the frame falls apart into pages.
                    if self.split_block(block).is_ok() => {
                        self.release_pages(at, next, owned);
                    }
                _ if paging::has_page_table(at) => self.release_pages(at, next, owned),
                _ => {}
            }
            at = next;
        }
    }

    fn release_pages(&mut self, start: u64, end: u64, owned: bool) {
        for va in (start..end).step_by(PAGE as usize) {
            if let Some((gpa, _)) = paging::unmap_page(va) {
                if owned && gpa < spore_hal::direct::ram_size() {
                    self.retire_page(gpa);
                }
                self.mark_stale();
            }
        }
    }

    /// Loose blocks go back once nothing lies in them; what stays is zeroed.
    pub(super) fn release_loose(&mut self, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let block = at & !(HUGE - 1);
            let next = (block + HUGE).min(end);
            if self.loose_blocks.contains(block) {
                let empty = self.vmas.is_free(block, block + HUGE);
                match paging::lookup(block) {
                    Mapping::Huge { gpa, .. } if empty => {
                        paging::unmap_huge(block);
                        self.loose_blocks.remove(block);
                        self.retire_block(gpa);
                    }
                    _ => zero_mapped(at, next),
                }
            } else {
                zero_mapped(at, next);
            }
            at = next;
        }
    }
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self::new()
    }
}

/// Zeroes those pages of `[start, end)` that are mapped and writable.
pub(super) fn zero_mapped(start: u64, end: u64) {
    let mut at = start;
    while at < end {
        let block_end = ((at & !(HUGE - 1)) + HUGE).min(end);
        match paging::lookup(at) {
            Mapping::Huge {
                gpa,
                writable: true,
            } => {
                zero_frame(gpa + at % HUGE, block_end - at, at);
                at = block_end;
            }
            Mapping::Page {
                gpa,
                writable: true,
            } => {
                zero_frame(gpa, PAGE, at);
                at += PAGE;
            }
            _ if paging::has_page_table(at) => at += PAGE,
            _ => at = block_end,
        }
    }
}

fn zero_frame(gpa: u64, len: u64, va: u64) {
    // Through the application's own address: its translation is warm or will be needed.
    if spore_hal::user::zero(va, len).is_err() {
        spore_hal::direct::zero(gpa, len);
    }
}

/// Shows every mapping of the current process, ascending.
pub fn for_each_vma(mut show: impl FnMut(&Vma)) {
    let process = crate::sched::current().process();
    let space = process.memory.lock();
    for vma in space.vmas.iter() {
        show(vma);
    }
}
