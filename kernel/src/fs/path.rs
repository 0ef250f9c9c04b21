//! From path names to inodes (path_resolution(7)).

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

use crate::errno::{Errno, Result};
use crate::fs::inode::{InodeRef, NAME_MAX, Target, require_directory};
use crate::fs::stat::mode;

/// Most symbolic links in one resolution (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// Where a walk begins.
#[derive(Clone)]
pub struct Base {
    /// For absolute paths.
    pub root: InodeRef,
    /// For relative paths: working directory or the directory of an `…at` call.
    pub start: InodeRef,
}

/// Where a path leads: an entry of a directory, which may not exist.
pub struct Place<'a> {
    /// The directory of the last component.
    pub directory: InodeRef,
    /// What is there now.
    pub inode: Option<InodeRef>,
    /// The path ends in a slash: only a directory will do.
    pub slash: bool,
    text: Cow<'a, [u8]>,
    name: Option<Range<usize>>,
}

impl Place<'_> {
    /// Name of the entry; `None` if the path ends in `.`, `..` or at a root.
    pub fn name(&self) -> Option<&[u8]> {
        self.name.clone().map(|range| &self.text[range])
    }
    /// What is there. ENOENT.
    pub fn found(&self) -> Result<InodeRef> {
        self.inode.clone().ok_or(Errno::ENOENT)
    }
}

/// Finds the object at `path`. `follow`: a symbolic link at the end is followed.
/// ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG.
pub fn resolve(base: &Base, path: &[u8], follow: bool) -> Result<InodeRef> {
    locate(base, path, follow)?.inode.ok_or(Errno::ENOENT)
}

/// Walks `path` to its last component, which need not exist. With `follow` a
/// link at the end is followed, also when it leads to something that does not exist.
pub fn locate<'a>(base: &Base, path: &'a [u8], follow: bool) -> Result<Place<'a>> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let mut text: Cow<'a, [u8]> = Cow::Borrowed(path);
    let mut directory = if path[0] == b'/' {
        base.root.clone()
    } else {
        base.start.clone()
    };
    let mut links = 0;
    let mut at = 0;
    loop {
        let component = next_component(&text, at);
        let Some((range, after)) = component else {
            require_directory(&directory)?;
            let inode = Some(directory.clone());
            return Ok(Place {
                directory,
                inode,
                slash: false,
                text,
                name: None,
            });
        };
        let last = after >= text.len();
        let slash = last && range.end < after;
        let name = &text[range.clone()];
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        require_directory(&directory)?;
        if name == b"." || name == b".." {
            if name == b".." && !is_root(base, &directory) {
                directory = directory.parent()?;
            }
            at = after;
            continue;
        }
        let child = match directory.lookup(name) {
            Ok(child) => child,
            Err(Errno::ENOENT) if last => {
                return Ok(Place {
                    directory,
                    inode: None,
                    slash,
                    text,
                    name: Some(range),
                });
            }
            Err(error) => return Err(error),
        };
        if child.kind() == mode::LINK && (!last || follow || slash) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            match child.target()? {
                Target::Text(target) if target.is_empty() => return Err(Errno::ENOENT),
                Target::Text(target) => {
                    if target[0] == b'/' {
                        directory = base.root.clone();
                    }
                    text = Cow::Owned(continued(target, &text[range.end..]));
                    at = 0;
                    continue;
                }
                Target::Object(inode) if last => {
                    if slash {
                        require_directory(&inode)?;
                    }
                    return Ok(Place {
                        directory,
                        inode: Some(inode),
                        slash,
                        text,
                        name: Some(range),
                    });
                }
                Target::Object(inode) => {
                    directory = inode;
                    at = after;
                    continue;
                }
            }
        }
        if last {
            if slash {
                require_directory(&child)?;
            }
            return Ok(Place {
                directory,
                inode: Some(child),
                slash,
                text,
                name: Some(range),
            });
        }
        directory = child;
        at = after;
    }
}

/// Walks to an entry that is to be made, moved or removed: a link at the end is
/// meant itself, even if a slash follows.
pub fn locate_entry<'a>(base: &Base, path: &'a [u8]) -> Result<Place<'a>> {
    let slashes = path.iter().rev().take_while(|byte| **byte == b'/').count();
    let bare = &path[..path.len() - slashes];
    if bare.is_empty() {
        return locate(base, path, false);
    }
    let mut place = locate(base, bare, false)?;
    place.slash = slashes > 0 && place.name.is_some();
    Ok(place)
}

/// The rest of the path behind a link's target.
fn continued(mut target: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    target.extend_from_slice(rest);
    target
}

/// The component from `at` on, and where the one after it begins.
fn next_component(text: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let start = at + text[at..].iter().position(|byte| *byte != b'/')?;
    let end = text[start..]
        .iter()
        .position(|byte| *byte == b'/')
        .map_or(text.len(), |len| start + len);
    let after = text[end..]
        .iter()
        .position(|byte| *byte != b'/')
        .map_or(text.len(), |len| end + len);
    Some((start..end, after))
}

fn is_root(base: &Base, directory: &InodeRef) -> bool {
    alloc::sync::Arc::ptr_eq(&base.root, directory)
}
