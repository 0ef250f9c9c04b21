//! The copy of a guest at rest, made while its vCPU stands still.

use spore_abi::layout::PAGE;

use super::format::{FRAME_PAGES, Frame};
use crate::memory::GuestMemory;

/// Pages of guest memory that are not zero.
pub struct Pages {
    /// Which they are, ascending.
    pub frames: Vec<Frame>,
    /// Their bytes, one after another.
    pub data: Vec<u8>,
}

/// Copies every page of RAM that is in use and not zero, into `data`, which keeps its
/// room. For a snapshot the guest must not run; while it runs, the copy is good for
/// finding out how much room is needed, and for having it.
pub fn pages(memory: &GuestMemory, mut data: Vec<u8>) -> Pages {
    data.clear();
    let mut frames = Vec::new();
    for gpa in memory.resident_frames() {
        let first = data.len() as u64 / PAGE;
        let mut pages = [0_u64; 8];
        for page in 0..FRAME_PAGES {
            let at = gpa + page as u64 * PAGE;
            if memory.append_unless_zero(at, &mut data) {
                pages[page / 64] |= 1 << (page % 64);
            }
        }
        if pages != [0; 8] {
            frames.push(Frame {
                gpa,
                pages,
                first,
                ..Frame::default()
            });
        }
    }
    Pages { frames, data }
}
