//! Reading EROFS images in place (uncompressed, 4 KiB blocks).
//!
//! The image is a slice of read-only guest memory. Its content is input: every
//! offset is checked before use, and what does not add up is EIO. Nothing here
//! loops over more than the directory block or chunk it was asked about.
//! Format: `fs/erofs/erofs_fs.h` of Linux and its documentation.

pub mod directory;
pub mod inode;
#[cfg(test)]
mod tests;

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;

pub use inode::{Extent, Inode};

const SUPERBLOCK_AT: usize = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// The only block size that is read.
pub const BLOCK: u64 = 4096;
/// Incompatible features that do not matter to an uncompressed image: zero-padded
/// compression (named by some writers even without compressed files), chunk-based
/// files, long extended-attribute prefixes.
const KNOWN_FEATURES: u32 = 0x1 | 0x4 | 0x40;

/// An image.
pub struct Volume {
    image: &'static [u8],
    /// Guest-physical address of its first byte.
    gpa: u64,
    meta_at: u64,
    root: u64,
    /// The time that compact inodes share.
    built: Timespec,
}

/// Little-endian fields at unverified offsets.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).ok_or(Errno::EIO)?;
    bytes
        .get(at..end)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(Errno::EIO)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    field(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    field(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    field(bytes, at).map(u64::from_le_bytes)
}

impl Volume {
    /// Reads the superblock. EIO when this is no image that can be read.
    pub fn open(image: &'static [u8], gpa: u64) -> Result<Self> {
        let superblock = image
            .get(SUPERBLOCK_AT..SUPERBLOCK_AT + 128)
            .ok_or(Errno::EIO)?;
        let block_bits = superblock[12];
        let features = u32_at(superblock, 80)?;
        if u32_at(superblock, 0)? != MAGIC
            || 1 << block_bits.min(63) != BLOCK
            || features & !KNOWN_FEATURES != 0
        {
            return Err(Errno::EIO);
        }
        let built = Timespec {
            seconds: u64_at(superblock, 24)?.cast_signed(),
            nanoseconds: i64::from(u32_at(superblock, 32)? % 1_000_000_000),
        };
        let meta_at = u64::from(u32_at(superblock, 40)?) * BLOCK;
        Ok(Self {
            image,
            gpa,
            meta_at,
            root: u64::from(u16_at(superblock, 14)?),
            built,
        })
    }
    /// Number of the root directory's inode.
    pub fn root(&self) -> u64 {
        self.root
    }
    /// Reads an inode. EIO.
    pub fn inode(&self, number: u64) -> Result<Inode> {
        Inode::read(self, number)
    }
    /// Length of the image in bytes.
    pub fn size(&self) -> u64 {
        self.image.len() as u64
    }
    /// Bytes of the image. EIO when they lie outside.
    fn bytes(&self, at: u64, len: u64) -> Result<&'static [u8]> {
        let start = usize::try_from(at).map_err(|_| Errno::EIO)?;
        let end = start
            .checked_add(usize::try_from(len).map_err(|_| Errno::EIO)?)
            .ok_or(Errno::EIO)?;
        self.image.get(start..end).ok_or(Errno::EIO)
    }
    /// Guest-physical address of byte `at`.
    pub fn address(&self, at: u64) -> u64 {
        self.gpa + at
    }
}
