//! The memory behind written files: page frames, and copies between them and
//! whatever a read or write brings. The only part of the file system that
//! differs when its tests run on a host.

use crate::errno::{Errno, Result};
use crate::mm::io::{Reader, Writer};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// A frame of file content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(u32);

/// Set in frames that were allocated as part of a run.
const RUN: u32 = 1 << 31;

impl Frame {
    /// Guest-physical address.
    pub fn gpa(self) -> u64 {
        u64::from(self.0 & !RUN) * PAGE
    }
    /// The number that stands for it in tables; never 0.
    pub fn raw(self) -> u32 {
        self.0
    }
    /// Back from [`Frame::raw`].
    pub fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
    /// Whether `other` lies directly behind.
    pub fn precedes(self, other: Frame) -> bool {
        self.gpa() + PAGE == other.gpa()
    }
    fn new(gpa: u64, flags: u32) -> Self {
        Self(u32::try_from(gpa / PAGE).unwrap_or(0) | flags)
    }
}

/// Frames that lie one after another.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    first: Frame,
    count: u64,
}

impl Run {
    /// The frames of the run.
    pub fn frames(self) -> impl Iterator<Item = Frame> {
        (0..self.count)
            .map(move |index| Frame::new(self.first.gpa() + index * PAGE, self.first.0 & RUN))
    }
}

/// Most pages that are asked for at once (64 KiB).
pub const RUN_PAGES: u64 = 16;

/// Pages that files leave to everybody else: an eighth of memory, at least 16 MiB
/// where that is not more than a quarter.
fn reserve(all: u64) -> u64 {
    (all / 8).max(4096).min(all / 4)
}

/// Between one and `wanted` frames with arbitrary content. ENOSPC.
pub fn allocate(wanted: u64) -> Result<Run> {
    if totals().1 == 0 {
        return Err(Errno::ENOSPC);
    }
    if wanted >= RUN_PAGES
        && let Ok(gpa) = memory::run(RUN_PAGES)
    {
        return Ok(Run {
            first: Frame::new(gpa, RUN),
            count: RUN_PAGES,
        });
    }
    Ok(Run {
        first: Frame::new(memory::page()?, 0),
        count: 1,
    })
}

/// Gives a frame back.
pub fn free(frame: Frame) {
    if frame.0 & RUN == 0 {
        memory::free_page(frame.gpa())
    } else {
        memory::free_run_page(frame.gpa())
    }
}

/// Copies `len` bytes at `gpa` to a reader of the file; answers how many fitted.
/// EFAULT only if none could be copied.
pub fn copy_out(out: &mut Writer<'_>, gpa: u64, len: u64) -> Result<u64> {
    let mut done = 0;
    while done < len {
        let Some((to, room)) = out.chunk() else {
            return Ok(done + copy_out_kernel(out, gpa + done, len - done)?);
        };
        let part = (len - done).min(room as u64);
        if let Err(error) = memory::to_user(to.raw(), gpa + done, part) {
            return if done > 0 { Ok(done) } else { Err(error) };
        }
        out.advance(part as usize);
        done += part;
    }
    Ok(done)
}

/// Copies up to `len` bytes from a writer of the file to `gpa`; answers how many.
/// EFAULT only if none could be copied.
pub fn copy_in(data: &mut Reader<'_>, gpa: u64, len: u64) -> Result<u64> {
    let mut done = 0;
    while done < len {
        let Some((from, room)) = data.chunk() else {
            return Ok(done + copy_in_kernel(data, gpa + done, len - done)?);
        };
        let part = (len - done).min(room as u64);
        if let Err(error) = memory::from_user(gpa + done, from.raw(), part) {
            return if done > 0 { Ok(done) } else { Err(error) };
        }
        data.advance(part as usize);
        done += part;
    }
    Ok(done)
}

/// Bytes of the detour through the stack that kernel buffers take.
const BOUNCE: usize = 1024;

fn copy_out_kernel(out: &mut Writer<'_>, gpa: u64, len: u64) -> Result<u64> {
    let mut bounce = [0; BOUNCE];
    let mut done = 0;
    while done < len && out.remaining() > 0 {
        let part = (len - done).min(BOUNCE as u64).min(out.remaining() as u64) as usize;
        memory::read(gpa + done, &mut bounce[..part]);
        done += out.put(&bounce[..part])? as u64;
    }
    Ok(done)
}

fn copy_in_kernel(data: &mut Reader<'_>, gpa: u64, len: u64) -> Result<u64> {
    let mut bounce = [0; BOUNCE];
    let mut done = 0;
    while done < len && data.remaining() > 0 {
        let part = (len - done).min(BOUNCE as u64) as usize;
        let taken = data.take(&mut bounce[..part])?;
        memory::write(gpa + done, &bounce[..taken]);
        done += taken as u64;
    }
    Ok(done)
}

