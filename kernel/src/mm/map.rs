//! mmap, munmap and mprotect.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spore_abi::layout::{ARENA_VA, HUGE, PAGE, USER_END};
use spore_hal::paging::{self, Mapping};

use crate::errno::{Errno, Result};
use crate::fs::file::{File, PageSource};
use crate::mm::frames;
use crate::mm::space::{AddressSpace, Window, zero_mapped};
use crate::mm::vma::{Backing, Content, Vma, prot};

/// mmap flags (`mman-common.h`, `asm/mman.h`).
pub mod flag {
    #![allow(missing_docs, reason = "named and documented as in mmap(2)")]
    pub const SHARED: u32 = 0x01;
    pub const PRIVATE: u32 = 0x02;
    pub const TYPE: u32 = 0x0f;
    pub const SHARED_VALIDATE: u32 = 0x03;
    pub const FIXED: u32 = 0x10;
    pub const ANONYMOUS: u32 = 0x20;
    pub const BELOW_4GB: u32 = 0x40;
    pub const GROWSDOWN: u32 = 0x100;
    pub const NORESERVE: u32 = 0x4000;
    pub const POPULATE: u32 = 0x8000;
    pub const STACK: u32 = 0x20000;
    pub const HUGETLB: u32 = 0x40000;
    pub const FIXED_NOREPLACE: u32 = 0x100000;
}

/// Reservations of this size and more are exact: WebAssembly relies on their guards.
const EXACT_RESERVATION: u64 = 4 << 30;
/// Anonymous memory up to this size comes from the arena.
const ARENA_LIMIT: u64 = 8 << 20;
/// File mappings up to this size are copied at once rather than mapped page by page.
const COPY_LIMIT: u64 = 16 << 20;

/// What mmap is asked for; lengths and addresses are page aligned.
pub struct Request {
    /// Address or hint.
    pub addr: u64,
    /// Length, not zero.
    pub len: u64,
    /// Protection.
    pub prot: u32,
    /// Flags.
    pub flags: u32,
    /// File and offset, for file mappings.
    pub file: Option<(Arc<dyn File>, u64)>,
}

/// Rounds a length up to pages. ENOMEM if it wraps.
pub fn round_up(len: u64) -> Result<u64> {
    len.checked_next_multiple_of(PAGE)
        .filter(|len| *len <= USER_END)
        .ok_or(Errno::ENOMEM)
}

impl AddressSpace {
    /// mmap(2); answers the address.
    pub fn map(&mut self, request: &Request) -> Result<u64> {
        let fixed = request.flags & (flag::FIXED | flag::FIXED_NOREPLACE) != 0;
        let result = if fixed {
            self.map_fixed(request)
        } else {
            self.map_anywhere(request)
        };
        self.settle();
        result
    }

    fn map_anywhere(&mut self, request: &Request) -> Result<u64> {
        if request.flags & flag::BELOW_4GB != 0 {
            return self.map_low(request);
        }
        let window = choose_window(request);
        let hinted = self.honoured_hint(request, window);
        let (start, window) = match hinted {
            Some(addr) => (addr, window),
            None => match self.place(window, request.len, 1) {
                Err(Errno::ENOMEM) if window == Window::Arena => {
                    (self.place(Window::Loose, request.len, 1)?, Window::Loose)
                }
                other => (other?, window),
            },
        };
        self.vmas.insert(new_vma(request, start, window));
        if let Some((file, offset)) = &request.file
            && window == Window::Arena
            && let Err(error) = copy_file(file, *offset, start, request.len)
        {
            let removed = self.vmas.remove(start, start + request.len);
            removed.iter().for_each(|vma| self.release(vma));
            return Err(error);
        }
        if request.flags & flag::POPULATE != 0 && window != Window::Arena {
            self.populate(start, start + request.len);
        }
        Ok(start)
    }

    /// Small hints are ignored: taking up each of V8's random ones would scatter the
    /// heap over a 2 MiB block per chunk.
    fn honoured_hint(&self, request: &Request, window: Window) -> Option<u64> {
        let start = request.addr & !(PAGE - 1);
        let end = start.checked_add(request.len)?;
        let scatters = match window {
            Window::Arena => true,
            Window::Loose => request.len < HUGE,
            Window::Exact => false,
        };
        let wanted = !scatters && request.addr != 0 && AddressSpace::allowed(start, end);
        // Loose and exact mappings must not meet in one block.
        let (low, high) = (start & !(HUGE - 1), end.next_multiple_of(HUGE));
        (wanted && end <= ARENA_VA && self.vmas.is_free(low, high)).then_some(start)
    }

