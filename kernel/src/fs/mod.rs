//! Files: the name space, the root file system, /proc, /sys, /dev, open files.
//!
//! [`file`] is what an open file can do, [`inode`] what an object in the name
//! space can do, [`path`] the way from names to objects. [`overlay`] is the root
//! file system over [`erofs`] layers; [`procfs`] and [`sysfs`] are mounted on it.

pub mod clock;
pub mod context;
pub mod device;
pub mod erofs;
pub mod file;
pub mod inode;
pub mod inotify;
pub mod lock;
pub mod mount;
pub mod nowhere;
pub mod overlay;
pub mod path;
pub mod procfs;
pub mod socket;
pub mod stat;
pub mod synthetic;
pub mod sysfs;
pub mod table;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;

use spore_abi::boot::BootInfo;
use spore_hal::{Hook, Lock};

use crate::errno::{Errno, Result};
use crate::fs::context::FsContext;
use crate::fs::file::OpenFile;
use crate::fs::inode::{Change, Inode, InodeRef, New};
use crate::fs::nowhere::Nowhere;
use crate::fs::overlay::Node;
use crate::fs::stat::mode;

static ROOT: Lock<Option<InodeRef>> = Lock::new(None);
/// Makes the context of the first process.
type FirstContext = fn(&BootInfo) -> FsContext;

/// Set if there is a root file system.
static FIRST_CONTEXT: Hook<FirstContext> = Hook::new();

/// The root directory; [`Nowhere`] without a root file system.
pub fn root() -> InodeRef {
    ROOT.lock().clone().unwrap_or_else(|| Arc::new(Nowhere))
}

fn set_root(root: Arc<Node>) {
    *ROOT.lock() = Some(root);
}

/// The context of the first process: once all services have started.
pub fn first_context(info: &BootInfo) -> FsContext {
    match FIRST_CONTEXT.get() {
        Some(make) => make(info),
        None => FsContext::new(),
    }
}

/// The directory `name` in `parent`, made if it is missing. ENOTDIR.
fn directory(parent: &dyn Inode, name: &[u8]) -> Result<InodeRef> {
    match parent.lookup(name) {
        Err(Errno::ENOENT) => parent.create(name, New::Directory(0o755)),
        Ok(inode) if inode.kind() == mode::DIRECTORY => Ok(inode),
        Ok(_) => Err(Errno::ENOTDIR),
        Err(error) => Err(error),
    }
}

/// Puts `node` at `name`, in place of a file that is there.
fn replace(parent: &InodeRef, name: &[u8], node: &Arc<Node>) -> Result<()> {
    match parent.remove(name, false) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    inode::downcast::<Node>(parent)
        .ok_or(Errno::EXDEV)?
        .adopt(name, node)
}

/// Permissions of directories for everybody's files, such as /tmp.
fn sticky() -> Change {
    Change {
        mode: Some(0o1777),
        ..Change::default()
    }
}

/// Descriptor `fd` of the current process.
fn standard_stream(fd: i32) -> Option<Arc<OpenFile>> {
    crate::sched::current().process().descriptors.get(fd).ok()
}

/// Whether a file is a terminal, as `isatty` finds out: character devices of major 5
/// or 136 and up that are streams.
fn is_terminal(open: &OpenFile) -> bool {
    open.file.stat().is_ok_and(|stat| {
        stat.mode & mode::TYPE == mode::CHARACTER && (stat.rdev >> 8) & 0xFFF >= 4
    })
}
