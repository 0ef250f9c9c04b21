//! An open regular file of the root file system.
//!
//! User memory is copied with the content unlocked: a copy may fault, and the
//! fault may ask this very file for a page. Nothing else runs in between.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

use super::content::{MAX_SIZE, Piece};
use super::{Node, frames};
use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, PageSource};
use crate::fs::inode::{Inode, InodeRef, path_text};
use crate::fs::inotify;
use crate::fs::stat::{Stat, StatFs};
use crate::mm::io::{Reader, Writer};

/// An open regular file.
pub struct RegularFile {
    node: Arc<Node>,
}

/// SEEK_DATA of lseek(2).
const SEEK_DATA: u32 = 3;
/// SEEK_HOLE of lseek(2).
const SEEK_HOLE: u32 = 4;

impl RegularFile {
    /// Opens `node`, which is a regular file.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
    /// The piece at `offset`, `None` at the end of the file.
    fn piece(&self, offset: u64, most: usize) -> Result<Option<Piece>> {
        let content = self.node.content()?.lock();
        if offset >= content.size() {
            return Ok(None);
        }
        content
            .piece(offset, (most as u64).min(content.size() - offset))
            .map(Some)
    }
    /// Copies one piece; answers its bytes and how many of them fitted.
    fn copy_piece(&self, out: &mut Writer<'_>, offset: u64) -> Result<(u64, u64)> {
        match self.piece(offset, out.remaining())? {
            None => Ok((0, 0)),
            Some(Piece::Bytes(bytes)) => Ok((bytes.len() as u64, out.put(bytes)? as u64)),
            Some(Piece::Zero(len)) => Ok((len, out.zero(len as usize)? as u64)),
            Some(Piece::Frames(gpa, len)) => Ok((len, frames::copy_out(out, gpa, len)?)),
        }
    }
    /// Takes one piece from `data` to `offset`; answers room and bytes taken.
    fn take_piece(&self, data: &mut Reader<'_>, offset: u64) -> Result<(u64, u64)> {
        let content = self.node.content()?;
        let room = content.lock().room(offset, data.remaining() as u64)?;
        let taken = frames::copy_in(data, room.gpa, room.len);
        let done = *taken.as_ref().unwrap_or(&0);
        if done < room.len && room.fresh {
            frames::zero(room.gpa + done, room.len - done);
        }
        let done = taken?;
        if done > 0 {
            content.lock().wrote(offset + done);
        }
        Ok((room.len, done))
    }
}

impl File for RegularFile {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, position: u64) -> Result<usize> {
        let mut done = 0;
        while out.remaining() > 0 {
            match self.copy_piece(out, position + done) {
                Ok((_, 0)) => break,
                Ok((wanted, copied)) => {
                    done += copied;
                    if copied < wanted {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        if inotify::active() {
            self.node.announce(inotify::ACCESS);
        }
        Ok(done as usize)
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, position: u64) -> Result<usize> {
        if data.remaining() == 0 {
            return Ok(0);
        }
        if position >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        data.limit((MAX_SIZE - position).min(usize::MAX as u64) as usize);
        {
            let mut content = self.node.content()?.lock();
            if position > content.size() {
                content.clean_end();
            }
        }
        let mut done = 0;
        while data.remaining() > 0 {
            match self.take_piece(data, position + done) {
                Ok((wanted, taken)) => {
                    done += taken;
                    if taken < wanted {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        self.node.touch(true);
        if inotify::active() {
            self.node.announce(inotify::MODIFY);
        }
        Ok(done as usize)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn size(&self) -> u64 {
        self.node
            .content()
            .map_or(0, |content| content.lock().size())
    }
    fn seek_special(&self, offset: i64, whence: u32) -> Result<u64> {
        let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        match whence {
            SEEK_DATA | SEEK_HOLE => self
                .node
                .content()?
                .lock()
                .seek(offset, whence == SEEK_DATA),
            _ => Err(Errno::EINVAL),
        }
    }
    fn stat(&self) -> Result<Stat> {
        self.node.stat()
    }
    fn statfs(&self) -> Result<StatFs> {
        self.node.statfs()
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.node.content()?.lock().truncate(size)?;
        self.node.touch(true);
        self.node.announce(inotify::MODIFY);
        Ok(())
    }
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.node.content()?.lock().allocate(mode, offset, len)?;
        self.node.touch(true);
        self.node.announce(inotify::MODIFY);
        Ok(())
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn map_page(&self, offset: u64, write: bool) -> Result<PageSource> {
        self.node.content()?.lock().map_page(offset, write)
    }
    fn layer_address(&self) -> Option<u64> {
        self.node.content().ok()?.lock().layer_address()
    }
    fn path(&self) -> String {
        path_text(self.node.as_ref())
    }
    fn inode(&self) -> Option<InodeRef> {
        Some(self.node.clone())
    }
    fn released(&self, open: &OpenFile) {
        crate::fs::lock::released(open);
        let event = if open.writable() {
            inotify::CLOSE_WRITE
        } else {
            inotify::CLOSE_NOWRITE
        };
        self.node.announce(event);
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
