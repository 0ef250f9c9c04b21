//! Brings the pages of a snapshot into a new guest's memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use spore_abi::layout::{HUGE, PAGE};

use super::file::Snapshot;
use super::format::{FRAME_PAGES, Frame};
use crate::error::{MonitorError, Result, SPORE_MEMORY_UNAVAILABLE};
use crate::memory::GuestMemory;
use crate::standby::shared;

/// A frame with fewer pages is copied page by page, even where frames are shared: it
/// costs less memory than a private copy of its pages once they are written to.
const FEW_PAGES: u64 = 64;

/// A frame of which a request writes to so many pages is copied as well: what is read
/// beside them is mapped several pages at a time then.
const MANY_WRITES: u32 = 16;

/// Copies every page into place and checks it. The guest must not run yet.
pub fn pages(snapshot: &Snapshot, memory: &GuestMemory) -> Result<()> {
    let mut bytes = Vec::new();
    for frame in &snapshot.frames {
        copy(snapshot, memory, frame, &mut bytes)?;
    }
    Ok(())
}

/// Maps frames that others have read and checked ([`shared_frames`]); what this guest
/// writes to is copied then. The guest must not run yet.
pub fn map(snapshot: &Snapshot, memory: &GuestMemory, frames: &File) -> Result<()> {
    let mut bytes = Vec::new();
    let written = snapshot.written()?;
    for (number, frame) in snapshot.frames.iter().enumerate() {
        let map = written.get(number).copied().unwrap_or_default();
        let writes: u32 = map.iter().map(|word| word.count_ones()).sum();
        let untouched = writes == 0 && !written.is_empty();
        if !untouched && frame.count() < FEW_PAGES || writes >= MANY_WRITES {
            memory.want_small_pages(frame.gpa);
            copy(snapshot, memory, frame, &mut bytes)?;
            continue;
        }
        memory
            .map_frame(frame.gpa, frames, number as u64 * HUGE)
            .map_err(|error| unavailable(&error))?;
        // Copied now: the guest's own first write would leave it for longer.
        for page in (0..FRAME_PAGES).filter(|page| map[page / 64] >> (page % 64) & 1 == 1) {
            memory.touch_page(frame.gpa + page as u64 * PAGE);
        }
    }
    Ok(())
}

/// Frames of a snapshot one after another, as they stand in memory, for many guests to
/// map: read and checked once.
pub fn shared_frames(snapshot: &Snapshot) -> Result<File> {
    let file =
        shared::memory(snapshot.frames.len() as u64 * HUGE).map_err(|error| unavailable(&error))?;
    let mut bytes = Vec::new();
    for (number, frame) in snapshot.frames.iter().enumerate() {
        snapshot.read_frame(frame, &mut bytes)?;
        let mut rest = bytes.as_slice();
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
    snapshot: &Snapshot,
    memory: &GuestMemory,
    frame: &Frame,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    snapshot.read_frame(frame, bytes)?;
    let mut rest = bytes.as_slice();
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
