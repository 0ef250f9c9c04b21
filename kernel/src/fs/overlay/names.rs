//! Giving, moving and taking away names.

use alloc::sync::Arc;

use super::Node;
use crate::errno::{Errno, Result};
use crate::fs::inode::RenameMode;
use crate::fs::inotify;

fn is_directory(node: &Node) -> bool {
    node.directory().is_ok()
}

fn change_links(node: &Node, by: i32) {
    let mut attributes = node.attributes.lock();
    attributes.links = attributes.links.saturating_add_signed(by);
}

/// A directory that still stands, all its entries in its own table.
fn writable(directory: &Node) -> Result<()> {
    let mut state = directory.directory()?.lock();
    if state.removed {
        return Err(Errno::ENOENT);
    }
    state.complete(directory.tree)
}

fn existing(directory: &Node, name: &[u8]) -> Result<Option<Arc<Node>>> {
    match directory.child(name) {
        Ok(node) => Ok(Some(node)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a new node into a directory. EEXIST, ENOENT, EIO.
pub fn add(directory: &Node, name: &[u8], node: &Arc<Node>) -> Result<()> {
    insert(directory, name, node)?;
    announce(directory, inotify::CREATE, name, is_directory(node), 0);
    Ok(())
}

fn insert(directory: &Node, name: &[u8], node: &Arc<Node>) -> Result<()> {
    writable(directory)?;
    if existing(directory, name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    directory.directory()?.lock().insert(name, node.clone());
    node.set_place(directory, name);
    if is_directory(node) {
        change_links(directory, 1);
    }
    directory.touch(true);
    Ok(())
}

/// One more name for a file. EPERM for directories, EEXIST, ENOENT, EXDEV.
pub fn link(directory: &Node, name: &[u8], node: &Arc<Node>) -> Result<()> {
    if is_directory(node) {
        return Err(Errno::EPERM);
    }
    if !core::ptr::eq(node.tree, directory.tree) {
        return Err(Errno::EXDEV);
    }
    insert(directory, name, node)?;
    change_links(node, 1);
    node.touch(false);
    node.announce_self(inotify::ATTRIB);
    announce(directory, inotify::CREATE, name, false, 0);
    Ok(())
}

/// Takes a name away. ENOENT, EISDIR, ENOTDIR, ENOTEMPTY, EBUSY.
pub fn remove(directory: &Node, name: &[u8], want_directory: bool) -> Result<()> {
    let node = directory.child(name)?;
    match (want_directory, is_directory(&node)) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        (true, true) => check_removable(&node)?,
        (false, false) => {}
    }
    writable(directory)?;
    directory.directory()?.lock().remove(name);
    directory.touch(true);
    unnamed(directory, name, &node);
    // As on Linux, what was removed hears of it before its directory does.
    drop(node);
    announce(directory, inotify::DELETE, name, want_directory, 0);
    Ok(())
}

/// ENOTEMPTY, EBUSY.
fn check_removable(node: &Node) -> Result<()> {
    let mut state = node.directory()?.lock();
    if state.mount.is_some() {
        return Err(Errno::EBUSY);
    }
    state.complete(node.tree)?;
    if state.is_empty() {
        Ok(())
    } else {
        Err(Errno::ENOTEMPTY)
    }
}

/// After `node` has lost the name `name` in `directory`.
fn unnamed(directory: &Node, name: &[u8], node: &Arc<Node>) {
    if is_directory(node) {
        change_links(directory, -1);
        node.attributes.lock().links = 0;
        if let Ok(state) = node.directory() {
            state.lock().removed = true;
        }
    } else {
        change_links(node, -1);
    }
    node.touch(false);
    {
        let mut place = node.place.lock();
        let here = place
            .parent
            .upgrade()
            .is_some_and(|parent| parent.number() == directory.number());
        if here && *place.name == *name {
            place.gone = true;
        }
    }
    if is_directory(node) {
        inotify::deleted(node.number());
    } else {
        // Its deletion is announced when the last open file is closed.
        node.announce_self(inotify::ATTRIB);
    }
}

fn announce(directory: &Node, events: u32, name: &[u8], of_directory: bool, cookie: u32) {
    if inotify::active() {
        let flag = if of_directory { inotify::ISDIR } else { 0 };
        inotify::tell(directory.number(), events | flag, cookie, Some(name));
    }
}

/// Whether `node` is `directory` or one of those above it.
fn is_above(node: &Node, directory: &Node) -> bool {
    let mut at = directory.shared();
    while let Some(current) = at {
        if current.number() == node.number() {
            return true;
        }
        let parent = current.place.lock().parent.upgrade();
        at = parent.filter(|parent| parent.number() != current.number());
    }
    false
}

/// rename(2) inside this file system.
pub fn rename(from: &Node, name: &[u8], to: &Node, to_name: &[u8], mode: RenameMode) -> Result<()> {
    let node = from.child(name)?;
    let target = existing(to, to_name)?;
    writable(from)?;
    writable(to)?;
    if mode == RenameMode::Exchange {
        return exchange(
            (from, name, &node),
            (to, to_name, &target.ok_or(Errno::ENOENT)?),
        );
    }
    if target.is_some() && mode == RenameMode::Keep {
        return Err(Errno::EEXIST);
    }
    if is_directory(&node) {
        check_movable(&node, to)?;
    }
    if let Some(target) = &target {
        if Arc::ptr_eq(target, &node) {
            return Ok(());
        }
        match (is_directory(&node), is_directory(target)) {
            (true, false) => return Err(Errno::ENOTDIR),
            (false, true) => return Err(Errno::EISDIR),
            (true, true) => check_removable(target)?,
            (false, false) => {}
        }
    }
    from.directory()?.lock().remove(name);
    to.directory()?.lock().insert(to_name, node.clone());
    let moved_directory = is_directory(&node);
    node.set_place(to, to_name);
    if moved_directory {
        change_links(from, -1);
        change_links(to, 1);
    }
    from.touch(true);
    to.touch(true);
    node.touch(false);
    announce_move(from, name, to, to_name, &node);
    if let Some(target) = &target {
        unnamed(to, to_name, target);
    }
    Ok(())
}

/// EBUSY for mount points, EINVAL when a directory would move into itself.
fn check_movable(node: &Node, to: &Node) -> Result<()> {
    if node.directory()?.lock().mount.is_some() {
        return Err(Errno::EBUSY);
    }
    if is_above(node, to) {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

fn exchange(left: (&Node, &[u8], &Arc<Node>), right: (&Node, &[u8], &Arc<Node>)) -> Result<()> {
    for (node, destination) in [(left.2, right.0), (right.2, left.0)] {
        if is_directory(node) {
            check_movable(node, destination)?;
        }
    }
    left.0.directory()?.lock().insert(left.1, right.2.clone());
    right.0.directory()?.lock().insert(right.1, left.2.clone());
    left.2.set_place(right.0, right.1);
    right.2.set_place(left.0, left.1);
    for (node, lost, won) in [(left.2, left.0, right.0), (right.2, right.0, left.0)] {
        if is_directory(node) {
            change_links(lost, -1);
            change_links(won, 1);
        }
        node.touch(false);
        won.touch(true);
    }
    announce_move(left.0, left.1, right.0, right.1, left.2);
    announce_move(right.0, right.1, left.0, left.1, right.2);
    Ok(())
}

fn announce_move(from: &Node, name: &[u8], to: &Node, to_name: &[u8], node: &Node) {
    if inotify::active() {
        let cookie = inotify::new_cookie();
        announce(from, inotify::MOVED_FROM, name, is_directory(node), cookie);
        announce(to, inotify::MOVED_TO, to_name, is_directory(node), cookie);
        inotify::tell(node.number(), inotify::MOVE_SELF, 0, None);
    }
}

impl Node {
    /// Tells watchers of this node alone.
    pub(super) fn announce_self(&self, events: u32) {
        if inotify::active() {
            let flag = if is_directory(self) {
                inotify::ISDIR
            } else {
                0
            };
            inotify::tell(self.number(), events | flag, 0, None);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if inotify::active() && self.attributes.get_mut().links == 0 && !is_directory(self) {
            inotify::deleted(self.number());
        }
    }
}
