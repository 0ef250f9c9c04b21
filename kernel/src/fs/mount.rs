//! Building the name space from what the monitor handed over.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spore_abi::boot::BootInfo;
use spore_hal::direct::boot_info;

use super::context::FsContext;
use super::overlay::{self, Node, Tree};
use super::path::{Base, resolve};
use super::{FIRST_CONTEXT, directory, replace, set_root, sticky};
use crate::boot;
use crate::errno::{Errno, Result};
use crate::fs::erofs::Volume;
use crate::fs::inode::{self, InodeRef, require_directory};

/// Mounts the root file system. What is damaged is left out.
pub fn initialise(info: &BootInfo) {
    overlay::set_owner(info.uid, info.gid);
    let root = mount_layers(info);
    set_root(root.clone());
    if populate(&root).is_err() {
        crate::log!("the image's system directories are damaged");
    }
    let root: InodeRef = root;
    for file in boot::file_records(info.files) {
        let (path, data) = (boot::bytes(file.path), boot::bytes(file.data));
        if place_file(&root, path, data, file.mode).is_err() {
            crate::log!("cannot place {}", String::from_utf8_lossy(path));
        }
    }
    FIRST_CONTEXT.set(first_context);
    boot::RENAMED.set(renamed);
}

fn first_context(info: &BootInfo) -> FsContext {
    let mut context = FsContext::new();
    let wanted = boot::bytes(info.cwd);
    let base = Base {
        root: context.root.clone(),
        start: context.root.clone(),
    };
    match working_directory(&base, wanted) {
        Ok(cwd) => context.cwd = cwd,
        Err(_) => crate::log!(
            "working directory {} does not exist",
            String::from_utf8_lossy(wanted)
        ),
    }
    context
}

fn working_directory(base: &Base, path: &[u8]) -> Result<InodeRef> {
    let inode = resolve(base, path, true)?;
    require_directory(&inode)?;
    Ok(inode)
}

fn mount_layers(info: &BootInfo) -> Arc<Node> {
    let mut volumes = Vec::new();
    for layer in boot::layer_records(info.layers) {
        match Volume::open(spore_hal::direct::layer(layer.gpa, layer.len), layer.gpa) {
            Ok(volume) => volumes.push(volume),
            Err(_) => crate::log!(
                "the image layer at {:#x} is damaged and left out",
                layer.gpa
            ),
        }
    }
    Tree::mount(volumes).unwrap_or_else(|_| {
        crate::log!("the image's root directory is damaged; the file system is empty");
        Tree::empty()
    })
}

/// Directories that every program may expect.
pub(super) fn populate(root: &Arc<Node>) -> Result<()> {
    for name in [
        &b"tmp"[..],
        b"dev",
        b"proc",
        b"sys",
        b"run",
        b"root",
        b"var",
    ] {
        directory(root.as_ref(), name)?;
    }
    let var = directory(root.as_ref(), b"var")?;
    for inode in [
        directory(root.as_ref(), b"tmp")?,
        directory(var.as_ref(), b"tmp")?,
    ] {
        inode.change(&sticky())?;
    }
    Ok(())
}

/// Gives the machine another name, in the files that say it. A name that the program
/// looks up for itself must lead home.
fn renamed(name: &str) {
    let root = super::root();
    let hosts = boot::file_records(boot_info().files)
        .into_iter()
        .find(|file| boot::bytes(file.path) == b"/etc/hosts")
        .map(|file| String::from_utf8_lossy(boot::bytes(file.data)).into_owned());
    let hosts = format!("{}127.0.1.1 {name}\n", hosts.unwrap_or_default());
    for (path, text) in [
        ("/etc/hostname", format!("{name}\n")),
        ("/etc/hosts", hosts),
    ] {
        // Once in the life of a machine.
        let data: &'static [u8] = Vec::leak(text.into_bytes());
        let _ = place_file(&root, path.as_bytes(), data, 0o644);
    }
}

/// Puts launch data at an absolute path, making directories on the way.
fn place_file(root: &InodeRef, path: &[u8], data: &'static [u8], mode: u32) -> Result<()> {
    let node = inode::downcast::<Node>(root).ok_or(Errno::EXDEV)?;
    let mut names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    let last = names.pop().ok_or(Errno::EINVAL)?;
    let mut at: InodeRef = root.clone();
    for name in names {
        at = directory(at.as_ref(), name)?;
    }
    replace(&at, last, &node.new_over(mode & 0o7777, data))
}

/// Mounts a file system at a directory of the root.
pub fn mount_at(name: &[u8], system: InodeRef) {
    let place = super::root().lookup(name);
    let mounted = match place.as_ref().map(inode::downcast::<Node>) {
        Ok(Some(node)) => node.mount(system),
        _ => Err(Errno::ENOENT),
    };
    if mounted.is_err() {
        crate::log!("the image's /{} is damaged", String::from_utf8_lossy(name));
    }
}
