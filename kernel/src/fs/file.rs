//! What every open file can do, and the open-file description around it.
//!
//! Implementations never block: where they would, they answer `EAGAIN`, and the
//! callers wait on [`File::notifier`] (see [`crate::sched::block`]). That keeps
//! blocked threads plain data.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::inode::Inode;
use crate::fs::stat::{Stat, StatFs};
use crate::mm::io::{Reader, Writer};
use crate::sched::notify::Notifier;

/// Readiness bits, with the values of `epoll_ctl(2)` and (low 16 bits) `poll(2)`.
pub mod events {
    #![allow(
        missing_docs,
        reason = "named and documented as in poll(2) and epoll_ctl(2)"
    )]
    pub const IN: u32 = 0x001;
    pub const PRI: u32 = 0x002;
    pub const OUT: u32 = 0x004;
    pub const ERR: u32 = 0x008;
    pub const HUP: u32 = 0x010;
    pub const NVAL: u32 = 0x020;
    pub const RDNORM: u32 = 0x040;
    pub const RDBAND: u32 = 0x080;
    pub const WRNORM: u32 = 0x100;
    pub const WRBAND: u32 = 0x200;
    pub const RDHUP: u32 = 0x2000;
}

/// Open flags (`asm-generic/fcntl.h`).
pub mod open {
    #![allow(missing_docs, reason = "named and documented as in open(2)")]
    pub const ACCMODE: u32 = 3;
    pub const RDONLY: u32 = 0;
    pub const WRONLY: u32 = 1;
    pub const RDWR: u32 = 2;
    pub const CREAT: u32 = 0o100;
    pub const EXCL: u32 = 0o200;
    pub const NOCTTY: u32 = 0o400;
    pub const TRUNC: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    pub const NONBLOCK: u32 = 0o4000;
    pub const DSYNC: u32 = 0o10000;
    pub const ASYNC: u32 = 0o20000;
    pub const DIRECT: u32 = 0o40000;
    pub const LARGEFILE: u32 = 0o100000;
    pub const DIRECTORY: u32 = 0o200000;
    pub const NOFOLLOW: u32 = 0o400000;
    pub const NOATIME: u32 = 0o1000000;
    pub const CLOEXEC: u32 = 0o2000000;
    pub const SYNC: u32 = 0o4010000;
    pub const PATH: u32 = 0o10000000;
    pub const TMPFILE: u32 = 0o20200000;
}

/// One directory entry as `getdents64` shows it.
pub struct DirEntry<'a> {
    /// Inode number.
    pub inode: u64,
    /// DT_* type (`dirent.h`).
    pub kind: u8,
    /// Name without slash.
    pub name: &'a [u8],
    /// Cookie with which a later call continues after this entry.
    pub next: u64,
}

/// Where the bytes of a mappable file page live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// A page of guest memory that belongs to the file (tmpfs); writes are seen by all.
    Memory {
        /// Guest-physical address, page aligned.
        gpa: u64,
    },
    /// A page inside a read-only image layer.
    Layer {
        /// Guest-physical address, page aligned.
        gpa: u64,
    },
    /// No page: reads as zero.
    Hole,
}

