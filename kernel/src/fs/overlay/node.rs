//! One object of the root file system.

use alloc::borrow::Cow;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use spore_hal::Lock;

use super::content::{Below, Content};
use super::directory::{Directory, Found, Name};
use super::{DEVICE, LayerFile, Tree, names, node_of};
use crate::errno::{Errno, Result};
use crate::fs::clock;
use crate::fs::file::{DirEntry, File};
use crate::fs::inode::{self, Change, Inode, InodeRef, New, RenameMode, Target};
use crate::fs::inotify;
use crate::fs::stat::{Stat, StatFs, Timespec, mode};
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
    this: Weak<Node>,
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
    fn is_root(&self) -> bool {
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
    fn new(mode: u32, links: u32) -> Self {
        let now = clock::now();
        Self {
            mode,
            uid: 0,
            gid: 0,
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
            inode: self.number,
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
            Body::Device(number) => crate::fs::device::open(*number, self.clone()),
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
                .map_or(self.number, |parent| parent.number);
            for (number, name, next) in [(self.number, &b"."[..], 1), (parent, b"..", 2)] {
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
        place.name = Name::from(alloc::format!("#{}", node.number).as_bytes());
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
