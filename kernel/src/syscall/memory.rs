//! mmap(2) and its relatives.

use alloc::sync::Arc;

use spore_abi::layout::PAGE;

use crate::errno::{Errno, Result};
use crate::fs::file::File;
use crate::mm::map::{Request, flag, round_up};
use crate::mm::user::{self, UserAddr};
use crate::mm::vma::prot;
use crate::sched;

const PROT_MASK: u32 = prot::READ | prot::WRITE | prot::EXEC;
/// PROT_GROWSDOWN and PROT_GROWSUP, accepted and ignored by mprotect.
const PROT_GROWS: u32 = 0x0300_0000;

/// mmap(2).
pub fn mmap(addr: u64, len: u64, prot: u32, flags: u32, fd: i32, offset: u64) -> Result<usize> {
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    if flags & flag::ANONYMOUS == 0 {
        sched::current().process().descriptors.get(fd)?;
    }
    if len == 0 || !matches!(flags & flag::TYPE, 1..=3) {
        return Err(Errno::EINVAL);
    }
    if flags & flag::HUGETLB != 0 {
        return Err(Errno::ENOMEM);
    }
    let len = round_up(len)?;
    let process = sched::current().process();
    let file = if flags & flag::ANONYMOUS != 0 {
        None
    } else {
        Some(open_file(fd, prot, flags)?)
    };
    let request = Request {
        addr,
        len,
        prot: prot & PROT_MASK,
        flags,
        file: file.map(|file| (file, offset)),
    };
    process
        .memory
        .lock()
        .map(&request)
        .map(|start| start as usize)
}

fn open_file(fd: i32, prot: u32, flags: u32) -> Result<Arc<dyn File>> {
    let open = sched::current().process().descriptors.get(fd)?;
    let shared = flags & flag::TYPE != flag::PRIVATE;
    if !open.readable() || shared && prot & prot::WRITE != 0 && !open.writable() {
        return Err(Errno::EACCES);
    }
    // Ask once, so that a file that cannot be mapped refuses before anything changes.
    match open.file.map_page(0, false) {
        Ok(_) | Err(Errno::ENXIO | Errno::EIO | Errno::EFAULT) => Ok(open.file.clone()),
        Err(error) => Err(error),
    }
}

/// munmap(2).
pub fn munmap(addr: u64, len: u64) -> Result<()> {
    sched::current().process().memory.lock().unmap(addr, len)
}

/// mprotect(2).
pub fn mprotect(addr: u64, len: u64, prot: u32) -> Result<()> {
    if prot & !(PROT_MASK | PROT_GROWS) != 0 {
        return Err(Errno::EINVAL);
    }
    sched::current()
        .process()
        .memory
        .lock()
        .protect(addr, len, prot & PROT_MASK)
}

/// brk(2): the break as it is afterwards.
pub fn brk(addr: u64) -> Result<usize> {
    Ok(sched::current().process().memory.lock().set_break(addr) as usize)
}

/// mremap(2).
pub fn mremap(old: u64, old_len: u64, new_len: u64, flags: u32, new: u64) -> Result<usize> {
    let process = sched::current().process();
    let moved = process
        .memory
        .lock()
        .remap(old, old_len, new_len, flags, new)?;
    Ok(moved as usize)
}

/// msync(2): files in memory are always in step.
pub fn msync(addr: u64, len: u64, flags: u32) -> Result<()> {
    if !addr.is_multiple_of(PAGE) || flags & !7 != 0 || flags & 5 == 5 {
        return Err(Errno::EINVAL);
    }
    let end = addr.checked_add(round_up(len)?).ok_or(Errno::ENOMEM)?;
    let covered = sched::current()
        .process()
        .memory
        .lock()
        .vmas
        .covers(addr, end);
    if covered { Ok(()) } else { Err(Errno::ENOMEM) }
}

/// mincore(2).
pub fn mincore(addr: u64, len: u64, vec: UserAddr) -> Result<()> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let end = addr.checked_add(round_up(len)?).ok_or(Errno::ENOMEM)?;
    if !sched::current()
        .process()
        .memory
        .lock()
        .vmas
        .covers(addr, end)
    {
        return Err(Errno::ENOMEM);
    }
    for page in 0..(end - addr) / PAGE {
        user::write(vec.wrapping_add(page), &1u8)?;
    }
    Ok(())
}

/// madvise(2).
pub fn madvise(addr: u64, len: u64, advice: i32) -> Result<()> {
    sched::current()
        .process()
        .memory
        .lock()
        .advise(addr, len, advice)
}
