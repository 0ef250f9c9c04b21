//! The entries of one directory: its own table over the layers' directories.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{LayerFile, Node, Tree};
use crate::errno::Result;
use crate::fs::inode::InodeRef;
use crate::fs::stat::mode;

/// A name, shared between the two orders of a directory.
pub type Name = Arc<[u8]>;

/// What an entry leads to.
#[derive(Clone)]
enum Child {
    /// A node.
    Node(Arc<Node>),
    /// Something in a layer that nobody has looked up yet: inode number and type.
    Layer(u64, u32),
}

struct Slot {
    child: Child,
    /// Place in the listing; 0 while the directory is not complete.
    cookie: u64,
}

/// Cookies of the first entries behind `.` and `..`.
const FIRST_COOKIE: u64 = 3;

/// An entry as listings show it.
pub struct Listed {
    /// Inode number.
    pub number: u64,
    /// `S_IF…` type.
    pub kind: u32,
    /// Name.
    pub name: Name,
    /// Continue after this.
    pub cookie: u64,
}

/// State of a directory.
pub struct Directory {
    /// Directories in layers that merge here, top first.
    layers: Vec<LayerFile>,
    /// `entries` holds every entry; layers are not asked any more.
    complete: bool,
    entries: BTreeMap<Name, Slot>,
    order: BTreeMap<u64, Name>,
    next_cookie: u64,
    /// What is mounted here.
    pub mount: Option<InodeRef>,
    /// The directory has been removed: nothing can be made in it.
    pub removed: bool,
}

/// What a lookup in the table came to.
pub enum Found {
    /// A node.
    Node(Arc<Node>),
    /// The layers have it: one file, or the directories that merge.
    Layers(Vec<LayerFile>),
    /// Nothing of that name.
    Nothing,
}

impl Directory {
    /// A directory over `layers`.
    pub fn new(layers: Vec<LayerFile>) -> Self {
        let complete = layers.is_empty();
        Self {
            layers,
            complete,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_cookie: FIRST_COOKIE,
            mount: None,
            removed: false,
        }
    }
    /// Looks `name` up. EIO.
    pub fn find(&self, tree: &'static Tree, name: &[u8]) -> Result<Found> {
        match self.entries.get(name) {
            Some(Slot {
                child: Child::Node(node),
                ..
            }) => return Ok(Found::Node(node.clone())),
            None if self.complete => return Ok(Found::Nothing),
            Some(_) | None => {}
        }
        let found = tree.find(&self.layers, name)?;
        Ok(if found.is_empty() {
            Found::Nothing
        } else {
            Found::Layers(found)
        })
    }
    /// Remembers the node of an entry that a layer has.
    pub fn remember(&mut self, name: &[u8], node: Arc<Node>) {
        if let Some(slot) = self.entries.get_mut(name) {
            slot.child = Child::Node(node);
        } else {
            self.entries.insert(
                Name::from(name),
                Slot {
                    child: Child::Node(node),
                    cookie: 0,
                },
            );
        }
    }
    /// Takes over all entries of the layers. EIO.
    pub fn complete(&mut self, tree: &'static Tree) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        let mut listed = Vec::new();
        for layer in &self.layers {
            let volume = &tree.volumes[layer.volume];
            layer
                .inode
                .each_entry(volume, |entry| listed.push((layer.volume, entry)))?;
        }
        for (volume, entry) in listed {
            let number = Tree::number_of(volume, entry.number);
            let cookie = self.next_cookie;
            let slot = match self.entries.get_mut(entry.name) {
                Some(slot) if slot.cookie == 0 => slot,
                // A lower layer's entry of the same name.
                Some(_) => continue,
                None => {
                    let slot = Slot {
                        child: Child::Layer(number, entry.kind),
                        cookie,
                    };
                    self.entries.entry(Name::from(entry.name)).or_insert(slot)
                }
            };
            slot.cookie = cookie;
            self.next_cookie += 1;
            self.order.insert(cookie, Name::from(entry.name));
        }
        self.complete = true;
        Ok(())
    }
    /// Adds an entry to a complete directory, or replaces one at its place.
    pub fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        if let Some(slot) = self.entries.get_mut(name) {
            slot.child = Child::Node(node);
            return;
        }
        let name = Name::from(name);
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.order.insert(cookie, name.clone());
        self.entries.insert(
            name,
            Slot {
                child: Child::Node(node),
                cookie,
            },
        );
    }
    /// Takes an entry out of a complete directory.
    pub fn remove(&mut self, name: &[u8]) {
        if let Some(slot) = self.entries.remove(name) {
            self.order.remove(&slot.cookie);
        }
    }
    /// Whether a complete directory has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// The entry of a complete directory that follows `cookie`.
    pub fn after(&self, cookie: u64) -> Option<Listed> {
        let (cookie, name) = self.order.range(cookie + 1..).next()?;
        let slot = self.entries.get(name)?;
        let (number, kind) = match &slot.child {
            Child::Node(node) => (node.number(), node.mode() & mode::TYPE),
            Child::Layer(number, kind) => (*number, *kind),
        };
        Some(Listed {
            number,
            kind,
            name: name.clone(),
            cookie: *cookie,
        })
    }
}
