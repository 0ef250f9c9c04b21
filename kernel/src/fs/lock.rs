//! Advisory locks: flock(2), open-file-description locks and the locks of
//! processes (fcntl(2)).
//!
//! Locks of flock and F_OFD_* belong to an open file, so two opens of one program
//! can stand in each other's way. Locks of F_SETLK belong to the process; with
//! one process they are always granted and need not be kept.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use spore_hal::{Hook, Lock};

use crate::errno::{Errno, Result};
use crate::fs::file::OpenFile;
use crate::sched::notify::Notifier;

/// Names a file: device and inode number.
type FileKey = (u64, u64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// flock on this open file.
    Whole(usize),
    /// F_OFD_SETLK on this open file.
    Description(usize),
}

/// A locked range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// End, exclusive; `u64::MAX` for "to the end of the file".
    pub end: u64,
    /// Exclusive (write) or shared (read).
    pub exclusive: bool,
}

struct Held {
    owner: Owner,
    range: Range,
}

static LOCKS: Lock<BTreeMap<FileKey, Vec<Held>>> = Lock::new(BTreeMap::new());

/// Gives locks back, once there were any.
static RELEASE: Hook<fn(&OpenFile)> = Hook::new();

/// Rung whenever a lock is given back.
pub static RELEASED: Notifier = Notifier::new();

fn key(open: &OpenFile) -> Result<FileKey> {
    let stat = open.file.stat()?;
    Ok((stat.device, stat.inode))
}

fn identity(open: &OpenFile) -> usize {
    core::ptr::from_ref(open).addr()
}

fn clashes(held: &Held, owner: Owner, range: &Range) -> bool {
    // flock and fcntl locks do not see each other.
    let same_family = matches!(
        (held.owner, owner),
        (Owner::Whole(_), Owner::Whole(_)) | (Owner::Description(_), Owner::Description(_))
    );
    same_family
        && held.owner != owner
        && held.range.start < range.end
        && range.start < held.range.end
        && (held.range.exclusive || range.exclusive)
}

/// Takes `range` out of what `owner` holds.
fn cut(held: &mut Vec<Held>, owner: Owner, range: &Range) {
    let mut kept = Vec::new();
    for lock in held.drain(..) {
        if lock.owner != owner || lock.range.end <= range.start || range.end <= lock.range.start {
            kept.push(lock);
            continue;
        }
        if lock.range.start < range.start {
            kept.push(Held {
                owner,
                range: Range {
                    end: range.start,
                    ..lock.range
                },
            });
        }
        if range.end < lock.range.end {
            kept.push(Held {
                owner,
                range: Range {
                    start: range.end,
                    ..lock.range
                },
            });
        }
    }
    *held = kept;
}

fn set(open: &OpenFile, owner: Owner, range: &Range) -> Result<()> {
    let key = key(open)?;
    RELEASE.set(release);
    let mut locks = LOCKS.lock();
    let held = locks.entry(key).or_default();
    if held.iter().any(|lock| clashes(lock, owner, range)) {
        return Err(Errno::EAGAIN);
    }
    cut(held, owner, range);
    held.push(Held {
        owner,
        range: *range,
    });
    Ok(())
}

fn clear(open: &OpenFile, owner: Owner, range: &Range) -> Result<()> {
    let key = key(open)?;
    {
        let mut locks = LOCKS.lock();
        let Some(held) = locks.get_mut(&key) else {
            return Ok(());
        };
        cut(held, owner, range);
        if held.is_empty() {
            locks.remove(&key);
        }
    }
    RELEASED.notify(0);
    Ok(())
}

const WHOLE: Range = Range {
    start: 0,
    end: u64::MAX,
    exclusive: true,
};

/// flock: takes the file as a whole. EAGAIN while another open file has it.
pub fn flock(open: &OpenFile, exclusive: bool) -> Result<()> {
    set(
        open,
        Owner::Whole(identity(open)),
        &Range { exclusive, ..WHOLE },
    )
}

/// flock LOCK_UN.
pub fn unflock(open: &OpenFile) -> Result<()> {
    clear(open, Owner::Whole(identity(open)), &WHOLE)
}

/// F_OFD_SETLK. EAGAIN while another open file has any of it.
pub fn lock_range(open: &OpenFile, range: &Range) -> Result<()> {
    set(open, Owner::Description(identity(open)), range)
}

/// F_OFD_SETLK with F_UNLCK.
pub fn unlock_range(open: &OpenFile, range: &Range) -> Result<()> {
    clear(open, Owner::Description(identity(open)), range)
}

/// F_OFD_GETLK: what stands in the way of `range`.
pub fn conflict(open: &OpenFile, range: &Range) -> Result<Option<Range>> {
    let key = key(open)?;
    let owner = Owner::Description(identity(open));
    let locks = LOCKS.lock();
    let held = locks.get(&key).map_or(&[][..], Vec::as_slice);
    Ok(held
        .iter()
        .find(|lock| clashes(lock, owner, range))
        .map(|lock| lock.range))
}

/// The open file is closed: its locks are given back.
pub fn released(open: &OpenFile) {
    if let Some(release) = RELEASE.get() {
        release(open);
    }
}

fn release(open: &OpenFile) {
    if LOCKS.lock().is_empty() {
        return;
    }
    // A file without attributes has no locks either.
    let _ = clear(open, Owner::Whole(identity(open)), &WHOLE);
    let _ = clear(open, Owner::Description(identity(open)), &WHOLE);
}
