//! EROFS directories: blocks of sorted entries, names behind them.

use super::{BLOCK, Extent, Inode, Volume, u16_at, u64_at};
use crate::errno::{Errno, Result};
use crate::fs::stat::mode;

/// Bytes of one entry (`struct erofs_dirent`).
const ENTRY: usize = 12;

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Inode number.
    pub number: u64,
    /// `S_IF…` type, 0 if the image does not say.
    pub kind: u32,
    /// Name.
    pub name: &'static [u8],
}

/// One block of a directory, its entry count checked.
struct Block {
    bytes: &'static [u8],
    count: usize,
}

fn kind_of(file_type: u8) -> u32 {
    match file_type {
        1 => mode::FILE,
        2 => mode::DIRECTORY,
        3 => mode::CHARACTER,
        4 => mode::BLOCK,
        5 => mode::FIFO,
        6 => mode::SOCKET,
        7 => mode::LINK,
        _ => 0,
    }
}

impl Block {
    /// The block with index `index` of `directory`. EIO.
    fn read(volume: &Volume, directory: &Inode, index: u64) -> Result<Self> {
        let offset = index.checked_mul(BLOCK).ok_or(Errno::EIO)?;
        let Extent::Bytes(bytes, _) = directory.extent(volume, offset)? else {
            return Err(Errno::EIO);
        };
        let bytes = &bytes[..bytes.len().min(BLOCK as usize)];
        // The first name begins where the entries end.
        let names = usize::from(u16_at(bytes, 8)?);
        if names < ENTRY || names % ENTRY != 0 || names > bytes.len() {
            return Err(Errno::EIO);
        }
        Ok(Self {
            bytes,
            count: names / ENTRY,
        })
    }
    fn entry(&self, index: usize) -> Result<Entry> {
        let at = index * ENTRY;
        let start = usize::from(u16_at(self.bytes, at + 8)?);
        let end = if index + 1 < self.count {
            usize::from(u16_at(self.bytes, at + ENTRY + 8)?)
        } else {
            self.bytes.len()
        };
        let mut name = self.bytes.get(start..end).ok_or(Errno::EIO)?;
        if index + 1 == self.count
            && let Some(stop) = name.iter().position(|byte| *byte == 0)
        {
            name = &name[..stop];
        }
        if name.is_empty() || name.len() > 255 || name.contains(&b'/') || name.contains(&0) {
            return Err(Errno::EIO);
        }
        let file_type = *self.bytes.get(at + 10).ok_or(Errno::EIO)?;
        Ok(Entry {
            number: u64_at(self.bytes, at)?,
            kind: kind_of(file_type),
            name,
        })
    }
}

impl Inode {
    fn directory_blocks(&self) -> Result<u64> {
        if self.mode & mode::TYPE == mode::DIRECTORY {
            Ok(self.size.div_ceil(BLOCK))
        } else {
            Err(Errno::ENOTDIR)
        }
    }
    /// Finds `name` by binary search. EIO, ENOTDIR.
    pub fn find(&self, volume: &Volume, name: &[u8]) -> Result<Option<Entry>> {
        // The block whose first name is the last one not above `name`.
        let (mut low, mut high) = (0, self.directory_blocks()?);
        while low < high {
            let middle = low + (high - low) / 2;
            if Block::read(volume, self, middle)?.entry(0)?.name <= name {
                low = middle + 1
            } else {
                high = middle
            }
        }
        let Some(index) = low.checked_sub(1) else {
            return Ok(None);
        };
        let block = Block::read(volume, self, index)?;
        let (mut low, mut high) = (0, block.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = block.entry(middle)?;
            match entry.name.cmp(name) {
                core::cmp::Ordering::Equal => return Ok(Some(entry)),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
    /// Shows every entry but `.` and `..`. EIO, ENOTDIR.
    pub fn each_entry(&self, volume: &Volume, mut show: impl FnMut(Entry)) -> Result<()> {
        for index in 0..self.directory_blocks()? {
            let block = Block::read(volume, self, index)?;
            for position in 0..block.count {
                let entry = block.entry(position)?;
                if entry.name != b"." && entry.name != b".." {
                    show(entry);
                }
            }
        }
        Ok(())
    }
}
