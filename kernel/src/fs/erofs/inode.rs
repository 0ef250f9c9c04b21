//! EROFS inodes and where their bytes lie.

use super::{BLOCK, Volume, u16_at, u32_at, u64_at};
use crate::errno::{Errno, Result};
use crate::fs::stat::{Timespec, mode};

/// How the bytes of a file are laid out (`i_format`, bits 1 to 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Consecutive blocks from this byte offset on.
    Plain { at: u64 },
    /// Consecutive blocks, and the last piece behind the inode.
    Inline { at: u64, tail: u64 },
    /// A table of block numbers, one per chunk of `1 << bits` bytes; entries have 8
    /// bytes with `wide`, else 4.
    Chunks { table: u64, bits: u32, wide: bool },
}

/// An inode, parsed.
#[derive(Clone, Copy, Debug)]
pub struct Inode {
    /// Its number (place in the metadata area, in units of 32 bytes).
    pub number: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links.
    pub links: u32,
    /// Bytes.
    pub size: u64,
    /// Last modification.
    pub modified: Timespec,
    /// Device number, for device files.
    pub device: u32,
    layout: Layout,
}

/// A contiguous piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes of the image, with their offset in it.
    Bytes(&'static [u8], u64),
    /// That many bytes of zero.
    Hole(u64),
}

const NO_BLOCK: u32 = u32::MAX;

fn align(value: u64, unit: u64) -> u64 {
    value.next_multiple_of(unit)
}

