//! The copy of a guest at rest, made while its vCPU stands still.

use spore_abi::layout::{HUGE, PAGE};

use super::checksum::crc32c;
use super::format::{FRAME_PAGES, Frame};
use crate::memory::GuestMemory;

/// Pages of guest memory that are not zero.
pub struct Pages {
    /// Which they are, ascending.
    pub frames: Vec<Frame>,
    /// Their bytes, one after another.
    pub data: Vec<u8>,
}

/// Copies every page of RAM that is in use and not zero. The guest must not run.
pub fn pages(memory: &GuestMemory) -> Pages {
    let mut frames = Vec::new();
    let mut data = Vec::with_capacity(32 << 20);
    for gpa in (0..memory.ram_size()).step_by(HUGE as usize) {
        if !memory.is_resident(gpa) {
            continue;
        }
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
                checksum: 0,
            });
        }
    }
    Pages { frames, data }
}

impl Pages {
    /// Fills the checksums in; not part of the pause.
    pub fn seal(&mut self) {
        for frame in &mut self.frames {
            let from = (frame.first * PAGE) as usize;
            let len = (frame.count() * PAGE) as usize;
            frame.checksum = crc32c(&self.data[from..from + len]);
        }
    }
}
