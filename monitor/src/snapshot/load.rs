//! Brings the pages of a snapshot into a new guest's memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use spore_abi::layout::{HUGE, PAGE};

use super::file::Snapshot;
use super::format::{FRAME_PAGES, Frame, Use};
use super::origins::{Buffers, Origins};
use crate::error::{MonitorError, Result, SPORE_MEMORY_UNAVAILABLE};
use crate::memory::GuestMemory;
use crate::standby::shared;

/// A frame with fewer pages is copied page by page, even where frames are shared: it
/// costs less memory than a private copy of its pages once they are written to. Only if
/// nobody has seen what is used.
const FEW_PAGES: u64 = 64;

/// Software that stands in for the processor's second level of page tables takes so many
/// pages at a time, if all before the one that was missed can be written to.
const WINDOW: usize = 8;

/// Reads in one window from which on copies of its pages cost less than a fault for each.
const MANY_READS: u32 = 3;

/// Copies every page from an address on into place and checks it, on two processors: a
/// program waits for it that sleeps without a pool. The guest must not run.
pub fn pages(
    snapshot: &Snapshot,
    origins: &Origins,
    memory: &GuestMemory,
    from: u64,
) -> Result<()> {
    let frames = snapshot.frames.iter().filter(|frame| frame.gpa >= from);
    let frames: Vec<&Frame> = frames.collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffers = Buffers::default();
        while let Some(frame) = frames.get(next.fetch_add(1, Ordering::Relaxed)) {
            copy((snapshot, origins), memory, frame, &mut buffers)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        // Where there is no second thread, the first does all.
        let other = (frames.len() > 1).then(|| thread::Builder::new().spawn_scoped(scope, work));
        let own = work();
        match other {
            Some(Ok(other)) => own.and(other.join().unwrap_or_else(|panic| resume_unwind(panic))),
            _ => own,
        }
    })
}

/// Maps frames that others have read and checked ([`shared_frames`]); what this guest
/// writes to is copied then. The guest must not run yet.
pub fn map(
    snapshot: &Snapshot,
    origins: &Origins,
    memory: &GuestMemory,
    frames: &File,
) -> Result<()> {
    let mut buffers = Buffers::default();
    let uses = snapshot.working_set()?;
    for (number, frame) in snapshot.frames.iter().enumerate() {
        let known = uses.get(number);
        if known.is_none() && frame.count() < FEW_PAGES {
            memory.want_small_pages(frame.gpa);
            copy((snapshot, origins), memory, frame, &mut buffers)?;
            continue;
        }
        memory
            .map_frame(frame.gpa, frames, number as u64 * HUGE)
            .map_err(|error| unavailable(&error))?;
        // Copied now: the guest's own first write would leave it for longer.
        for (first, count) in known.map(copied_ahead).unwrap_or_default() {
            memory.populate(frame.gpa + first as u64 * PAGE, count as u64 * PAGE);
        }
    }
    Ok(())
}

/// Which pages of a frame are copied before the guest runs: (first page, number). None of
/// a frame that is only read: it stays one large page that all share.
fn copied_ahead(use_: &Use) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    if use_.written == [0; 8] {
        return runs;
    }
    for first in (0..FRAME_PAGES).step_by(WINDOW) {
        let of = |map: &[u64; 8]| (map[first / 64] >> (first % 64)) as u8;
        let (touched, written) = (of(&use_.touched), of(&use_.written));
        if written == 0 && touched.count_ones() < MANY_READS {
            continue;
        }
        let count = WINDOW - (touched | written).leading_zeros() as usize;
        match runs.last_mut() {
            Some((start, length)) if *start + *length == first => *length += count,
            _ => runs.push((first, count)),
        }
    }
    runs
}

/// Frames of a snapshot one after another, as they stand in memory, for many guests to
/// map: read and checked once.
pub fn shared_frames(snapshot: &Snapshot, origins: &Origins) -> Result<File> {
    let file =
        shared::memory(snapshot.frames.len() as u64 * HUGE).map_err(|error| unavailable(&error))?;
    let mut buffers = Buffers::default();
    for (number, frame) in snapshot.frames.iter().enumerate() {
        snapshot.read_frame(frame, origins, &mut buffers)?;
        let mut rest = buffers.pages.as_slice();
        for (first, count) in frame.runs() {
            let (run, more) = rest.split_at(count * PAGE as usize);
            let at = number as u64 * HUGE + first as u64 * PAGE;
            file.write_all_at(run, at)
                .map_err(|error| unavailable(&error))?;
            rest = more;
        }
    }
    shared::make_huge(&file).map_err(|error| unavailable(&error))?;
    Ok(file)
}

fn copy(
    (snapshot, origins): (&Snapshot, &Origins),
    memory: &GuestMemory,
    frame: &Frame,
    buffers: &mut Buffers,
) -> Result<()> {
    snapshot.read_frame(frame, origins, buffers)?;
    let mut rest = buffers.pages.as_slice();
    for (first, count) in frame.runs() {
        let (run, more) = rest.split_at(count * PAGE as usize);
        memory
            .write_bytes(frame.gpa + first as u64 * PAGE, run)
            .map_err(|_| snapshot.damaged("its pages lie outside memory"))?;
        rest = more;
    }
    Ok(())
}

fn unavailable(error: &std::io::Error) -> MonitorError {
    MonitorError::new(
        SPORE_MEMORY_UNAVAILABLE,
        format!("the host does not give memory for a snapshot: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(touched: &[usize], written: &[usize]) -> Use {
        let map = |pages: &[usize]| {
            let mut map = [0_u64; 8];
            for page in pages {
                map[page / 64] |= 1 << (page % 64);
            }
            map
        };
        Use {
            touched: map(touched),
            written: map(written),
        }
    }

    #[test]
    fn a_frame_that_is_only_read_stays_shared() {
        assert_eq!(copied_ahead(&uses(&[0, 1, 2, 3, 4, 5, 511], &[])), []);
    }

    #[test]
    fn what_is_written_is_copied_with_what_stands_before_it() {
        assert_eq!(copied_ahead(&uses(&[3, 8], &[3])), [(0, 4)]);
        assert_eq!(copied_ahead(&uses(&[7, 9], &[7, 9])), [(0, 10)]);
        assert_eq!(copied_ahead(&uses(&[511], &[511])), [(504, 8)]);
    }

    #[test]
    fn many_reads_of_a_window_are_worth_copies() {
        assert_eq!(
            copied_ahead(&uses(&[0, 16, 17, 19, 24, 25], &[0])),
            [(0, 1), (16, 4)]
        );
    }
}
