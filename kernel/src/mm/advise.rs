//! madvise, mremap and brk.

use spore_abi::layout::{ARENA_VA, HUGE, PAGE, USER_END};
use spore_hal::paging::{self, Mapping};

use crate::errno::{Errno, Result};
use crate::mm::frames;
use crate::mm::map::{Request, flag, round_up};
use crate::mm::space::{AddressSpace, zero_mapped};
use crate::mm::vma::{Backing, Content, Vma, prot};

/// madvise advice values (`mman-common.h`) that do something here.
pub mod advice {
    #![allow(missing_docs, reason = "named and documented as in madvise(2)")]
    pub const DONTNEED: i32 = 4;
    pub const FREE: i32 = 8;
    pub const REMOVE: i32 = 9;
    pub const POPULATE_READ: i32 = 22;
    pub const POPULATE_WRITE: i32 = 23;
}

/// Largest heap that brk grants.
const MAX_HEAP: u64 = 64 << 30;

impl AddressSpace {
    /// madvise(2).
    pub fn advise(&mut self, start: u64, len: u64, what: i32) -> Result<()> {
        if !start.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let end = start
            .checked_add(round_up(len).map_err(|_| Errno::EINVAL)?)
            .ok_or(Errno::EINVAL)?;
        match what {
            advice::DONTNEED | advice::REMOVE => self.discard(start, end),
            advice::POPULATE_READ | advice::POPULATE_WRITE => {
                if !self.vmas.covers(start, end) {
                    return Err(Errno::ENOMEM);
                }
                self.populate(start, end);
            }
            // Hints without an effect here: NORMAL to WILLNEED, FREE (the pages may stay), DONTFORK to
            // DOFORK, MERGEABLE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK, COLD, PAGEOUT, COLLAPSE.
            0..=3 | 8 | 10..=21 | 25 => {}
            _ => return Err(Errno::EINVAL),
        }
        if self.vmas.covers(start, end) {
            Ok(())
        } else {
            Err(Errno::ENOMEM)
        }
    }

    /// Private memory reads zero afterwards; whole blocks and exact pages go back.
    fn discard(&mut self, start: u64, end: u64) {
        let parts: alloc::vec::Vec<Vma> = self.vmas.overlapping(start, end).cloned().collect();
        for mut vma in parts {
            vma.start = vma.start.max(start);
            vma.end = vma.end.min(end);
            if !vma.is_anonymous() {
                continue;
            }
            match vma.backing {
                Backing::Sparse if vma.exact => self.release_exact(&vma),
                Backing::Sparse => self.discard_loose(vma.start, vma.end),
                _ => zero_mapped(vma.start, vma.end),
            }
        }
        self.settle();
    }

