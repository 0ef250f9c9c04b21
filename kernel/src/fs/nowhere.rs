//! The root directory of a kernel without file systems: nothing is in it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::File;
use crate::fs::inode::{Inode, InodeRef};
use crate::fs::stat::{Stat, StatFs, mode};

/// See the module.
pub struct Nowhere;

impl Inode for Nowhere {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            mode: mode::DIRECTORY | 0o555,
            links: 1,
            ..Stat::default()
        })
    }
    fn statfs(&self) -> Result<StatFs> {
        Err(Errno::ENOSYS)
    }
    fn kind(&self) -> u32 {
        mode::DIRECTORY
    }
    fn path(&self) -> Vec<u8> {
        b"/".to_vec()
    }
    fn lookup(&self, _name: &[u8]) -> Result<InodeRef> {
        Err(Errno::ENOENT)
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        Err(Errno::ENOENT)
    }
}
