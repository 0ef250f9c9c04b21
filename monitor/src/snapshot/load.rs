//! Brings the pages of a snapshot into a new guest's memory.

use spore_abi::layout::PAGE;

use super::file::Snapshot;
use crate::error::Result;
use crate::memory::GuestMemory;

/// Copies every page into place and checks it. The guest must not run yet.
pub fn pages(snapshot: &Snapshot, memory: &GuestMemory) -> Result<()> {
    let mut bytes = Vec::new();
    for frame in &snapshot.frames {
        snapshot.read_frame(frame, &mut bytes)?;
        let mut rest = bytes.as_slice();
        for (first, count) in frame.runs() {
            let (run, more) = rest.split_at(count * PAGE as usize);
            memory
                .write_bytes(frame.gpa + first as u64 * PAGE, run)
                .map_err(|_| snapshot.damaged("its pages lie outside memory"))?;
            rest = more;
        }
    }
    Ok(())
}
