//! The part of a process that path names depend on.

use crate::fs::inode::InodeRef;
use crate::fs::path::Base;

/// Working directory, root and file-creation mask (shared by threads, CLONE_FS).
#[derive(Clone)]
pub struct FsContext {
    /// Working directory.
    pub cwd: InodeRef,
    /// Root directory.
    pub root: InodeRef,
    /// Permission bits that new files do not get.
    pub umask: u32,
}

impl FsContext {
    /// Everything at the root of the file system, mask 022.
    pub fn new() -> Self {
        let root = crate::fs::root();
        Self {
            cwd: root.clone(),
            root,
            umask: 0o022,
        }
    }
    /// Where path walks begin.
    pub fn base(&self) -> Base {
        Base {
            root: self.root.clone(),
            start: self.cwd.clone(),
        }
    }
}

impl Default for FsContext {
    fn default() -> Self {
        Self::new()
    }
}
