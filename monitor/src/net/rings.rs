//! The monitor's view of the shared rings: what the guest says is checked here
//! before anything is done with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use spore_abi::layout::{FREE_GPA, RINGS_GPA};
use spore_abi::net::{Buffer, Header, Slot};

use crate::memory::{GuestMemory, OutOfRange};

/// The ring header inside guest memory.
#[derive(Clone)]
pub struct Rings {
    memory: Arc<GuestMemory>,
}

impl Rings {
    /// Fails if RAM is too small to hold the header.
    pub fn new(memory: Arc<GuestMemory>) -> Result<Self, OutOfRange> {
        let header = memory.shared::<Header>(RINGS_GPA)?;
        header
            .version
            .store(spore_abi::net::VERSION, Ordering::SeqCst);
        Ok(Self { memory })
    }
    /// The header.
    #[inline]
    pub fn header(&self) -> &Header {
        // `new` has checked the range, and RAM never shrinks.
        self.memory
            .shared::<Header>(RINGS_GPA)
            .expect("checked when the view was made")
    }
    /// One slot.
    #[inline]
    pub fn slot(&self, index: usize) -> &Slot {
        &self.header().slots[index]
    }
    /// Checks a buffer that the guest has stated.
    pub fn ring(&self, buffer: Buffer) -> Option<Ring> {
        let size = buffer.size()?;
        let gpa = buffer.gpa();
        let inside = gpa >= FREE_GPA && self.memory.ram_pointer(gpa, u64::from(size)).is_ok();
        inside.then_some(Ring { gpa, size })
    }
    /// Host address of `len` bytes of a ring from `offset` on; the pair must come
    /// from [`spore_abi::net::piece`].
    pub fn pointer(&self, ring: Ring, offset: u32, len: u32) -> *mut u8 {
        debug_assert!(offset + len <= ring.size);
        self.memory
            .ram_pointer(ring.gpa + u64::from(offset), u64::from(len))
            .expect("rings were checked to lie in RAM, which never shrinks")
    }
    /// Copies bytes into a ring at a free-running index, wrapping around.
    pub fn put(&self, ring: Ring, index: u32, bytes: &[u8]) {
        let (offset, first) = spore_abi::net::piece(index, bytes.len() as u32, ring.size);
        let (head, tail) = bytes.split_at(first as usize);
        // Checked ranges: these cannot fail.
        let _ = self.memory.write_bytes(ring.gpa + u64::from(offset), head);
        let _ = self.memory.write_bytes(ring.gpa, tail);
    }
    /// Copies bytes out of a ring at a free-running index, wrapping around.
    pub fn take(&self, ring: Ring, index: u32, bytes: &mut [u8]) {
        let (offset, first) = spore_abi::net::piece(index, bytes.len() as u32, ring.size);
        let (head, tail) = bytes.split_at_mut(first as usize);
        let _ = self.memory.read_bytes(ring.gpa + u64::from(offset), head);
        let _ = self.memory.read_bytes(ring.gpa, tail);
    }
}

/// A ring buffer that was checked to lie in RAM above `FREE_GPA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    gpa: u64,
    /// Bytes, a power of two.
    pub size: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    #[test]
    fn buffers_outside_free_ram_are_refused() {
        let ram = 16 << 20;
        let memory = GuestMemory::new(Mapping::anonymous(ram).unwrap(), Vec::new());
        let rings = Rings::new(Arc::new(memory)).unwrap();
        assert!(rings.ring(Buffer::new(FREE_GPA, 4096)).is_some());
        assert!(rings.ring(Buffer::new(ram - 4096, 4096)).is_some());
        for bad in [
            Buffer::new(FREE_GPA - 4096, 4096),
            Buffer::new(ram - 4096, 8192),
            Buffer::new(ram, 4096),
            Buffer::new(FREE_GPA, 2048),
            Buffer::new(FREE_GPA, 8 << 20),
            Buffer(u64::MAX),
            Buffer(0xffff_ffff_ffff_f000 | 12),
            Buffer(0),
        ] {
            assert_eq!(rings.ring(bad), None, "{bad:?}");
        }
    }
}
