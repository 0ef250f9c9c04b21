//! The root file system: image layers with a writable file system in memory on top.
//!
//! One [`Node`] stands for one object for as long as the VM lives: nodes of layer
//! files are made when a path first reaches them, and changing one changes the
//! node, page by page. So an inode number never changes, an open file sees later
//! writes, and there is nothing to copy up. A directory reads its layers by
//! binary search until its entries change or are listed; from then on its own
//! table is complete, and no whiteouts are needed.

pub mod content;
mod directory;
pub mod file;
pub mod frames;
mod names;
pub mod node;
mod object;
mod pages;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_hal::{Hook, Lock};

use crate::errno::{Errno, Result};
use crate::fs::erofs::{Inode as LayerInode, Volume};
use crate::fs::file::File;
use crate::fs::inode::InodeRef;
use crate::fs::stat::{StatFs, mode};
pub use node::Node;

/// Device number of the root file system (major 0, minor 21).
pub const DEVICE: u64 = 0x15;
/// `TMPFS_MAGIC` of `linux/magic.h`: what programs expect of a writable memory file system.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// User and group of new files: uid in the low half.
static OWNER: AtomicU64 = AtomicU64::new(0);

/// Sets who owns new files.
pub fn set_owner(uid: u32, gid: u32) {
    OWNER.store(u64::from(gid) << 32 | u64::from(uid), Ordering::Relaxed);
}

/// Opens a device by its number.
type DeviceOpener = fn(u64, InodeRef) -> Result<Arc<dyn File>>;

static DEVICES: Hook<DeviceOpener> = Hook::new();

/// Says what opens device files.
pub fn set_device_opener(opener: DeviceOpener) {
    DEVICES.set(opener);
}

/// Opens device `number` through its file. ENXIO.
fn open_device(number: u64, inode: InodeRef) -> Result<Arc<dyn File>> {
    DEVICES.get().ok_or(Errno::ENXIO)?(number, inode)
}

fn owner() -> (u32, u32) {
    let owner = OWNER.load(Ordering::Relaxed);
    (owner as u32, (owner >> 32) as u32)
}

/// What all nodes of one file system share.
pub struct Tree {
    /// Top layer first.
    volumes: Vec<Volume>,
    next_number: AtomicU64,
    /// Nodes of layer files with several names.
    linked: Lock<BTreeMap<(usize, u64), Weak<Node>>>,
}

/// An inode in a layer.
#[derive(Clone, Copy)]
pub struct LayerFile {
    /// Index into `Tree::volumes`.
    volume: usize,
    inode: LayerInode,
}

impl Tree {
    /// A file system over `layers`, bottom layer first. Lives for ever.
    pub fn mount(layers: Vec<Volume>) -> Result<Arc<Node>> {
        let volumes: Vec<Volume> = layers.into_iter().rev().collect();
        let mut roots = Vec::new();
        for (volume, layer) in volumes.iter().enumerate() {
            let inode = layer.inode(layer.root())?;
            if inode.mode & mode::TYPE != mode::DIRECTORY {
                return Err(Errno::EIO);
            }
            roots.push(LayerFile { volume, inode });
        }
        Ok(Node::root(Self::leak(volumes), roots))
    }
    /// An empty file system.
    pub fn empty() -> Arc<Node> {
        Node::root(Self::leak(Vec::new()), Vec::new())
    }
    fn leak(volumes: Vec<Volume>) -> &'static Self {
        Box::leak(Box::new(Self {
            volumes,
            next_number: AtomicU64::new(2),
            linked: Lock::new(BTreeMap::new()),
        }))
    }
    fn new_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }
    /// Inode numbers of layer files begin above those of new files.
    fn number_of(volume: usize, number: u64) -> u64 {
        (volume as u64 + 1) << 40 | number
    }
    /// Finds `name` in the directories `places` (top first): one file, or all
    /// directories that merge. EIO.
    fn find(&'static self, places: &[LayerFile], name: &[u8]) -> Result<Vec<LayerFile>> {
        let mut found = Vec::new();
        for place in places {
            let volume = &self.volumes[place.volume];
            let Some(entry) = place.inode.find(volume, name)? else {
                continue;
            };
            let inode = volume.inode(entry.number)?;
            let is_directory = inode.mode & mode::TYPE == mode::DIRECTORY;
            if !is_directory && !found.is_empty() {
                break;
            }
            found.push(LayerFile {
                volume: place.volume,
                inode,
            });
            if !is_directory {
                break;
            }
        }
        Ok(found)
    }
    fn statfs() -> StatFs {
        let (blocks, free) = frames::totals();
        StatFs {
            kind: TMPFS_MAGIC,
            block_size: 4096,
            blocks,
            free,
            available: free,
            files: blocks,
            free_files: free,
            id: [DEVICE as i32, 0],
            name_length: 255,
            fragment_size: 4096,
            ..StatFs::default()
        }
    }
}

/// The node behind an inode of this file system; EXDEV for others.
fn node_of(inode: &InodeRef) -> Result<Arc<Node>> {
    crate::fs::inode::downcast::<Node>(inode)
        .and_then(Node::shared)
        .ok_or(Errno::EXDEV)
}