    fn map_low(&mut self, request: &Request) -> Result<u64> {
        let start = self
            .vmas
            .highest_gap(0x1000_0000, 0x1_0000_0000, request.len, HUGE)
            .ok_or(Errno::ENOMEM)?;
        self.vmas.insert(new_vma(request, start, Window::Exact));
        Ok(start)
    }

    fn map_fixed(&mut self, request: &Request) -> Result<u64> {
        let (start, len) = (request.addr, request.len);
        let end = start.checked_add(len).ok_or(Errno::ENOMEM)?;
        if start % PAGE != 0 {
            return Err(Errno::EINVAL);
        }
        if !AddressSpace::allowed(start, end) {
            return Err(Errno::ENOMEM);
        }
        if request.flags & flag::FIXED_NOREPLACE != 0 && !self.vmas.is_free(start, end) {
            return Err(Errno::EEXIST);
        }
        let removed = self.vmas.remove(start, end);
        // Part by part: what kept its memory is reused in place, gaps become sparse.
        let mut at = start;
        for old in &removed {
            if old.start > at {
                self.overlay_gap(request, at, old.start)?;
            }
            self.overlay(request, old)?;
            at = old.end;
        }
        if at < end {
            self.overlay_gap(request, at, end)?;
        }
        Ok(start)
    }

    fn part(request: &Request, start: u64, end: u64, backing: Backing, exact: bool) -> Vma {
        let content = match &request.file {
            Some((file, offset)) => Content::File {
                file: file.clone(),
                offset: offset + (start - request.addr),
            },
            None => Content::Anonymous,
        };
        let shared = request.flags & flag::TYPE != flag::PRIVATE;
        Vma {
            start,
            end,
            prot: request.prot,
            backing,
            content,
            shared,
            exact,
            scanty: request.flags & (flag::STACK | flag::GROWSDOWN) != 0,
        }
    }

    fn overlay_gap(&mut self, request: &Request, start: u64, end: u64) -> Result<()> {
        let arena_end = ARENA_VA + spore_hal::direct::ram_size();
        if start >= ARENA_VA && end <= arena_end {
            // Free arena pages, if nobody was lent them.
            if !frames::arena_take_at(start - ARENA_VA, end - start) {
                return Err(Errno::ENOMEM);
            }
            let vma = Self::part(request, start, end, Backing::Arena, false);
            self.fill(&vma, true)?;
            self.vmas.insert(vma);
            return Ok(());
        }
        if end > ARENA_VA {
            return Err(Errno::ENOMEM);
        }
        let loose = self.blocks_are_loose(start, end)
            || (request.file.is_none() && !is_guard(request) && self.blocks_are_empty(start, end));
        let vma = Self::part(request, start, end, Backing::Sparse, !loose);
        self.vmas.insert(vma);
        Ok(())
    }

    fn blocks_are_loose(&self, start: u64, end: u64) -> bool {
        self.loose_blocks.contains(start & !(HUGE - 1))
            || self.loose_blocks.contains((end - 1) & !(HUGE - 1))
    }

    fn blocks_are_empty(&self, start: u64, end: u64) -> bool {
        self.vmas
            .is_free(start & !(HUGE - 1), end.next_multiple_of(HUGE))
    }

    /// Replaces the mapping `old` (already out of the tree) by the request's part.
    fn overlay(&mut self, request: &Request, old: &Vma) -> Result<()> {
        let mut vma = Self::part(request, old.start, old.end, old.backing, old.exact);
        let in_place = match old.backing {
            Backing::Arena | Backing::Static => !vma.shared || vma.is_anonymous(),
            Backing::Sparse => !old.exact && (!vma.shared || vma.is_anonymous()),
        };
        if !in_place {
            if old.backing == Backing::Arena {
                // A shared file page cannot live in the arena.
                return Err(Errno::ENODEV);
            }
            self.release(old);
            vma.backing = Backing::Sparse;
            vma.exact = true;
            self.vmas.insert(vma);
            return Ok(());
        }
        let same_bytes = same_file_bytes(old, &vma);
        if request.prot == prot::NONE
            && request.file.is_none()
            && request.flags & flag::NORESERVE == 0
            && vma.backing != Backing::Static
        {
            vma.exact = vma.exact || vma.backing == Backing::Arena;
            self.fill(&vma, false)?;
            self.vmas.insert(vma.clone());
            return self.apply_protection(&vma);
        }
        if old.exact && old.backing == Backing::Arena {
            self.restore_arena_pages(old.start, old.end);
        }
        if !same_bytes {
            self.fill(&vma, false)?;
        }
        self.vmas.insert(vma);
        Ok(())
    }

