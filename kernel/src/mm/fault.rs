//! Page faults: memory on demand, copies on write, and what is a real fault.

use spore_abi::layout::{ARENA_VA, HUGE, PAGE};
use spore_hal::paging::{self, Mapping};
use spore_hal::trap;

use crate::errno::{Errno, Result};
use crate::fs::file::PageSource;
use crate::mm::frames;
use crate::mm::space::AddressSpace;
use crate::mm::vma::{Backing, Content, Vma, prot};

/// Why an access is refused (si_code of SIGSEGV and SIGBUS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// SEGV_MAPERR: nothing is mapped there.
    NotMapped,
    /// SEGV_ACCERR: the protection forbids it.
    NotAllowed,
    /// BUS_ADRERR: beyond the end of the file.
    BeyondFile,
    /// No memory is left.
    NoMemory,
}

/// Pages made present around a fault in exact memory.
const AROUND: u64 = 16 * PAGE;

impl AddressSpace {
    /// Handles an access to `addr` that the processor refused.
    pub fn fault(
        &mut self,
        addr: u64,
        write: bool,
        execute: bool,
    ) -> core::result::Result<(), Refused> {
        let va = addr & !(PAGE - 1);
        let Some(vma) = self.vmas.find(addr).cloned() else {
            return Err(Refused::NotMapped);
        };
        let needed = if write {
            prot::WRITE
        } else if execute {
            prot::EXEC
        } else {
            prot::READ | prot::WRITE | prot::EXEC
        };
        // There are no execute-disable bits: an execute fault means "not present".
        if vma.prot & needed == 0 && !(execute && vma.prot != prot::NONE) {
            return Err(Refused::NotAllowed);
        }
        self.provide(&vma, va, write).map_err(|error| match error {
            Errno::ENOMEM => Refused::NoMemory,
            Errno::EIO | Errno::ENXIO | Errno::EFAULT => Refused::BeyondFile,
            _ => Refused::NotAllowed,
        })
    }

    fn provide(&mut self, vma: &Vma, va: u64, write: bool) -> Result<()> {
        match paging::lookup(va) {
            Mapping::Huge { writable, .. } | Mapping::Page { writable, .. }
                if writable || !write =>
            {
                // The tables allow it: a stale translation.
                trap::flush_translations();
                return Ok(());
            }
            Mapping::Huge { .. } | Mapping::Page { .. } => return self.write_to_read_only(vma, va),
            Mapping::None => {}
        }
        if let Some(gpa) = self.parked.remove(&va) {
            return map(va, gpa, vma.prot & prot::WRITE != 0);
        }
        match (&vma.content, vma.backing) {
            (_, Backing::Arena) => map(va, va - ARENA_VA, vma.prot & prot::WRITE != 0),
            (Content::File { .. }, _) => self.provide_file(vma, va, write),
            _ if !vma.exact => self.provide_loose(va),
            _ => self.provide_exact(vma, va),
        }
    }

    /// A 2 MiB block for loose memory.
    fn provide_loose(&mut self, va: u64) -> Result<()> {
        let block = va & !(HUGE - 1);
        if paging::has_page_table(block) {
            // Split earlier by a guard: page by page.
            let page = frames::alloc_page()?;
            return map(va, page, true);
        }
        let gpa = frames::alloc_block()?;
        paging::map_huge(block, gpa, true, &mut frames::table_page).map_err(|_| Errno::ENOMEM)?;
        self.loose_blocks.insert(block);
        Ok(())
    }

