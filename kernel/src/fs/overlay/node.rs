//! One object of the root file system.

use alloc::borrow::Cow;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use spore_hal::Lock;

use super::content::{Below, Content};
use super::directory::{Directory, Found, Name};
use super::{LayerFile, Tree, names, owner};
use crate::errno::{Errno, Result};
use crate::fs::clock;
use crate::fs::inode::{InodeRef, New};
use crate::fs::inotify;
use crate::fs::stat::{Timespec, mode};
use crate::ipc::pipe::Pipe;

/// Attributes that change.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub accessed: Timespec,
    pub modified: Timespec,
    pub changed: Timespec,
}

/// The name under which a node is known, for paths.
pub(super) struct Place {
    pub parent: Weak<Node>,
    pub name: Name,
    /// The name has been removed; the path is what it was.
    pub gone: bool,
}

/// What a node is, with its content.
pub(super) enum Body {
    Directory(Lock<Directory>),
    File(Lock<Content>),
    Link(Cow<'static, [u8]>),
    /// A device file, with its number.
    Device(u64),
    /// A socket, with what its owner attached.
    Socket(Lock<Option<Arc<dyn Any + Send + Sync>>>),
    /// A FIFO; the pipe is made when it is first opened.
    Fifo(Lock<Option<Arc<Pipe>>>),
}

/// One object of the root file system.
pub struct Node {
    pub(super) tree: &'static Tree,
    pub(super) this: Weak<Node>,
    number: u64,
    pub(super) attributes: Lock<Attributes>,
    pub(super) place: Lock<Place>,
    pub(super) body: Body,
}

/// Device number as layers keep it (`new_encode_dev`) to that of stat.
fn decode_device(raw: u32) -> u64 {
    let (major, minor) = ((raw >> 8) & 0xFFF, (raw & 0xFF) | ((raw >> 12) & 0xF_FF00));
    device_number(major, minor)
}

/// A device number as in stat (`makedev`).
pub const fn device_number(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xFFF) << 8
        | (minor & 0xFF)
        | (minor & 0xFFFF_FF00) << 12
        | (major & 0xFFFF_F000) << 32
}