    fn discard_loose(&mut self, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let block = at & !(HUGE - 1);
            let next = (block + HUGE).min(end);
            if at == block && next == block + HUGE && self.loose_blocks.contains(block) {
                if let Mapping::Huge { gpa, .. } = paging::lookup(block) {
                    paging::unmap_huge(block);
                    self.loose_blocks.remove(block);
                    self.retire_block(gpa);
                }
            } else {
                zero_mapped(at, next);
            }
            at = next;
        }
    }

    /// mremap(2) with MREMAP_MAYMOVE (1), MREMAP_FIXED (2), MREMAP_DONTUNMAP (4).
    pub fn remap(
        &mut self,
        start: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        target: u64,
    ) -> Result<u64> {
        if !start.is_multiple_of(PAGE)
            || new_len == 0
            || flags & !7 != 0
            || flags & 6 != 0 && flags & 1 == 0
        {
            return Err(Errno::EINVAL);
        }
        let (old_len, new_len) = (round_up(old_len)?, round_up(new_len)?);
        let vma = self.vmas.find(start).cloned().ok_or(Errno::EFAULT)?;
        if start + old_len > vma.end {
            return Err(Errno::EFAULT);
        }
        if flags & 6 == 0 {
            if new_len <= old_len {
                if new_len < old_len {
                    self.unmap(start + new_len, old_len - new_len)?;
                }
                return Ok(start);
            }
            if start + old_len == vma.end && self.grow_in_place(&vma, new_len - old_len) {
                return Ok(start);
            }
            if flags & 1 == 0 {
                return Err(Errno::ENOMEM);
            }
        }
        self.move_mapping(&vma, start, old_len, new_len, flags, target)
    }

    fn grow_in_place(&mut self, vma: &Vma, more: u64) -> bool {
        let (start, Some(end)) = (vma.end, vma.end.checked_add(more)) else {
            return false;
        };
        if end > USER_END || !self.vmas.is_free(start, end) || !vma.is_anonymous() {
            return false;
        }
        let room = match vma.backing {
            Backing::Arena => frames::arena_take_at(start - ARENA_VA, more),
            // Do not grow into a block of the other kind.
            Backing::Sparse => {
                self.vmas.is_free(start, end.next_multiple_of(HUGE)) && end <= ARENA_VA
            }
            Backing::Static => false,
        };
        if room {
            self.vmas.insert(Vma {
                start,
                end,
                ..vma.clone()
            });
        }
        room
    }

    fn move_mapping(
        &mut self,
        vma: &Vma,
        start: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        target: u64,
    ) -> Result<u64> {
        let fixed = flags & 2 != 0;
        let file = match &vma.content {
            Content::File { file, offset } => Some((file.clone(), offset + (start - vma.start))),
            _ => None,
        };
        let kind = if vma.shared {
            flag::SHARED
        } else {
            flag::PRIVATE
        };
        let shared_file = vma.shared && file.is_some();
        let request = Request {
            addr: if fixed { target } else { 0 },
            len: new_len,
            prot: vma.prot,
            flags: kind
                | if fixed { flag::FIXED } else { 0 }
                | if file.is_none() { flag::ANONYMOUS } else { 0 },
            file,
        };
        let moved = self.map(&request)?;
        if !shared_file {
            self.copy_present(start, moved, old_len.min(new_len));
        }
        if flags & 4 != 0 {
            self.discard(start, start + old_len);
        } else {
            self.unmap(start, old_len)?;
        }
        Ok(moved)
    }

    /// Copies those pages that exist.
    fn copy_present(&mut self, from: u64, to: u64, len: u64) {
        let mut at = 0;
        while at < len {
            match paging::lookup(from + at) {
                Mapping::None => at += PAGE,
                Mapping::Huge { gpa, .. } => {
                    let run = (HUGE - (from + at) % HUGE).min(len - at);
                    self.populate(to + at, to + at + run);
                    let _ = spore_hal::user::copy_frames(to + at, gpa + (from + at) % HUGE, run);
                    at += run;
                }
                Mapping::Page { gpa, .. } => {
                    self.populate(to + at, to + at + PAGE);
                    let _ = spore_hal::user::copy_frames(to + at, gpa, PAGE);
                    at += PAGE;
                }
            }
        }
    }

    /// brk(2): answers the break as it is afterwards.
    pub fn set_break(&mut self, wanted: u64) -> u64 {
        if wanted < self.brk_start || wanted > self.brk_start + MAX_HEAP {
            return self.brk;
        }
        let (old_end, new_end) = (
            self.brk.next_multiple_of(PAGE),
            wanted.next_multiple_of(PAGE),
        );
        if new_end > old_end {
            // One block further must be free too: it becomes loose.
            if !self.vmas.is_free(old_end, new_end) {
                return self.brk;
            }
            self.vmas.insert(heap(old_end, new_end));
            self.populate(old_end, new_end.min(old_end + 2 * HUGE));
        } else if new_end < old_end {
            let removed = self.vmas.remove(new_end, old_end);
            for vma in &removed {
                self.release(vma);
            }
            self.settle();
        }
        self.brk = wanted;
        wanted
    }

    pub(super) fn drop_parked(&mut self, start: u64, end: u64) {
        let keys: alloc::vec::Vec<u64> = self.parked.range(start..end).map(|(va, _)| *va).collect();
        for va in keys {
            if let Some(gpa) = self.parked.remove(&va) {
                self.retire_page(gpa);
            }
        }
    }
}

fn heap(start: u64, end: u64) -> Vma {
    Vma {
        start,
        end,
        prot: prot::READ | prot::WRITE,
        backing: Backing::Sparse,
        content: Content::Named("[heap]"),
        shared: false,
        exact: false,
        scanty: false,
    }
}