    fn provide_exact(&mut self, vma: &Vma, va: u64) -> Result<()> {
        let writable = vma.prot & prot::WRITE != 0;
        let block = va & !(HUGE - 1);
        if writable
            && !vma.scanty
            && vma.start <= block
            && block + HUGE <= vma.end
            && !paging::has_page_table(block)
            && vma.content_is_plain()
        {
            let gpa = frames::alloc_block()?;
            return paging::map_huge(block, gpa, true, &mut frames::table_page)
                .map_err(|_| Errno::ENOMEM);
        }
        let window = va & !(AROUND - 1);
        let (low, high) = (window.max(vma.start), (window + AROUND).min(vma.end));
        for page in (low..high).step_by(PAGE as usize) {
            if paging::lookup(page) == Mapping::None && !self.parked.contains_key(&page) {
                match frames::alloc_page() {
                    Ok(gpa) => map(page, gpa, writable)?,
                    Err(error) if page == va => return Err(error),
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn provide_file(&mut self, vma: &Vma, va: u64, write: bool) -> Result<()> {
        let Content::File { file, offset } = &vma.content else {
            return Err(Errno::EFAULT);
        };
        let at = offset + (va - vma.start);
        if at >= file.size().next_multiple_of(PAGE) {
            return Err(Errno::ENXIO);
        }
        let mut source = file.map_page(at, vma.shared && write)?;
        if source == PageSource::Hole && vma.shared {
            // Whoever maps it later must see the same page.
            source = file.map_page(at, true).unwrap_or(source);
        }
        match source {
            PageSource::Memory { gpa } if vma.shared => map(va, gpa, vma.prot & prot::WRITE != 0),
            PageSource::Layer { gpa } if !write => map(va, gpa, false),
            PageSource::Memory { gpa } if !write => map(va, gpa, false),
            PageSource::Memory { gpa } | PageSource::Layer { gpa } => {
                let page = frames::alloc_page()?;
                spore_hal::direct::copy_frame(gpa, page);
                map(va, page, true)
            }
            PageSource::Hole => map(va, frames::alloc_page()?, vma.prot & prot::WRITE != 0),
        }
    }

    /// A store to a page that is mapped read-only though the mapping may be written:
    /// a page of a file or of the program that is now copied.
    fn write_to_read_only(&mut self, vma: &Vma, va: u64) -> Result<()> {
        if vma.shared && !vma.is_anonymous() {
            return self.share_for_writing(vma, va);
        }
        if vma.backing == Backing::Arena || (vma.is_anonymous() && vma.backing == Backing::Sparse) {
            paging::set_writable(va, true);
            return Ok(());
        }
        self.private_page(va)?;
        self.settle();
        Ok(())
    }

    fn share_for_writing(&mut self, vma: &Vma, va: u64) -> Result<()> {
        let Content::File { file, offset } = &vma.content else {
            return Err(Errno::EFAULT);
        };
        match file.map_page(offset + (va - vma.start), true)? {
            PageSource::Memory { gpa } => {
                paging::unmap_page(va);
                self.mark_stale();
                map(va, gpa, true)?;
                self.settle();
                Ok(())
            }
            _ => Err(Errno::EACCES),
        }
    }

    /// Replaces the read-only page at `va` by a private writable copy. The caller flushes.
    pub(super) fn private_page(&mut self, va: u64) -> Result<()> {
        self.split_block(va)?;
        let Mapping::Page { gpa: source, .. } = paging::lookup(va) else {
            return map(va, frames::alloc_page()?, true);
        };
        let copy = frames::alloc_page()?;
        spore_hal::direct::copy_frame(source, copy);
        paging::unmap_page(va);
        self.mark_stale();
        map(va, copy, true)
    }

    /// Makes a part of a mapping present ahead of use.
    pub fn populate_range(&mut self, start: u64, end: u64) {
        self.populate(start, end);
    }

    /// Makes `[start, end)` present ahead of use, as far as memory lasts.
    pub(super) fn populate(&mut self, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            if paging::lookup(at) == Mapping::None {
                let Some(vma) = self.vmas.find(at).cloned() else {
                    return;
                };
                if self.provide(&vma, at, vma.prot & prot::WRITE != 0).is_err() {
                    return;
                }
            }
            at = match paging::lookup(at) {
                Mapping::Huge { .. } => (at & !(HUGE - 1)) + HUGE,
                _ => at + PAGE,
            };
        }
    }
}

impl Vma {
    fn content_is_plain(&self) -> bool {
        matches!(self.content, Content::Anonymous)
    }
}

fn map(va: u64, gpa: u64, writable: bool) -> Result<()> {
    paging::map_page(va, gpa, writable, &mut frames::table_page).map_err(|_| Errno::ENOMEM)
}
