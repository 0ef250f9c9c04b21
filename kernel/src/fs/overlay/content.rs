//! The bytes of a regular file: what lies in an image layer or the launch data,
//! page by page hidden by frames that were written.
//!
//! Bytes of frames behind the end of the file are zero; whoever makes the file
//! longer relies on it.

use super::frames::{self, PAGE, RUN_PAGES};
use super::pages::{Page, PageTable};
use crate::errno::{Errno, Result};
use crate::fs::erofs::{Extent, Inode as LayerInode, Volume};
use crate::fs::file::PageSource;

/// What shows where nothing was written.
pub enum Below {
    /// Zero.
    Nothing,
    /// A file in an image layer.
    Layer(&'static Volume, LayerInode),
    /// Bytes of the launch data.
    Bytes(&'static [u8]),
}

/// A contiguous piece of a file, for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// In frames: address and length.
    Frames(u64, u64),
    /// Read-only bytes.
    Bytes(&'static [u8]),
    /// That many zeros.
    Zero(u64),
}

/// A contiguous piece of a file that may be written to.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub len: u64,
    /// The content is arbitrary: what is not written must be zeroed.
    pub fresh: bool,
}

/// fallocate(2) modes (`linux/falloc.h`).
pub mod fallocate {
    #![allow(missing_docs, reason = "named and documented as in fallocate(2)")]
    pub const KEEP_SIZE: u32 = 1;
    pub const PUNCH_HOLE: u32 = 2;
    pub const ZERO_RANGE: u32 = 0x10;
}

/// Largest size of a file.
pub const MAX_SIZE: u64 = i64::MAX as u64 & !(PAGE - 1);

/// Content of a regular file.
pub struct Content {
    size: u64,
    below: Below,
    /// Bytes of `below` that still show; cut by truncation.
    limit: u64,
    pages: PageTable,
    /// Frames may be in page tables: they are never freed before the file is.
    mapped: bool,
}

impl Content {
    /// An empty file.
    pub fn empty() -> Self {
        Self::over(Below::Nothing)
    }
    /// A file that begins with the bytes of `below`.
    pub fn over(below: Below) -> Self {
        let size = match &below {
            Below::Nothing => 0,
            Below::Layer(_, inode) => inode.size,
            Below::Bytes(bytes) => bytes.len() as u64,
        };
        Self {
            size,
            below,
            limit: size,
            pages: PageTable::default(),
            mapped: false,
        }
    }
    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// 512-byte blocks, for stat.
    pub fn blocks(&self) -> u64 {
        self.pages.count() * (PAGE / 512) + self.limit.div_ceil(512)
    }
    /// GPA of byte 0 of an untouched file that lies in a layer in one piece.
    pub fn layer_address(&self) -> Option<u64> {
        match &self.below {
            Below::Layer(volume, inode)
                if self.limit == inode.size
                    && self.pages.count() == 0
                    && self.size == self.limit =>
            {
                inode.contiguous(volume).map(|at| volume.address(at))
            }
            _ => None,
        }
    }
    /// The piece at `offset`, at most `most` bytes, not looking at the size. EIO.
    pub fn piece(&self, offset: u64, most: u64) -> Result<Piece> {
        let within = offset % PAGE;
        let (page, run) = self
            .pages
            .run(offset / PAGE, (within + most).div_ceil(PAGE));
        let len = most.min(run.saturating_mul(PAGE) - within);
        match page {
            Page::Frame(frame) => Ok(Piece::Frames(frame.gpa() + within, len)),
            Page::Hole => Ok(Piece::Zero(len)),
            Page::Absent => self.below(offset, len),
        }
    }
    fn below(&self, offset: u64, len: u64) -> Result<Piece> {
        if offset >= self.limit {
            return Ok(Piece::Zero(len));
        }
        let len = len.min(self.limit - offset);
        match &self.below {
            Below::Nothing => Ok(Piece::Zero(len)),
            Below::Bytes(bytes) => Ok(Piece::Bytes(
                bytes
                    .get(offset as usize..(offset + len) as usize)
                    .ok_or(Errno::EIO)?,
            )),
            Below::Layer(volume, inode) => match inode.extent(volume, offset)? {
                Extent::Bytes(bytes, _) => {
                    Ok(Piece::Bytes(&bytes[..bytes.len().min(len as usize)]))
                }
                Extent::Hole(hole) => Ok(Piece::Zero(hole.min(len))),
            },
        }
    }
    /// Copies what shows at page `page` into a frame that is all arbitrary.
    fn fill(&self, page: u64, gpa: u64) -> Result<()> {
        let mut done = 0;
        while done < PAGE {
            let at = page * PAGE + done;
            let piece = if at >= self.size {
                Piece::Zero(PAGE - done)
            } else {
                self.piece(at, PAGE - done)?
            };
            done += match piece {
                Piece::Bytes(bytes) => {
                    frames::write(gpa + done, bytes);
                    bytes.len() as u64
                }
                Piece::Zero(len) => {
                    frames::zero(gpa + done, len);
                    len
                }
                Piece::Frames(..) => return Err(Errno::EIO),
            };
        }
        Ok(())
    }
    /// Frames for writing at `offset`: at most `len` bytes. Pages that the write covers
    /// only in part keep their content. ENOSPC, EIO.
    pub fn room(&mut self, offset: u64, len: u64) -> Result<Room> {
        let within = offset % PAGE;
        let first = offset / PAGE;
        let (page, run) = self.pages.run(first, (within + len).div_ceil(PAGE));
        if let Page::Frame(frame) = page {
            return Ok(Room {
                gpa: frame.gpa() + within,
                len: len.min(run * PAGE - within),
                fresh: false,
            });
        }
        let mut covered = 0;
        let mut start = None;
        for (page, frame) in (first..).zip(frames::allocate(run.min(RUN_PAGES))?.frames()) {
            let begin = page * PAGE;
            if (begin < offset || begin + PAGE > offset + len)
                && let Err(error) = self.fill(page, frame.gpa())
            {
                frames::free(frame);
                return Err(error);
            }
            self.pages.set(page, frame);
            start.get_or_insert(frame.gpa());
            covered += PAGE;
        }
        let gpa = start.ok_or(Errno::ENOSPC)? + within;
        Ok(Room {
            gpa,
            len: len.min(covered - within),
            fresh: true,
        })
    }
    /// Notes that bytes up to `end` were written.
    pub fn wrote(&mut self, end: u64) {
        self.size = self.size.max(end);
    }
    /// To be called before bytes behind the end become part of the file: a program may
    /// have stored there through a mapping of the last page.
    pub fn clean_end(&mut self) {
        let within = self.size % PAGE;
        if self.mapped
            && within != 0
            && let Page::Frame(frame) = self.pages.get(self.size / PAGE)
        {
            frames::zero(frame.gpa() + within, PAGE - within);
        }
    }
    /// Makes the file `size` bytes long. EFBIG, ENOSPC, EIO.
    pub fn truncate(&mut self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size < self.size {
            let (page, within) = (size / PAGE, size % PAGE);
            if within != 0
                && let Page::Frame(frame) = self.pages.get(page)
            {
                frames::zero(frame.gpa() + within, PAGE - within);
            }
            let first = size.div_ceil(PAGE);
            if self.mapped {
                for (_, frame) in self.pages.frames(first, u64::MAX) {
                    frames::zero(frame.gpa(), PAGE);
                }
            } else {
                self.pages.truncate(first);
            }
            self.limit = self.limit.min(size);
            self.size = size;
        } else if size > self.size {
            self.clean_end();
            self.size = size;
        }
        Ok(())
    }
    /// Zeroes `[offset, offset + len)` inside one page.
    fn zero_within(&mut self, offset: u64, len: u64) -> Result<()> {
        if len == 0
            || (self.pages.get(offset / PAGE) == Page::Absent && offset / PAGE * PAGE >= self.limit)
        {
            return Ok(());
        }
        if self.pages.get(offset / PAGE) == Page::Hole {
            return Ok(());
        }
        let room = self.room(offset, len)?;
        frames::zero(room.gpa, len);
        Ok(())
    }
    /// Makes `[offset, end)` read as zero and frees what it can.
    fn punch(&mut self, offset: u64, end: u64) -> Result<()> {
        let first = offset.div_ceil(PAGE);
        let last = end / PAGE;
        if first > last {
            return self.zero_within(offset, end - offset);
        }
        self.zero_within(offset, first * PAGE - offset)?;
        self.zero_within(last * PAGE, end - last * PAGE)?;
        if self.mapped {
            for (_, frame) in self.pages.frames(first, last) {
                frames::zero(frame.gpa(), PAGE);
            }
            let hidden: alloc::vec::Vec<u64> = (first..last.min(self.limit.div_ceil(PAGE)))
                .filter(|page| self.pages.get(*page) == Page::Absent)
                .collect();
            for page in hidden {
                self.pages.punch(page, page + 1, true);
            }
            return Ok(());
        }
        let hidden = last.min(self.limit.div_ceil(PAGE)).max(first);
        self.pages.punch(first, hidden, true);
        if hidden < last {
            self.pages.punch(hidden, last, false);
        }
        Ok(())
    }
    /// fallocate(2). EINVAL, EOPNOTSUPP, EFBIG, ENOSPC.
    pub fn allocate(&mut self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= MAX_SIZE)
            .ok_or(Errno::EFBIG)?;
        match mode & !fallocate::KEEP_SIZE {
            0 => self.reserve(offset, end)?,
            fallocate::PUNCH_HOLE if mode & fallocate::KEEP_SIZE != 0 => {
                return self.punch(offset, end.max(offset));
            }
            fallocate::ZERO_RANGE => self.punch(offset, end)?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        if mode & fallocate::KEEP_SIZE == 0 && end > self.size {
            self.clean_end();
            self.size = end;
        }
        Ok(())
    }
    fn reserve(&mut self, offset: u64, end: u64) -> Result<()> {
        let pages = end.div_ceil(PAGE) - offset / PAGE;
        if pages > frames::totals().1 + self.pages.count() {
            return Err(Errno::ENOSPC);
        }
        for page in offset / PAGE..end.div_ceil(PAGE) {
            // Pages that show something below need no frame until they are written.
            if matches!(self.pages.get(page), Page::Frame(_)) || page * PAGE < self.limit {
                continue;
            }
            for frame in frames::allocate(1)?.frames() {
                frames::zero(frame.gpa(), PAGE);
                self.pages.set(page, frame);
            }
        }
        Ok(())
    }
    /// Whether pages from `page` on are data, and how many are alike.
    fn data_run(&self, page: u64, most: u64) -> (bool, u64) {
        let (kind, run) = self.pages.run(page, most);
        match kind {
            Page::Frame(_) => (true, run),
            Page::Absent if page * PAGE < self.limit => {
                (true, run.min(self.limit.div_ceil(PAGE) - page))
            }
            Page::Absent | Page::Hole => (false, run),
        }
    }
    /// SEEK_DATA (`data`) and SEEK_HOLE. ENXIO.
    pub fn seek(&self, offset: u64, data: bool) -> Result<u64> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        let end = self.size.div_ceil(PAGE);
        let mut page = offset / PAGE;
        while page < end {
            let (is_data, run) = self.data_run(page, end - page);
            if is_data == data {
                return Ok(offset.max(page * PAGE));
            }
            page += run;
        }
        if data {
            Err(Errno::ENXIO)
        } else {
            Ok(self.size)
        }
    }
    /// The page at `offset` for mmap. EFAULT behind the end (SIGBUS), ENOSPC, EIO.
    pub fn map_page(&mut self, offset: u64, write: bool) -> Result<PageSource> {
        if offset >= self.size {
            return Err(Errno::EFAULT);
        }
        let offset = offset / PAGE * PAGE;
        match self.pages.get(offset / PAGE) {
            Page::Frame(frame) => {
                self.mapped = true;
                return Ok(PageSource::Memory { gpa: frame.gpa() });
            }
            Page::Hole if !write => return Ok(PageSource::Hole),
            Page::Absent if !write && offset >= self.limit => return Ok(PageSource::Hole),
            Page::Absent if !write => {
                if let Some(gpa) = self.layer_page(offset) {
                    return Ok(PageSource::Layer { gpa });
                }
            }
            Page::Hole | Page::Absent => {}
        }
        // A one-byte room fills the rest of its page with what shows now.
        let room = self.room(offset, 1)?;
        self.mapped = true;
        Ok(PageSource::Memory { gpa: room.gpa })
    }
    /// GPA of a page that can be mapped from the layer as it is.
    fn layer_page(&self, offset: u64) -> Option<u64> {
        let Below::Layer(volume, inode) = &self.below else {
            return None;
        };
        let Ok(Extent::Bytes(bytes, at)) = inode.extent(volume, offset) else {
            return None;
        };
        // Behind the end of the file, its last block is zero.
        let whole = offset + PAGE <= self.limit && bytes.len() as u64 >= PAGE;
        let last =
            self.limit == inode.size && offset + PAGE > self.limit && at + PAGE <= volume.size();
        ((whole || last) && volume.address(at) % PAGE == 0).then(|| volume.address(at))
    }
}
