//! User memory: addresses are allegations until a copy has succeeded.

use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::errno::{Errno, Result};

/// An address that the application gave. Nothing is known about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserAddr(u64);

impl UserAddr {
    /// Takes over a raw argument.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }
    /// The raw number.
    pub const fn raw(self) -> u64 {
        self.0
    }
    /// NULL.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
    /// Address arithmetic; a wrapped address fails when it is used.
    pub const fn wrapping_add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// Copies user memory into `buffer`. EFAULT if any byte is not readable.
pub fn read_bytes(addr: UserAddr, buffer: &mut [u8]) -> Result<()> {
    spore_hal::user::copy_in(buffer, addr.0).map_err(|_| Errno::EFAULT)
}

/// Copies `bytes` into user memory. EFAULT if any byte is not writable.
pub fn write_bytes(addr: UserAddr, bytes: &[u8]) -> Result<()> {
    spore_hal::user::copy_out(addr.0, bytes).map_err(|_| Errno::EFAULT)
}

/// Reads one plain value.
pub fn read<T: FromBytes + IntoBytes>(addr: UserAddr) -> Result<T> {
    let mut value = T::new_zeroed();
    read_bytes(addr, value.as_mut_bytes())?;
    Ok(value)
}

/// Writes one plain value.
pub fn write<T: IntoBytes + Immutable>(addr: UserAddr, value: &T) -> Result<()> {
    write_bytes(addr, value.as_bytes())
}

/// Longest path, with its NUL (`limits.h`).
pub const PATH_MAX: usize = 4096;

/// Reads a NUL-ended string of at most `max` bytes (NUL not counted).
/// ENAMETOOLONG if it is longer.
pub fn read_string(addr: UserAddr, max: usize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        // Page-wise, so that a string that ends just before an unmapped page is read.
        let at = addr.wrapping_add(text.len() as u64);
        let mut chunk = [0u8; 256];
        let room = (4096 - (at.raw() % 4096) as usize).min(chunk.len());
        read_bytes(at, &mut chunk[..room])?;
        if let Some(end) = chunk[..room].iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&chunk[..end]);
            return if text.len() > max {
                Err(Errno::ENAMETOOLONG)
            } else {
                Ok(text)
            };
        }
        text.extend_from_slice(&chunk[..room]);
        if text.len() > max {
            return Err(Errno::ENAMETOOLONG);
        }
    }
}

/// Reads a path. EFAULT, ENAMETOOLONG; an empty path is left to the caller.
pub fn read_path(addr: UserAddr) -> Result<Vec<u8>> {
    read_string(addr, PATH_MAX - 1)
}