impl Node {
    fn build(tree: &'static Tree, number: u64, attributes: Attributes, body: Body) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            tree,
            this: this.clone(),
            number,
            attributes: Lock::new(attributes),
            place: Lock::new(Place {
                parent: Weak::new(),
                name: Name::from(&b""[..]),
                gone: false,
            }),
            body,
        })
    }
    /// The root directory over the roots of all layers.
    pub(super) fn root(tree: &'static Tree, layers: Vec<LayerFile>) -> Arc<Self> {
        let attributes = match layers.first() {
            Some(layer) => Attributes::of_layer(&layer.inode),
            None => Attributes::new(mode::DIRECTORY | 0o755, 2),
        };
        let root = Self::build(
            tree,
            1,
            attributes,
            Body::Directory(Lock::new(Directory::new(layers))),
        );
        root.place.lock().parent = root.this.clone();
        root
    }
    /// A new object.
    pub(super) fn new(tree: &'static Tree, new: &New<'_>) -> Arc<Self> {
        let (attributes, body) = match *new {
            New::File(permissions) => (
                Attributes::new(mode::FILE | permissions, 1),
                Body::File(Lock::new(Content::empty())),
            ),
            New::Directory(permissions) => (
                Attributes::new(mode::DIRECTORY | permissions, 2),
                Body::Directory(Lock::new(Directory::new(Vec::new()))),
            ),
            New::Link(text) => (
                Attributes::new(mode::LINK | 0o777, 1),
                Body::Link(Cow::Owned(text.to_vec())),
            ),
            New::Socket(permissions) => (
                Attributes::new(mode::SOCKET | permissions, 1),
                Body::Socket(Lock::new(None)),
            ),
            New::Fifo(permissions) => (
                Attributes::new(mode::FIFO | permissions, 1),
                Body::Fifo(Lock::new(None)),
            ),
        };
        Self::build(tree, tree.new_number(), attributes, body)
    }
    /// A device file of the system's own (/dev).
    pub fn new_device(&self, permissions: u32, number: u64) -> Arc<Self> {
        let attributes = Attributes::new(mode::CHARACTER | permissions, 1);
        Self::build(
            self.tree,
            self.tree.new_number(),
            attributes,
            Body::Device(number),
        )
    }
    /// A read-only view of launch data as a file.
    pub fn new_over(&self, permissions: u32, bytes: &'static [u8]) -> Arc<Self> {
        let attributes = Attributes::new(mode::FILE | permissions, 1);
        let content = Content::over(Below::Bytes(bytes));
        Self::build(
            self.tree,
            self.tree.new_number(),
            attributes,
            Body::File(Lock::new(content)),
        )
    }
    /// A file without a name, as memfd_create makes it; `name` is for display.
    pub fn new_memory_file(&self, name: &[u8]) -> Arc<Self> {
        let node = Self::new(self.tree, &New::File(0o777));
        node.attributes.lock().links = 0;
        let shown = [b"memfd:", name].concat();
        *node.place.lock() = Place {
            parent: Weak::new(),
            name: Name::from(&shown[..]),
            gone: true,
        };
        node
    }
    /// Puts a node that has no name yet into this directory.
    pub fn adopt(&self, name: &[u8], node: &Arc<Self>) -> Result<()> {
        names::add(self, name, node)
    }
    /// The node of something that layers have. EIO.
    fn of_layers(tree: &'static Tree, found: Vec<LayerFile>) -> Result<Arc<Self>> {
        let first = *found.first().ok_or(Errno::EIO)?;
        let key = (first.volume, first.inode.number);
        let kind = first.inode.mode & mode::TYPE;
        let shared = first.inode.links > 1 && kind != mode::DIRECTORY;
        if shared && let Some(node) = tree.linked.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let volume = &tree.volumes[first.volume];
        let body = match kind {
            mode::FILE => Body::File(Lock::new(Content::over(Below::Layer(volume, first.inode)))),
            mode::DIRECTORY => Body::Directory(Lock::new(Directory::new(found))),
            mode::LINK => Body::Link(Cow::Borrowed(first.inode.whole(volume)?)),
            mode::CHARACTER | mode::BLOCK => Body::Device(decode_device(first.inode.device)),
            mode::SOCKET => Body::Socket(Lock::new(None)),
            mode::FIFO => Body::Fifo(Lock::new(None)),
            _ => return Err(Errno::EIO),
        };
        let number = Tree::number_of(first.volume, first.inode.number);
        let node = Self::build(tree, number, Attributes::of_layer(&first.inode), body);
        if shared {
            tree.linked.lock().insert(key, Arc::downgrade(&node));
        }
        Ok(node)
    }
    /// A counted reference.
    pub fn shared(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }
    /// Inode number.
    pub fn number(&self) -> u64 {
        self.number
    }
    /// Type and permissions.
    pub fn mode(&self) -> u32 {
        self.attributes.lock().mode
    }
    pub(super) fn directory(&self) -> Result<&Lock<Directory>> {
        match &self.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }
    /// The content of a regular file.
    pub(super) fn content(&self) -> Result<&Lock<Content>> {
        match &self.body {
            Body::File(content) => Ok(content),
            _ => Err(Errno::EINVAL),
        }
    }
    /// What is attached to a socket node; ECONNREFUSED for other nodes.
    pub fn attachment(&self) -> Result<&Lock<Option<Arc<dyn Any + Send + Sync>>>> {
        match &self.body {
            Body::Socket(attachment) => Ok(attachment),
            _ => Err(Errno::ECONNREFUSED),
        }
    }
    /// The node called `name` in this directory, not minding mounts. ENOENT, ENOTDIR, EIO.
    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<Self>> {
        let directory = self.directory()?;
        let found = directory.lock().find(self.tree, name)?;
        let node = match found {
            Found::Node(node) => {
                // The path of a file with several names is the one that was last used.
                let elsewhere = node.attributes.lock().links > 1 || node.place.lock().gone;
                if elsewhere && node.directory().is_err() {
                    node.set_place(self, name);
                }
                return Ok(node);
            }
            Found::Layers(layers) => Self::of_layers(self.tree, layers)?,
            Found::Nothing => return Err(Errno::ENOENT),
        };
        node.set_place(self, name);
        directory.lock().remember(name, node.clone());
        Ok(node)
    }
    pub(super) fn set_place(&self, parent: &Self, name: &[u8]) {
        *self.place.lock() = Place {
            parent: parent.this.clone(),
            name: Name::from(name),
            gone: false,
        };
    }
    /// Notes a change of content (`modified`) or of attributes alone.
    pub(super) fn touch(&self, modified: bool) {
        let now = clock::now();
        let mut attributes = self.attributes.lock();
        attributes.changed = now;
        if modified {
            attributes.modified = now;
        }
    }
    pub(super) fn is_root(&self) -> bool {
        self.number == 1
    }
    /// Tells watchers of this node and of its directory.
    pub fn announce(&self, events: u32) {
        if !inotify::active() {
            return;
        }
        let flag = if self.directory().is_ok() {
            inotify::ISDIR
        } else {
            0
        };
        let (parent, name) = {
            let place = self.place.lock();
            (
                if place.gone {
                    None
                } else {
                    place.parent.upgrade()
                },
                place.name.clone(),
            )
        };
        if let Some(parent) = parent.filter(|_| !self.is_root()) {
            inotify::tell(parent.number, events | flag, 0, Some(&name));
        }
        inotify::tell(self.number, events | flag, 0, None);
    }
    /// Mounts `root` over this directory. ENOTDIR.
    pub fn mount(&self, root: InodeRef) -> Result<()> {
        self.directory()?.lock().mount = Some(root);
        Ok(())
    }
}

impl Attributes {
    /// Those of a new object: it belongs to the user of the process.
    fn new(mode: u32, links: u32) -> Self {
        let now = clock::now();
        let (uid, gid) = owner();
        Self {
            mode,
            uid,
            gid,
            links,
            accessed: now,
            modified: now,
            changed: now,
        }
    }
    fn of_layer(inode: &crate::fs::erofs::Inode) -> Self {
        let time = inode.modified;
        Self {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            links: inode.links,
            accessed: time,
            modified: time,
            changed: time,
        }
    }
}