/// Pages in all and pages that files may still take.
pub fn totals() -> (u64, u64) {
    let (all, free) = memory::totals();
    (all, free.saturating_sub(reserve(all)))
}

pub use memory::{write, zero};

#[cfg(not(test))]
mod memory {
    use spore_hal::direct;
    use spore_hal::host::ring_memory;

    use super::PAGE;
    use crate::errno::{Errno, Result};
    use crate::mm::frames;

    pub fn run(pages: u64) -> Result<u64> {
        frames::alloc_run(pages).map_err(|_| Errno::ENOSPC)
    }
    pub fn page() -> Result<u64> {
        frames::alloc_page().map_err(|_| Errno::ENOSPC)
    }
    pub fn free_page(gpa: u64) {
        frames::free_page(gpa);
    }
    pub fn free_run_page(gpa: u64) {
        frames::free_run(gpa, 1);
    }
    pub fn to_user(to: u64, gpa: u64, len: u64) -> Result<()> {
        ring_memory::to_user(to, gpa, len as usize).map_err(|_| Errno::EFAULT)
    }
    pub fn from_user(gpa: u64, from: u64, len: u64) -> Result<()> {
        ring_memory::from_user(gpa, from, len as usize).map_err(|_| Errno::EFAULT)
    }
    pub fn read(gpa: u64, buffer: &mut [u8]) {
        direct::read(gpa, buffer);
    }
    /// Copies into frames.
    pub fn write(gpa: u64, bytes: &[u8]) {
        direct::write(gpa, bytes);
    }
    /// Zeroes part of frames.
    pub fn zero(gpa: u64, len: u64) {
        direct::zero(gpa, len);
    }
    /// Pages in all and free pages.
    pub fn totals() -> (u64, u64) {
        let (all, free) = frames::totals();
        (all / PAGE, free / PAGE)
    }
}

#[cfg(test)]
#[allow(missing_docs, reason = "named as in the other memory")]
pub mod memory {
    //! Frames for tests: pages of ordinary memory, at most `LIMIT` of them per thread.
    use std::cell::RefCell;
    use std::vec::Vec;

    use super::PAGE;
    use crate::errno::{Errno, Result};

    /// Frames a test may use.
    pub const LIMIT: usize = 4096;

    #[derive(Default)]
    struct Store {
        bytes: Vec<u8>,
        free: Vec<u64>,
        used: u64,
    }

    std::thread_local! {
        static STORE: RefCell<Store> = RefCell::default();
    }

    fn with<T>(work: impl FnOnce(&mut Store) -> T) -> T {
        STORE.with(|store| work(&mut store.borrow_mut()))
    }
    pub fn run(pages: u64) -> Result<u64> {
        with(|store| {
            if store.bytes.len() / PAGE as usize + pages as usize > LIMIT {
                return Err(Errno::ENOSPC);
            }
            let at = (store.bytes.len() as u64).max(16 * PAGE);
            store.bytes.resize((at + pages * PAGE) as usize, 0xEE);
            store.used += pages;
            Ok(at)
        })
    }
    pub fn page() -> Result<u64> {
        let recycled = with(|store| {
            let page = store.free.pop();
            store.used += u64::from(page.is_some());
            page
        });
        recycled.map_or_else(|| run(1), Ok)
    }
    pub fn free_page(gpa: u64) {
        with(|store| {
            store.bytes[gpa as usize..(gpa + PAGE) as usize].fill(0xDD);
            store.free.push(gpa);
            store.used -= 1;
        });
    }
    pub fn free_run_page(gpa: u64) {
        free_page(gpa);
    }
    pub fn to_user(_to: u64, _gpa: u64, _len: u64) -> Result<()> {
        Err(Errno::EFAULT)
    }
    pub fn from_user(_gpa: u64, _from: u64, _len: u64) -> Result<()> {
        Err(Errno::EFAULT)
    }
    pub fn read(gpa: u64, buffer: &mut [u8]) {
        with(|store| {
            buffer.copy_from_slice(&store.bytes[gpa as usize..gpa as usize + buffer.len()])
        });
    }
    pub fn write(gpa: u64, bytes: &[u8]) {
        with(|store| store.bytes[gpa as usize..gpa as usize + bytes.len()].copy_from_slice(bytes));
    }
    pub fn zero(gpa: u64, len: u64) {
        with(|store| store.bytes[gpa as usize..(gpa + len) as usize].fill(0));
    }
    pub fn totals() -> (u64, u64) {
        with(|store| (LIMIT as u64, LIMIT as u64 - store.used))
    }
}
