//! Device files: /dev/null and its kin.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

use spore_abi::boot::{BootInfo, option};
use spore_hal::Hook;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, PageSource};
use crate::fs::inode::{self, InodeRef, New, path_text};
use crate::fs::inotify;
use crate::fs::overlay::node::device_number;
use crate::fs::overlay::{self, Node};
use crate::fs::stat::{Stat, StatFs};
use crate::mm::io::{Reader, Writer};

/// What a character device does (major 1, `Documentation/admin-guide/devices.txt`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

const NULL: u64 = device_number(1, 3);
const ZERO: u64 = device_number(1, 5);
const FULL: u64 = device_number(1, 7);
const RANDOM: u64 = device_number(1, 8);
const URANDOM: u64 = device_number(1, 9);
const TTY: u64 = device_number(5, 0);
const PTMX: u64 = device_number(5, 2);
/// A miscellaneous device, among the numbers for local use.
const SPORE: u64 = device_number(10, 240);

/// Opens /dev/spore, if the kernel was linked with snapshots.
pub static LIFECYCLE: Hook<fn(InodeRef) -> Arc<dyn File>> = Hook::new();

/// Opens device `number` through its file `inode`. ENXIO.
fn open(number: u64, inode: InodeRef) -> Result<Arc<dyn File>> {
    let kind = match number {
        NULL => Kind::Null,
        ZERO => Kind::Zero,
        FULL => Kind::Full,
        RANDOM | URANDOM => Kind::Random,
        TTY => return terminal(),
        SPORE => return Ok(LIFECYCLE.get().ok_or(Errno::ENXIO)?(inode)),
        _ => return Err(Errno::ENXIO),
    };
    Ok(Arc::new(Device { kind, inode }))
}

/// The first standard stream that is a terminal. ENXIO without one.
fn terminal() -> Result<Arc<dyn File>> {
    for fd in 0..3 {
        if let Some(open) = crate::fs::standard_stream(fd)
            && crate::fs::is_terminal(&open)
        {
            return Ok(open.file.clone());
        }
    }
    Err(Errno::ENXIO)
}

/// Fills /dev, and opens what is in it.
pub fn initialise(info: &BootInfo) {
    overlay::set_device_opener(open);
    if populate(&super::root(), info).is_err() {
        crate::log!("the image's /dev is damaged");
    }
}

fn populate(root: &InodeRef, info: &BootInfo) -> Result<()> {
    let dev = super::directory(root.as_ref(), b"dev")?;
    let node = inode::downcast::<Node>(root).ok_or(Errno::ENOENT)?;
    let nodes: [(&[u8], u32, u64); 7] = [
        (b"null", 0o666, NULL),
        (b"zero", 0o666, ZERO),
        (b"full", 0o666, FULL),
        (b"random", 0o666, RANDOM),
        (b"urandom", 0o666, URANDOM),
        (b"tty", 0o666, TTY),
        (b"ptmx", 0o666, PTMX),
    ];
    for (name, permissions, number) in nodes {
        super::replace(&dev, name, &node.new_device(permissions, number))?;
    }
    if info.options & option::FREEZABLE != 0 {
        let spore = node.new_device(0o666, SPORE);
        super::replace(&dev, b"spore", &spore)?;
        inotify::keep_quiet_about(spore.number());
    }
    let links: [(&[u8], &[u8]); 4] = [
        (b"fd", b"/proc/self/fd"),
        (b"stdin", b"/proc/self/fd/0"),
        (b"stdout", b"/proc/self/fd/1"),
        (b"stderr", b"/proc/self/fd/2"),
    ];
    for (name, target) in links {
        if matches!(dev.lookup(name), Err(Errno::ENOENT)) {
            dev.create(name, New::Link(target))?;
        }
    }
    super::directory(dev.as_ref(), b"shm")?.change(&super::sticky())
}

/// An open device file.
struct Device {
    kind: Kind,
    inode: InodeRef,
}

impl Device {
    fn random(out: &mut Writer<'_>) -> Result<usize> {
        let mut done = 0;
        let mut bytes = [0; 256];
        while out.remaining() > 0 {
            let part = bytes.len().min(out.remaining());
            crate::random::fill(&mut bytes[..part]);
            match out.put(&bytes[..part]) {
                Ok(copied) => done += copied,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

impl File for Device {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        match self.kind {
            Kind::Null => Ok(0),
            Kind::Zero | Kind::Full => out.zero(out.remaining()),
            Kind::Random => Self::random(out),
        }
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        match self.kind {
            Kind::Full => Err(Errno::ENOSPC),
            Kind::Null | Kind::Zero | Kind::Random => Ok(data.remaining()),
        }
    }
    fn seekable(&self) -> bool {
        true
    }
    fn stat(&self) -> Result<Stat> {
        self.inode.stat()
    }
    fn statfs(&self) -> Result<StatFs> {
        self.inode.statfs()
    }
    fn map_page(&self, _offset: u64, _write: bool) -> Result<PageSource> {
        if self.kind == Kind::Zero {
            Ok(PageSource::Hole)
        } else {
            Err(Errno::ENODEV)
        }
    }
    fn path(&self) -> String {
        path_text(self.inode.as_ref())
    }
    fn inode(&self) -> Option<InodeRef> {
        Some(self.inode.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
