//! File systems made of functions: /proc and /sys are tables of [`Entry`].

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use spore_hal::Hook;
use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::clock;
use crate::fs::file::{DirEntry, File, OpenFile};
use crate::fs::inode::{self, Change, Inode, InodeRef, New, Target, path_text};
use crate::fs::stat::{Stat, StatFs, mode};
use crate::mm::io::{Reader, Writer};

/// Whom a file tells about: directories such as `/proc/2/task/3` set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Thread id.
    pub tid: i32,
    /// Descriptor.
    pub fd: i32,
}

/// An object of a synthetic file system.
pub enum Entry {
    /// A file whose text is made when it is read from the start.
    Text(fn(Subject) -> Result<Vec<u8>>),
    /// A text that may also be written.
    Setting(
        fn(Subject) -> Result<Vec<u8>>,
        fn(Subject, &[u8]) -> Result<()>,
    ),
    /// A text that never changes.
    Fixed(&'static str),
    /// A symbolic link.
    Link(fn(Subject) -> Result<Target>),
    /// What a piece gives, if this kernel has it.
    Piece(&'static Slot),
    /// A directory with these entries, and more that are found by asking.
    Directory(
        &'static [(&'static str, Entry)],
        Option<&'static dyn Listing>,
    ),
}

/// The place of an entry that is a piece of the kernel.
pub struct Slot {
    /// Name of the piece.
    name: &'static str,
    entry: Hook<&'static Entry>,
    /// Somebody was told that it is missing.
    told: Lock<bool>,
}

impl Slot {
    /// Without the piece.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            entry: Hook::new(),
            told: Lock::new(false),
        }
    }
    /// The piece is here.
    pub fn set(&self, entry: &'static Entry) {
        self.entry.set(entry);
    }
    /// What it gave. ENOENT, said once.
    fn get(&self) -> Result<&'static Entry> {
        self.entry.get().ok_or_else(|| {
            if !core::mem::replace(&mut *self.told.lock(), true) {
                let name = self.name;
                crate::log!(
                    "spore: {name} was left out of this image (ENOENT): add it with `--piece {name}`, or take everything with `--pieces full`"
                );
            }
            Errno::ENOENT
        })
    }
}

/// Makes entries pieces of the kernel: each has a slot, and a service that fills it at boot.
/// Such a service needs the one that its name begins with.
macro_rules! entries {
    ($($slot:ident $name:literal = $entry:expr;)*) => {
        $(
            static $slot: $crate::fs::synthetic::Slot = $crate::fs::synthetic::Slot::new($name);
            spore_hal::piece! {
                ["spore.service.", $name] fn(_info: &spore_abi::boot::BootInfo) {
                    static ENTRY: $crate::fs::synthetic::Entry = $entry;
                    $slot.set(&ENTRY);
                }
            }
        )*
    };
}
pub(crate) use entries;