impl Inode {
    /// Reads inode `number` of `volume`. EIO for anything that is not one.
    pub(super) fn read(volume: &Volume, number: u64) -> Result<Self> {
        let at = number
            .checked_mul(32)
            .and_then(|offset| offset.checked_add(volume.meta_at))
            .ok_or(Errno::EIO)?;
        let base = volume.bytes(at, 32)?;
        let format = u16_at(base, 0)?;
        let extended = format & 1 != 0;
        let attributes = u64::from(u16_at(base, 2)?);
        let mode = u32::from(u16_at(base, 4)?);
        let (raw, links, size, uid, gid, modified) = if extended {
            let full = volume.bytes(at, 64)?;
            let modified = Timespec {
                seconds: u64_at(full, 32)?.cast_signed(),
                nanoseconds: i64::from(u32_at(full, 40)? % 1_000_000_000),
            };
            (
                u32_at(full, 16)?,
                u32_at(full, 44)?,
                u64_at(full, 8)?,
                u32_at(full, 24)?,
                u32_at(full, 28)?,
                modified,
            )
        } else {
            let (uid, gid) = (u32::from(u16_at(base, 24)?), u32::from(u16_at(base, 26)?));
            let (links, size) = (u32::from(u16_at(base, 6)?), u64::from(u32_at(base, 8)?));
            (u32_at(base, 16)?, links, size, uid, gid, volume.built)
        };
        let header = if extended { 64 } else { 32 };
        let attributes = if attributes == 0 {
            0
        } else {
            12 + 4 * (attributes - 1)
        };
        let end = at + header + attributes;
        let kind = mode & mode::TYPE;
        let has_data = matches!(kind, mode::FILE | mode::DIRECTORY | mode::LINK);
        let layout = if has_data {
            Layout::parse(format, raw, end)?
        } else {
            Layout::Plain { at: 0 }
        };
        let inode = Self {
            number,
            mode,
            uid,
            gid,
            links,
            size: if has_data { size } else { 0 },
            modified,
            device: raw,
            layout,
        };
        inode.check(volume)?;
        Ok(inode)
    }
    /// Everything but a chunk table can be checked once for the whole file.
    fn check(&self, volume: &Volume) -> Result<()> {
        let most = match self.mode & mode::TYPE {
            mode::LINK => BLOCK - 1,
            mode::DIRECTORY => volume.size(),
            _ => i64::MAX.cast_unsigned(),
        };
        if self.size > most {
            return Err(Errno::EIO);
        }
        match self.layout {
            Layout::Plain { at } => volume.bytes(at, self.size).map(|_| ()),
            Layout::Inline { at, tail } => {
                let packed = self.packed();
                volume.bytes(at, packed)?;
                let rest = self.size - packed;
                // The tail shares a block with the inode.
                if tail % BLOCK + rest > BLOCK {
                    return Err(Errno::EIO);
                }
                volume.bytes(tail, rest).map(|_| ())
            }
            Layout::Chunks { table, bits, wide } => {
                let chunks = self.size.div_ceil(1 << bits);
                let entry = if wide { 8 } else { 4 };
                volume
                    .bytes(table, chunks.checked_mul(entry).ok_or(Errno::EIO)?)
                    .map(|_| ())
            }
        }
    }
    /// Bytes of an inline file that lie in blocks of their own.
    fn packed(&self) -> u64 {
        self.size.div_ceil(BLOCK).saturating_sub(1) * BLOCK
    }
    /// The piece of the file that begins at `offset` (below the size), as long as it
    /// is contiguous, but no longer than the file. EIO.
    pub fn extent(&self, volume: &Volume, offset: u64) -> Result<Extent> {
        if offset >= self.size {
            return Err(Errno::EIO);
        }
        let (at, len) = match self.layout {
            Layout::Plain { at } => (at + offset, self.size - offset),
            Layout::Inline { at, tail } => {
                let packed = self.packed();
                if offset < packed {
                    (at + offset, packed - offset)
                } else {
                    (tail + offset - packed, self.size - offset)
                }
            }
            Layout::Chunks { table, bits, wide } => {
                let chunk = offset >> bits;
                let within = offset & ((1 << bits) - 1);
                let len = ((1 << bits) - within).min(self.size - offset);
                let entry = volume.bytes(
                    table + chunk * if wide { 8 } else { 4 },
                    if wide { 8 } else { 4 },
                )?;
                // The wide form names a device first; only the image itself is known here.
                if wide && u16_at(entry, 2)? != 0 {
                    return Err(Errno::EIO);
                }
                let block = u32_at(entry, if wide { 4 } else { 0 })?;
                if block == NO_BLOCK {
                    return Ok(Extent::Hole(len));
                }
                (u64::from(block) * BLOCK + within, len)
            }
        };
        Ok(Extent::Bytes(volume.bytes(at, len)?, at))
    }
    /// Offset in the image of byte 0, if the whole file is contiguous.
    pub fn contiguous(&self, volume: &Volume) -> Option<u64> {
        match self.layout {
            Layout::Plain { at } => Some(at),
            Layout::Inline { tail, .. } if self.packed() == 0 => Some(tail),
            Layout::Inline { at, tail } => (at + self.packed() == tail).then_some(at),
            Layout::Chunks { .. } => {
                let mut offset = 0;
                let mut start = None;
                while offset < self.size {
                    let Ok(Extent::Bytes(bytes, at)) = self.extent(volume, offset) else {
                        return None;
                    };
                    if *start.get_or_insert(at) + offset != at {
                        return None;
                    }
                    offset += bytes.len() as u64;
                }
                start
            }
        }
    }
    /// All bytes of a small file (a symbolic link). EIO when it is not contiguous.
    pub fn whole(&self, volume: &Volume) -> Result<&'static [u8]> {
        if self.size == 0 {
            return Ok(&[]);
        }
        match self.extent(volume, 0)? {
            Extent::Bytes(bytes, _) if bytes.len() as u64 == self.size => Ok(bytes),
            _ => Err(Errno::EIO),
        }
    }
}

impl Layout {
    /// `raw` is `i_u`; `end` the first byte behind inode and attributes.
    fn parse(format: u16, raw: u32, end: u64) -> Result<Self> {
        let at = u64::from(raw) * BLOCK;
        match format >> 1 & 7 {
            // Files without a block of their own name none.
            0 => Ok(Layout::Plain {
                at: if raw == NO_BLOCK { 0 } else { at },
            }),
            2 => Ok(Layout::Inline {
                at: if raw == NO_BLOCK { 0 } else { at },
                tail: end,
            }),
            4 => {
                let wide = raw & 0x20 != 0;
                if raw & !0x3F != 0 {
                    return Err(Errno::EIO);
                }
                let bits = 12 + (raw & 0x1F);
                Ok(Layout::Chunks {
                    table: align(end, if wide { 8 } else { 4 }),
                    bits,
                    wide,
                })
            }
            _ => Err(Errno::EIO),
        }
    }
}
