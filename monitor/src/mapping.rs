//! Host mappings that back guest memory, aligned to 2 MiB so that guest-virtual,
//! guest-physical and host addresses agree modulo 2 MiB.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

use spore_abi::layout::{HUGE, PAGE};

/// One mapping, unmapped when dropped.
pub struct Mapping {
    base: *mut u8,
    len: usize,
    private: bool,
}

/// How a file is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Read-only, one copy in host memory for all.
    Shared,
    /// Writable by the monitor; what it writes is copied.
    Private,
}

// SAFETY: the mapping is plain memory owned by this object; threads reach it
// through `GuestMemory`, whose accesses are copies or atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Anonymous memory for guest RAM: no swap reservation, huge pages wanted.
    /// `len` is a multiple of 2 MiB.
    pub fn anonymous(len: u64) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let mapping = Self::reserve(len, libc::PROT_READ | libc::PROT_WRITE, flags)?;
        mapping.want_huge_pages();
        Ok(mapping)
    }

    /// `len` bytes of a file from `offset`, both multiples of 4096.
    pub fn file(file: &File, offset: u64, len: u64, sharing: Sharing) -> io::Result<Self> {
        let space = len.checked_next_multiple_of(HUGE).ok_or_else(too_large)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let mut mapping = Self::reserve(space, libc::PROT_NONE, flags)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| too_large())?;
        let (protection, flags) = match sharing {
            Sharing::Shared => (libc::PROT_READ, libc::MAP_SHARED),
            Sharing::Private => (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE),
        };
        // SAFETY: MAP_FIXED replaces part of the reservation that this object
        // owns and nothing has a pointer into yet.
        let mapped = unsafe {
            libc::mmap(
                mapping.base.cast(),
                len as usize,
                protection,
                flags | libc::MAP_FIXED,
                file.as_raw_fd(),
                offset,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        mapping.trim(len as usize);
        mapping.private = sharing == Sharing::Private;
        mapping.want_huge_pages();
        Ok(mapping)
    }

    /// Host address of the first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether a file was mapped with [`Sharing::Private`].
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Maps `len` bytes at a 2 MiB boundary.
    fn reserve(len: u64, protection: i32, flags: i32) -> io::Result<Self> {
        let padded = len.checked_add(HUGE).ok_or_else(too_large)? as usize;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(null_mut(), padded, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let before = start.align_offset(HUGE as usize);
        // SAFETY: the aligned start and its `len` bytes lie inside the padded
        // mapping; what is cut off around them belongs to no one else.
        unsafe {
            let base = start.cast::<u8>().add(before);
            let after = padded - before - len as usize;
            if before > 0 {
                libc::munmap(start, before);
            }
            if after > 0 {
                libc::munmap(base.add(len as usize).cast(), after);
            }
            Ok(Self {
                base,
                len: len as usize,
                private: false,
            })
        }
    }

    /// Gives back everything from `len` on.
    fn trim(&mut self, len: usize) {
        if len < self.len {
            // SAFETY: the tail belongs to this object and nothing points there.
            unsafe { libc::munmap(self.base.add(len).cast(), self.len - len) };
            self.len = len;
        }
    }

    /// Asks for huge pages; a kernel without them serves small ones, slower.
    fn want_huge_pages(&self) {
        // SAFETY: advice about memory that this object owns.
        unsafe { libc::madvise(self.base.cast(), self.len, libc::MADV_HUGEPAGE) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this object owns exactly these bytes.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// Rounds up to whole pages, the unit of memory slots.
pub fn round_to_pages(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(PAGE)
}

fn too_large() -> io::Error {
    io::Error::from(io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn ram_is_zero_and_aligned() {
        let mapping = Mapping::anonymous(HUGE).unwrap();
        assert_eq!(mapping.as_ptr().align_offset(HUGE as usize), 0);
        assert_eq!(mapping.len() as u64, HUGE);
    }

    #[test]
    fn a_file_is_seen_from_its_offset() {
        let path = std::env::temp_dir().join(format!("spore-mapping-{}", std::process::id()));
        let mut file = File::create_new(&path).unwrap();
        file.write_all(&[7; 8192]).unwrap();
        file.write_all(b"here").unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mapping = Mapping::file(&file, 8192, 4096, Sharing::Shared).unwrap();
        assert_eq!(mapping.as_ptr().align_offset(HUGE as usize), 0);
        // SAFETY: the mapping is 4096 bytes long.
        let first = unsafe { std::slice::from_raw_parts(mapping.as_ptr(), 4) };
        assert_eq!(first, b"here");
    }
}