    /// Puts the content of `vma` into memory that is there already.
    fn fill(&mut self, vma: &Vma, fresh: bool) -> Result<()> {
        match &vma.content {
            Content::File { file, offset } => {
                self.make_writable(vma.start, vma.end)?;
                copy_file(file, *offset, vma.start, vma.len())
            }
            _ if fresh => Ok(()),
            _ => {
                if vma.backing == Backing::Static {
                    self.make_writable(vma.start, vma.end)?;
                }
                zero_mapped(vma.start, vma.end);
                Ok(())
            }
        }
    }

    /// Gives `[start, end)` private writable pages where read-only ones are mapped.
    fn make_writable(&mut self, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while at < end {
            match paging::lookup(at) {
                Mapping::Huge { writable: true, .. } => at = (at & !(HUGE - 1)) + HUGE,
                Mapping::Page { writable: true, .. } => at += PAGE,
                Mapping::None if at >= ARENA_VA => {
                    self.restore_arena_pages(at, at + PAGE);
                    at += PAGE;
                }
                _ => {
                    self.private_page(at)?;
                    at += PAGE;
                }
            }
        }
        self.settle();
        Ok(())
    }

    /// munmap(2).
    pub fn unmap(&mut self, start: u64, len: u64) -> Result<()> {
        if !start.is_multiple_of(PAGE) || len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = round_up(len).map_err(|_| Errno::EINVAL)?;
        let end = start
            .checked_add(len)
            .filter(|end| *end <= USER_END)
            .ok_or(Errno::EINVAL)?;
        let removed = self.vmas.remove(start, end);
        for vma in &removed {
            self.release(vma);
        }
        self.settle();
        Ok(())
    }

    /// mprotect(2).
    pub fn protect(&mut self, start: u64, len: u64, new: u32) -> Result<()> {
        if !start.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let end = start.checked_add(round_up(len)?).ok_or(Errno::ENOMEM)?;
        if start == end {
            return Ok(());
        }
        if !self.vmas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        let denied = |vma: &Vma| {
            vma.shared
                && new & prot::WRITE != 0
                && matches!(&vma.content, Content::File { file, .. } if file.layer_address().is_some())
        };
        if self.vmas.overlapping(start, end).any(denied) {
            return Err(Errno::EACCES);
        }
        if self.vmas.overlapping(start, end).all(|vma| vma.prot == new) {
            return Ok(());
        }
        let parts: Vec<Vma> = self.vmas.remove(start, end);
        let mut result = Ok(());
        for mut vma in parts {
            let old = vma.prot;
            vma.prot = new;
            let tightened = must_fault(&vma, old, new);
            if vma.backing == Backing::Arena && tightened {
                vma.exact = true;
            }
            if vma.exact || tightened {
                result = result.and(self.apply_protection(&vma));
            } else if vma.backing == Backing::Sparse && new & prot::WRITE != 0 && vma.len() <= HUGE
            {
                // Memory that is made usable is about to be used: save the fault.
                self.vmas.insert(vma.clone());
                self.populate(vma.start, vma.end);
                continue;
            }
            self.vmas.insert(vma);
        }
        self.settle();
        result
    }

    /// Brings the page table in line with the protection of an exact mapping.
    pub(super) fn apply_protection(&mut self, vma: &Vma) -> Result<()> {
        let mut at = vma.start;
        while at < vma.end {
            let block = at & !(HUGE - 1);
            let next = (block + HUGE).min(vma.end);
            if let Mapping::Huge { .. } = paging::lookup(at) {
                if vma.prot & prot::WRITE != 0 {
                    at = next;
                    continue;
                }
                self.split_block(block)?;
            }
            if paging::has_page_table(at) {
                for va in (at..next).step_by(PAGE as usize) {
                    self.apply_page(vma, va);
                }
            }
            at = next;
        }
        Ok(())
    }

    fn apply_page(&mut self, vma: &Vma, va: u64) {
        let mapping = paging::lookup(va);
        match (vma.prot, mapping) {
            (prot::NONE, Mapping::Page { gpa, .. }) => {
                // The content must survive. Arena pages and file pages are found again by
                // the fault; a private page elsewhere stays mapped under supervision of nobody,
                // so it is parked: unmapped now, kept in the park list.
                if vma.backing == Backing::Arena || gpa >= spore_hal::direct::ram_size() {
                    paging::unmap_page(va);
                } else {
                    self.park(va);
                }
                self.mark_stale();
            }
            (prot, Mapping::Page { writable, .. }) => {
                let wanted = prot & prot::WRITE != 0;
                if writable && !wanted {
                    paging::set_writable(va, false);
                    self.mark_stale();
                } else if wanted && !writable && self.owns(vma, va) {
                    paging::set_writable(va, true);
                }
            }
            (prot, Mapping::None) if prot != prot::NONE && vma.backing == Backing::Arena => {
                let _ = paging::map_page(
                    va,
                    va - ARENA_VA,
                    prot & prot::WRITE != 0,
                    &mut frames::table_page,
                );
            }
            _ => {}
        }
    }