/// Entries that come and go.
pub trait Listing: Sync {
    /// Names of what is there now.
    fn names(&self, subject: Subject) -> Vec<String>;
    /// The entry called `name`. ENOENT.
    fn entry(&self, subject: Subject, name: &str) -> Result<(&'static Entry, Subject)>;
}

/// A mounted synthetic file system.
pub struct FileSystem {
    /// Device number.
    pub device: u64,
    /// Magic number for statfs.
    pub magic: i64,
    /// Where it is mounted.
    pub path: &'static str,
    /// Size that files report.
    pub size: i64,
    /// The root directory.
    pub root: &'static Entry,
}

/// One object, as long as somebody holds it.
pub struct Object {
    system: &'static FileSystem,
    entry: &'static Entry,
    subject: Subject,
    path: String,
}

impl FileSystem {
    /// The root directory.
    pub fn root(&'static self) -> InodeRef {
        self.object(self.root, Subject::default(), String::from(self.path))
    }
    fn object(&'static self, entry: &'static Entry, subject: Subject, path: String) -> InodeRef {
        Arc::new(Object {
            system: self,
            entry,
            subject,
            path,
        })
    }
}

/// Inode number of a path: FNV-1a, cut so that it fits a double.
fn number_of(path: &str) -> u64 {
    let hash = path.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    hash >> 16 | 1
}

impl Object {
    fn text(&self) -> Result<Vec<u8>> {
        match self.entry {
            Entry::Text(make) | Entry::Setting(make, _) => make(self.subject),
            Entry::Fixed(text) => Ok(text.as_bytes().to_vec()),
            Entry::Link(_) | Entry::Piece(_) | Entry::Directory(..) => Err(Errno::EINVAL),
        }
    }
    fn parent_path(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
}

impl Inode for Object {
    fn stat(&self) -> Result<Stat> {
        let (permissions, links) = match self.entry {
            Entry::Text(_) | Entry::Fixed(_) => (mode::FILE | 0o444, 1),
            Entry::Setting(..) => (mode::FILE | 0o644, 1),
            Entry::Link(_) => (mode::LINK | 0o777, 1),
            // An object is never a slot, see `lookup`.
            Entry::Piece(_) => return Err(Errno::ENOENT),
            Entry::Directory(..) => (mode::DIRECTORY | 0o555, 2),
        };
        let now = clock::now();
        Ok(Stat {
            device: self.system.device,
            inode: number_of(&self.path),
            links,
            mode: permissions,
            size: if permissions & mode::TYPE == mode::FILE {
                self.system.size
            } else {
                0
            },
            block_size: 1024,
            accessed: now,
            modified: now,
            changed: now,
            ..Stat::default()
        })
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            kind: self.system.magic,
            block_size: 4096,
            name_length: 255,
            fragment_size: 4096,
            ..StatFs::default()
        })
    }
    fn kind(&self) -> u32 {
        match self.entry {
            Entry::Text(_) | Entry::Fixed(_) | Entry::Setting(..) | Entry::Piece(_) => mode::FILE,
            Entry::Link(_) => mode::LINK,
            Entry::Directory(..) => mode::DIRECTORY,
        }
    }
    fn path(&self) -> Vec<u8> {
        self.path.clone().into_bytes()
    }
    fn parent(&self) -> Result<InodeRef> {
        let root = crate::fs::root();
        let base = crate::fs::path::Base {
            root: root.clone(),
            start: root.clone(),
        };
        match self.parent_path() {
            "" => Ok(root),
            path => crate::fs::path::resolve(&base, path.as_bytes(), true),
        }
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let Entry::Directory(entries, more) = self.entry else {
            return Err(Errno::ENOTDIR);
        };
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let path = alloc::format!("{}/{name}", self.path);
        if let Some((_, entry)) = entries.iter().find(|(own, _)| *own == name) {
            let entry = match entry {
                Entry::Piece(slot) => slot.get()?,
                entry => entry,
            };
            return Ok(self.system.object(entry, self.subject, path));
        }
        let (entry, subject) = more.ok_or(Errno::ENOENT)?.entry(self.subject, name)?;
        Ok(self.system.object(entry, subject, path))
    }
    fn target(&self) -> Result<Target> {
        match self.entry {
            Entry::Link(target) => target(self.subject),
            _ => Err(Errno::EINVAL),
        }
    }
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        match self.entry {
            Entry::Directory(..) => inode::Directory::open(self, flags),
            Entry::Link(_) => Err(Errno::ELOOP),
            Entry::Piece(_) => Err(Errno::ENOENT),
            // Root may open every file; writing to one that is no setting fails.
            Entry::Text(_) | Entry::Fixed(_) | Entry::Setting(..) => {
                let text = Lock::new(Vec::new());
                Ok(Arc::new(TextFile { object: self, text }))
            }
        }
    }
    fn create(&self, _name: &[u8], _new: New<'_>) -> Result<InodeRef> {
        Err(Errno::ENOENT)
    }
    fn read_directory(
        &self,
        cookie: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let Entry::Directory(entries, more) = self.entry else {
            return Err(Errno::ENOTDIR);
        };
        let directory = (mode::DIRECTORY >> 12) as u8;
        let mut list: Vec<(String, u8, u64)> = alloc::vec![
            (String::from("."), directory, number_of(&self.path)),
            (String::from(".."), directory, number_of(self.parent_path())),
        ];
        let mut add = |name: &str, entry: &Entry| {
            let entry = match entry {
                Entry::Piece(slot) => match slot.entry.get() {
                    Some(entry) => entry,
                    None => return,
                },
                entry => entry,
            };
            let kind = match entry {
                Entry::Directory(..) => mode::DIRECTORY,
                Entry::Link(_) => mode::LINK,
                _ => mode::FILE,
            };
            let number = number_of(&alloc::format!("{}/{name}", self.path));
            list.push((String::from(name), (kind >> 12) as u8, number));
        };
        for (name, entry) in *entries {
            add(name, entry);
        }
        for name in more
            .map(|more| more.names(self.subject))
            .unwrap_or_default()
        {
            if let Some((entry, _)) = more.and_then(|more| more.entry(self.subject, &name).ok()) {
                add(&name, entry);
            }
        }
        for ((name, kind, number), next) in list.iter().zip(1u64..) {
            if next > cookie
                && !emit(DirEntry {
                    inode: *number,
                    kind: *kind,
                    name: name.as_bytes(),
                    next,
                })
            {
                break;
            }
        }
        Ok(())
    }
    fn change(&self, _change: &Change) -> Result<()> {
        Err(Errno::EPERM)
    }
}

/// An open text.
struct TextFile {
    object: Arc<Object>,
    /// As it was when last read from the start.
    text: Lock<Vec<u8>>,
}

impl File for TextFile {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, position: u64) -> Result<usize> {
        if position == 0 {
            let text = self.object.text()?;
            *self.text.lock() = text;
        }
        let text = self.text.lock();
        let rest = usize::try_from(position)
            .ok()
            .and_then(|start| text.get(start..))
            .unwrap_or_default();
        out.put(&rest[..rest.len().min(out.remaining())])
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        let Entry::Setting(_, set) = self.object.entry else {
            return Err(Errno::EINVAL);
        };
        let mut bytes = alloc::vec![0; data.remaining().min(4096)];
        let len = data.take(&mut bytes)?;
        set(self.object.subject, &bytes[..len])?;
        Ok(len)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn stat(&self) -> Result<Stat> {
        self.object.stat()
    }
    fn statfs(&self) -> Result<StatFs> {
        self.object.statfs()
    }
    fn truncate(&self, _size: u64) -> Result<()> {
        Ok(())
    }
    fn path(&self) -> String {
        path_text(self.object.as_ref())
    }
    fn inode(&self) -> Option<InodeRef> {
        Some(self.object.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open file as an object in the name space: what `/proc/self/fd/3` leads to when
/// the file has no place of its own.
pub struct Handle(pub Arc<OpenFile>);

impl Inode for Handle {
    fn stat(&self) -> Result<Stat> {
        self.0.file.stat()
    }
    fn statfs(&self) -> Result<StatFs> {
        self.0.file.statfs()
    }
    fn kind(&self) -> u32 {
        self.0
            .file
            .stat()
            .map_or(mode::FILE, |stat| stat.mode & mode::TYPE)
    }
    fn path(&self) -> Vec<u8> {
        self.0.file.path().into_bytes()
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        if self.kind() == mode::SOCKET {
            Err(Errno::ENXIO)
        } else {
            Ok(self.0.file.clone())
        }
    }
}
