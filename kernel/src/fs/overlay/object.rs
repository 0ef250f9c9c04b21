//! Nodes as objects of the name space.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::directory::Name;
use super::node::Body;
use super::{DEVICE, Node, Tree, names, node_of};
use crate::errno::{Errno, Result};
use crate::fs::clock;
use crate::fs::file::{DirEntry, File};
use crate::fs::inode::{self, Change, Inode, InodeRef, New, RenameMode, Target};
use crate::fs::inotify;
use crate::fs::stat::{Stat, StatFs, mode};
use crate::ipc::pipe::Pipe;

impl Inode for Node {
    fn stat(&self) -> Result<Stat> {
        let attributes = *self.attributes.lock();
        let (size, blocks, rdev) = match &self.body {
            Body::File(content) => {
                let content = content.lock();
                (content.size(), content.blocks(), 0)
            }
            Body::Directory(_) => (4096, 8, 0),
            Body::Link(text) => (text.len() as u64, 0, 0),
            Body::Device(number) => (0, 0, *number),
            Body::Socket(_) | Body::Fifo(_) => (0, 0, 0),
        };
        Ok(Stat {
            device: DEVICE,
            inode: self.number(),
            links: u64::from(attributes.links),
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            rdev,
            size: size.cast_signed(),
            block_size: 4096,
            blocks: blocks.cast_signed(),
            accessed: attributes.accessed,
            modified: attributes.modified,
            changed: attributes.changed,
            ..Stat::default()
        })
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(Tree::statfs())
    }
    fn kind(&self) -> u32 {
        self.attributes.lock().mode & mode::TYPE
    }
    fn path(&self) -> Vec<u8> {
        if self.is_root() {
            return b"/".to_vec();
        }
        let mut names = Vec::new();
        let mut gone = false;
        let mut at = self.this.upgrade();
        while let Some(node) = at {
            if node.is_root() {
                break;
            }
            let place = node.place.lock();
            gone |= place.gone;
            names.push(place.name.clone());
            at = place.parent.upgrade();
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if gone {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }
    fn parent(&self) -> Result<InodeRef> {
        self.directory()?;
        let parent = self.place.lock().parent.upgrade();
        Ok(parent.ok_or(Errno::ENOENT)?)
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let node = self.child(name)?;
        if let Body::Directory(directory) = &node.body
            && let Some(root) = &directory.lock().mount
        {
            return Ok(root.clone());
        }
        Ok(node)
    }
    fn target(&self) -> Result<Target> {
        match &self.body {
            Body::Link(text) => Ok(Target::Text(text.to_vec())),
            _ => Err(Errno::EINVAL),
        }
    }
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        match &self.body {
            Body::File(_) => Ok(Arc::new(super::file::RegularFile::new(self))),
            Body::Directory(_) => inode::Directory::open(self, flags),
            Body::Link(_) => Err(Errno::ELOOP),
            Body::Device(number) => super::open_device(*number, self.clone()),
            Body::Socket(_) => Err(Errno::ENXIO),
            Body::Fifo(pipe) => {
                let pipe = pipe.lock().get_or_insert_with(Pipe::new).clone();
                Ok(pipe.open(flags)?)
            }
        }
    }
    fn read_directory(
        &self,
        cookie: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let directory = self.directory()?;
        let mut cookie = cookie;
        if cookie < 2 {
            let parent = self
                .place
                .lock()
                .parent
                .upgrade()
                .map_or(self.number(), |parent| parent.number());
            for (number, name, next) in [(self.number(), &b"."[..], 1), (parent, b"..", 2)] {
                if cookie < next {
                    if !emit(DirEntry {
                        inode: number,
                        kind: 4,
                        name,
                        next,
                    }) {
                        return Ok(());
                    }
                    cookie = next;
                }
            }
        }
        directory.lock().complete(self.tree)?;
        loop {
            let Some(entry) = directory.lock().after(cookie) else {
                return Ok(());
            };
            cookie = entry.cookie;
            // DT_… is the type without its low 12 bits.
            let kind = (entry.kind >> 12) as u8;
            if !emit(DirEntry {
                inode: entry.number,
                kind,
                name: &entry.name,
                next: cookie,
            }) {
                return Ok(());
            }
        }
    }
    fn create(&self, name: &[u8], new: New<'_>) -> Result<InodeRef> {
        let node = Self::new(self.tree, &new);
        names::add(self, name, &node)?;
        Ok(node)
    }
    fn create_unnamed(&self, permissions: u32) -> Result<InodeRef> {
        let node = Self::new(self.tree, &New::File(permissions));
        node.attributes.lock().links = 0;
        let mut place = node.place.lock();
        place.parent = self.this.clone();
        place.name = Name::from(alloc::format!("#{}", node.number()).as_bytes());
        place.gone = true;
        drop(place);
        Ok(node)
    }
    fn link(&self, name: &[u8], inode: &InodeRef) -> Result<()> {
        names::link(self, name, &node_of(inode)?)
    }
    fn remove(&self, name: &[u8], directory: bool) -> Result<()> {
        names::remove(self, name, directory)
    }
    fn rename(&self, name: &[u8], to: &InodeRef, to_name: &[u8], mode: RenameMode) -> Result<()> {
        let to = node_of(to)?;
        names::rename(self, name, &to, to_name, mode)
    }
    fn change(&self, change: &Change) -> Result<()> {
        {
            let now = clock::now();
            let mut attributes = self.attributes.lock();
            if let Some(permissions) = change.mode {
                attributes.mode = attributes.mode & mode::TYPE | permissions & 0o7777;
            }
            attributes.uid = change.uid.unwrap_or(attributes.uid);
            attributes.gid = change.gid.unwrap_or(attributes.gid);
            attributes.accessed = change.accessed.unwrap_or(attributes.accessed);
            attributes.modified = change.modified.unwrap_or(attributes.modified);
            attributes.changed = now;
        }
        self.announce(inotify::ATTRIB);
        Ok(())
    }
}