    /// Whether the page at `va` may be written in place (it is not a page of a file
    /// seen privately).
    fn owns(&self, vma: &Vma, va: u64) -> bool {
        match paging::lookup(va) {
            Mapping::Page { gpa, .. } | Mapping::Huge { gpa, .. } => {
                gpa < spore_hal::direct::ram_size()
                    && (vma.is_anonymous() || vma.shared || vma.backing == Backing::Arena)
            }
            Mapping::None => false,
        }
    }

    fn park(&mut self, va: u64) {
        // Private pages of sparse mappings: keep the frame by leaving the entry present
        // but read-only is not enough for PROT_NONE, so the frame moves to the park.
        if let Some((gpa, _)) = paging::unmap_page(va) {
            self.parked.insert(va, gpa);
        }
    }
}

fn is_guard(request: &Request) -> bool {
    request.prot == prot::NONE && request.flags & flag::NORESERVE == 0
}

fn choose_window(request: &Request) -> Window {
    let shared = request.flags & flag::TYPE != flag::PRIVATE;
    if let Some((file, _)) = &request.file {
        let small = request.len <= COPY_LIMIT;
        let read_only_layer = file.layer_address().is_some() && request.prot & prot::WRITE == 0;
        return if shared || (!small && read_only_layer) {
            Window::Exact
        } else {
            Window::Arena
        };
    }
    if request.flags & (flag::STACK | flag::GROWSDOWN) != 0 {
        return Window::Exact;
    }
    if request.prot == prot::NONE {
        return if request.flags & flag::NORESERVE != 0 && request.len < EXACT_RESERVATION {
            Window::Loose
        } else {
            Window::Exact
        };
    }
    let (total, free) = frames::totals();
    if request.len <= ARENA_LIMIT.min(total / 16) && free > total / 8 {
        Window::Arena
    } else {
        Window::Loose
    }
}

fn new_vma(request: &Request, start: u64, window: Window) -> Vma {
    let backing = if window == Window::Arena {
        Backing::Arena
    } else {
        Backing::Sparse
    };
    let mut vma = AddressSpace::part(
        request,
        start,
        start + request.len,
        backing,
        window == Window::Exact,
    );
    if let (Content::File { offset, .. }, Some((_, wanted))) = (&mut vma.content, &request.file) {
        *offset = *wanted;
    }
    vma
}

/// Whether going from `old` to `new` must make accesses fault. Relocation read-only
/// data and the write/execute flips of compilers need not (ARCHITECTURE.md, "Protection").
fn must_fault(vma: &Vma, old: u32, new: u32) -> bool {
    let lost = old & !new;
    vma.is_anonymous()
        && vma.backing != Backing::Static
        && (new == prot::NONE && old != prot::NONE
            || lost & prot::WRITE != 0 && new & prot::EXEC == 0 && old & prot::EXEC == 0)
}

/// ld.so maps a library whole and then lays its segments over it: often the very
/// same bytes again.
fn same_file_bytes(old: &Vma, new: &Vma) -> bool {
    match (&old.content, &new.content) {
        (Content::File { file: a, offset: x }, Content::File { file: b, offset: y }) => {
            Arc::ptr_eq(a, b)
                && x == y
                && old.prot & prot::WRITE == 0
                && old.backing == Backing::Arena
        }
        _ => false,
    }
}

/// Copies file content to mapped user memory; the rest of the last page is zero.
fn copy_file(file: &Arc<dyn File>, offset: u64, start: u64, len: u64) -> Result<()> {
    let mut done = 0;
    while done < len {
        if offset + done >= file.size() {
            // Beyond the end Linux gives SIGBUS; copied memory reads zero.
            return spore_hal::user::zero(start + done, len - done).map_err(|_| Errno::EFAULT);
        }
        let source = file.map_page(offset + done, false)?;
        let at = start + done;
        let run = contiguous(file, offset + done, source, len - done);
        match source {
            PageSource::Memory { gpa } | PageSource::Layer { gpa } => {
                spore_hal::user::copy_frames(at, gpa, run)
            }
            PageSource::Hole => spore_hal::user::zero(at, run),
        }
        .map_err(|_| Errno::EFAULT)?;
        done += run;
    }
    Ok(())
}

/// How many bytes from `source` on lie one after another (in a layer: all of them).
fn contiguous(file: &Arc<dyn File>, offset: u64, source: PageSource, len: u64) -> u64 {
    match (source, file.layer_address()) {
        (PageSource::Layer { gpa }, Some(base)) if gpa == base + offset => {
            let whole = file.size().saturating_sub(offset) & !(PAGE - 1);
            whole.clamp(PAGE, len)
        }
        _ => PAGE.min(len),
    }
}