/// An object behind a descriptor. Everything has a default that answers as
/// Linux does for files without that operation.
pub trait File: Any + Send + Sync {
    /// Reads at `position` (ignored where not seekable) into `out`; 0 is end of file.
    fn read(&self, _open: &OpenFile, _out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes from `data` at `position`.
    fn write(&self, _open: &OpenFile, _data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Whether lseek, pread and pwrite work; streams answer ESPIPE.
    fn seekable(&self) -> bool {
        false
    }
    /// Size in bytes, for SEEK_END and O_APPEND.
    fn size(&self) -> u64 {
        0
    }
    /// lseek other than SET, CUR, END (SEEK_DATA, SEEK_HOLE), or for directories.
    fn seek_special(&self, _offset: i64, _whence: u32) -> Result<u64> {
        Err(Errno::EINVAL)
    }
    /// Current readiness, [`events`].
    fn poll(&self) -> u32 {
        events::IN | events::OUT | events::RDNORM | events::WRNORM
    }
    /// Where changes of readiness are announced; `None`: always ready, and
    /// `epoll_ctl` answers EPERM as for regular files.
    fn notifier(&self) -> Option<&Notifier> {
        None
    }
    /// fstat.
    fn stat(&self) -> Result<Stat>;
    /// fstatfs.
    fn statfs(&self) -> Result<StatFs> {
        Err(Errno::ENOSYS)
    }
    /// ioctl; FIONBIO, FIOCLEX, FIONCLEX and FIOASYNC are done by the caller.
    fn ioctl(&self, _open: &OpenFile, _request: u32, _argument: u64) -> Result<usize> {
        Err(Errno::ENOTTY)
    }
    /// ftruncate.
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// fallocate(2) with its mode bits.
    fn allocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::ENODEV)
    }
    /// fsync and fdatasync.
    fn sync(&self) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// Feeds directory entries from `cookie` on until `emit` answers false.
    fn read_directory(
        &self,
        _cookie: u64,
        _emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        Err(Errno::ENOTDIR)
    }
    /// The page at `offset` (page aligned) for mmap; `write` asks for a page that may be stored to.
    fn map_page(&self, _offset: u64, _write: bool) -> Result<PageSource> {
        Err(Errno::ENODEV)
    }
    /// For a file in an image layer whose bytes are contiguous: GPA of byte 0.
    fn layer_address(&self) -> Option<u64> {
        None
    }
    /// Path to show in /proc/self/maps and /proc/self/fd.
    fn path(&self) -> String {
        String::from("anon_inode:[unknown]")
    }
    /// The inode that was opened, for files that have a place in the name space.
    fn inode(&self) -> Option<Arc<dyn Inode>> {
        None
    }
    /// Longest time that a blocking read or write (`writing`) waits, in ns (SO_RCVTIMEO, SO_SNDTIMEO).
    fn patience(&self, _writing: bool) -> Option<u64> {
        None
    }
    /// Called when the last descriptor to this open file is closed.
    fn released(&self, _open: &OpenFile) {}
    /// The socket, if this is one.
    fn socket(&self) -> Option<&dyn crate::net::socket::Socket> {
        None
    }
    /// For downcasts (epoll, directories).
    fn as_any(&self) -> &dyn Any;
}

/// An open-file description: what `dup` and `fork` share.
pub struct OpenFile {
    /// The object.
    pub file: Arc<dyn File>,
    /// Status flags: access mode, O_APPEND, O_NONBLOCK, …
    flags: AtomicU32,
    /// File position.
    pub position: Lock<u64>,
}

impl OpenFile {
    /// A new description with the given open flags (creation flags are dropped).
    pub fn new(file: Arc<dyn File>, flags: u32) -> Arc<Self> {
        let keep = !(open::CREAT | open::EXCL | open::NOCTTY | open::TRUNC | open::CLOEXEC);
        Arc::new(Self {
            file,
            flags: AtomicU32::new(flags & keep),
            position: Lock::new(0),
        })
    }
    /// Status flags as F_GETFL shows them.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
    /// Replaces the status flags that F_SETFL may change.
    pub fn set_flags(&self, flags: u32) {
        const CHANGEABLE: u32 =
            open::APPEND | open::NONBLOCK | open::ASYNC | open::DIRECT | open::NOATIME;
        let old = self.flags();
        self.flags
            .store(old & !CHANGEABLE | flags & CHANGEABLE, Ordering::Relaxed);
    }
    /// O_NONBLOCK is set.
    pub fn nonblocking(&self) -> bool {
        self.flags() & open::NONBLOCK != 0
    }
    /// Opened for reading.
    pub fn readable(&self) -> bool {
        self.flags() & open::ACCMODE != open::WRONLY && self.flags() & open::PATH == 0
    }
    /// Opened for writing.
    pub fn writable(&self) -> bool {
        matches!(self.flags() & open::ACCMODE, open::WRONLY | open::RDWR)
            && self.flags() & open::PATH == 0
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let file = self.file.clone();
        file.released(self);
    }
}
