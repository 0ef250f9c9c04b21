//! What every object in the name space can do, and the open files that stand
//! for directories and for bare locations (O_PATH).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use crate::errno::{Errno, Result};
use crate::fs::file::{DirEntry, File, OpenFile, open};
use crate::fs::stat::{Stat, StatFs, Timespec, mode};
use crate::mm::io::{Reader, Writer};

/// A shared inode.
pub type InodeRef = Arc<dyn Inode>;

/// Longest name in a directory.
pub const NAME_MAX: usize = 255;

/// What a new directory entry is to be.
#[derive(Clone, Copy, Debug)]
pub enum New<'a> {
    /// A regular file with these permissions.
    File(u32),
    /// A directory.
    Directory(u32),
    /// A symbolic link to this text.
    Link(&'a [u8]),
    /// A socket.
    Socket(u32),
    /// A FIFO.
    Fifo(u32),
}

/// Attributes to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Permission bits (07777).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub accessed: Option<Timespec>,
    /// Last modification.
    pub modified: Option<Timespec>,
}

/// Where a symbolic link leads.
pub enum Target {
    /// A path to walk on with.
    Text(Vec<u8>),
    /// Straight to an object (`/proc/self/fd/3`).
    Object(InodeRef),
}

/// How `rename` treats an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace it.
    Replace,
    /// RENAME_NOREPLACE: EEXIST.
    Keep,
    /// RENAME_EXCHANGE: swap the two.
    Exchange,
}

/// An object in the name space. Defaults answer as a file that is no directory,
/// no link and cannot be changed.
pub trait Inode: Any + Send + Sync {
    /// Attributes.
    fn stat(&self) -> Result<Stat>;
    /// Attributes of the file system.
    fn statfs(&self) -> Result<StatFs>;
    /// `S_IF…` type.
    fn kind(&self) -> u32;
    /// Absolute path; ends in ` (deleted)` when the object has no name any more.
    fn path(&self) -> Vec<u8>;
    /// The directory above a directory; a root is its own parent.
    fn parent(&self) -> Result<InodeRef> {
        Err(Errno::ENOTDIR)
    }
    /// The object called `name` (neither `.` nor `..`) in this directory.
    fn lookup(&self, _name: &[u8]) -> Result<InodeRef> {
        Err(Errno::ENOTDIR)
    }
    /// Where a symbolic link leads.
    fn target(&self) -> Result<Target> {
        Err(Errno::EINVAL)
    }
    /// The text of a symbolic link.
    fn link_text(&self) -> Result<Vec<u8>> {
        match self.target()? {
            Target::Text(text) => Ok(text),
            Target::Object(inode) => Ok(inode.path()),
        }
    }
    /// Opens the object; O_PATH, O_TRUNC and creation are done by the caller.
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>>;
    /// Feeds entries from `cookie` on until `emit` answers false.
    fn read_directory(
        &self,
        _cookie: u64,
        _emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        Err(Errno::ENOTDIR)
    }
    /// Makes a new entry. EEXIST and the like.
    fn create(&self, _name: &[u8], _new: New<'_>) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }
    /// A regular file in this file system that has no name (O_TMPFILE).
    fn create_unnamed(&self, _permissions: u32) -> Result<InodeRef> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Gives `inode` one more name.
    fn link(&self, _name: &[u8], _inode: &InodeRef) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes an entry: a directory if `directory`, else anything but one.
    fn remove(&self, _name: &[u8], _directory: bool) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Moves entry `name` to `to_name` in `to`.
    fn rename(
        &self,
        _name: &[u8],
        _to: &InodeRef,
        _to_name: &[u8],
        _mode: RenameMode,
    ) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Changes attributes; also sets the time of last change.
    fn change(&self, _change: &Change) -> Result<()> {
        Err(Errno::EPERM)
    }
}

/// The inode as its concrete type.
pub fn downcast<T: Inode>(inode: &InodeRef) -> Option<&T> {
    let any: &dyn Any = inode.as_ref();
    any.downcast_ref()
}

/// Whether two references mean the same object. Compares device and number, as
/// the same object may have been looked up twice.
pub fn same(left: &InodeRef, right: &InodeRef) -> bool {
    match (left.stat(), right.stat()) {
        (Ok(left), Ok(right)) => left.device == right.device && left.inode == right.inode,
        _ => false,
    }
}

/// ENOTDIR unless `inode` is a directory.
pub fn require_directory(inode: &InodeRef) -> Result<()> {
    if inode.kind() == mode::DIRECTORY {
        Ok(())
    } else {
        Err(Errno::ENOTDIR)
    }
}

/// A path as text for people.
pub fn path_text(inode: &dyn Inode) -> String {
    String::from_utf8_lossy(&inode.path()).into_owned()
}

/// Opens `inode`, with O_PATH as a bare location.
pub fn open_inode(inode: InodeRef, flags: u32) -> Result<Arc<OpenFile>> {
    if flags & open::PATH != 0 {
        let keep = open::PATH | open::DIRECTORY | open::NOFOLLOW;
        return Ok(OpenFile::new(Arc::new(Location { inode }), flags & keep));
    }
    let file = inode.open(flags)?;
    Ok(OpenFile::new(file, flags | open::LARGEFILE))
}

/// An open directory.
pub struct Directory {
    inode: InodeRef,
}

impl Directory {
    /// EISDIR when opened for writing.
    pub fn open(inode: InodeRef, flags: u32) -> Result<Arc<dyn File>> {
        if flags & open::ACCMODE != open::RDONLY {
            return Err(Errno::EISDIR);
        }
        Ok(Arc::new(Self { inode }))
    }
}

impl File for Directory {
    fn read(&self, _open: &OpenFile, _out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn write(&self, _open: &OpenFile, _data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn stat(&self) -> Result<Stat> {
        self.inode.stat()
    }
    fn statfs(&self) -> Result<StatFs> {
        self.inode.statfs()
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn read_directory(
        &self,
        cookie: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.inode.read_directory(cookie, emit)
    }
    fn path(&self) -> String {
        path_text(self.inode.as_ref())
    }
    fn inode(&self) -> Option<InodeRef> {
        Some(self.inode.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What O_PATH opens: a place in the name space without access to content.
pub struct Location {
    inode: InodeRef,
}

impl File for Location {
    fn read(&self, _open: &OpenFile, _out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        Err(Errno::EBADF)
    }
    fn write(&self, _open: &OpenFile, _data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        Err(Errno::EBADF)
    }
    fn stat(&self) -> Result<Stat> {
        self.inode.stat()
    }
    fn statfs(&self) -> Result<StatFs> {
        self.inode.statfs()
    }
    fn sync(&self) -> Result<()> {
        Err(Errno::EBADF)
    }
    fn read_directory(
        &self,
        _cookie: u64,
        _emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        Err(Errno::EBADF)
    }
    fn map_page(&self, _offset: u64, _write: bool) -> Result<crate::fs::file::PageSource> {
        Err(Errno::EBADF)
    }
    fn path(&self) -> String {
        path_text(self.inode.as_ref())
    }
    fn inode(&self) -> Option<InodeRef> {
        Some(self.inode.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
