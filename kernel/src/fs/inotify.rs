//! Watching files and directories (inotify(7)).
//!
//! Watches are kept by inode number of the root file system. While there are
//! none, a change costs one load; those of /dev/spore, which every program may have
//! whose machine can be frozen, leave it at that.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use spore_hal::{Hook, Lock};

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::mm::io::Writer;
use crate::sched::notify::Notifier;

// Event bits (`linux/inotify.h`).
/// Read.
pub const ACCESS: u32 = 0x1;
/// Written, truncated.
pub const MODIFY: u32 = 0x2;
/// Attributes changed.
pub const ATTRIB: u32 = 0x4;
/// Closed after being open for writing.
pub const CLOSE_WRITE: u32 = 0x8;
/// Closed otherwise.
pub const CLOSE_NOWRITE: u32 = 0x10;
/// Opened.
pub const OPEN: u32 = 0x20;
/// An entry moved away.
pub const MOVED_FROM: u32 = 0x40;
/// An entry moved here.
pub const MOVED_TO: u32 = 0x80;
/// An entry was made.
pub const CREATE: u32 = 0x100;
/// An entry was removed.
pub const DELETE: u32 = 0x200;
/// The watched object itself is gone.
pub const DELETE_SELF: u32 = 0x400;
/// The watched object itself moved.
pub const MOVE_SELF: u32 = 0x800;
/// Events were lost.
pub const Q_OVERFLOW: u32 = 0x4000;
/// The watch is gone.
pub const IGNORED: u32 = 0x8000;
/// Watch only directories.
pub const ONLYDIR: u32 = 0x0100_0000;
/// Do not follow a link at the end of the path.
pub const DONT_FOLLOW: u32 = 0x0200_0000;
/// Fail if there is a watch.
pub const MASK_CREATE: u32 = 0x1000_0000;
/// Add to the mask of an existing watch.
pub const MASK_ADD: u32 = 0x2000_0000;
/// The event concerns a directory.
pub const ISDIR: u32 = 0x4000_0000;
/// Remove the watch after one event.
pub const ONESHOT: u32 = 0x8000_0000;
/// All events that can be asked for.
pub const ALL_EVENTS: u32 = 0xFFF;

/// Most queued events (`/proc/sys/fs/inotify/max_queued_events`).
const MAX_QUEUED: usize = 16384;

struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    /// Bytes of the name with its padding: whole units of 16.
    fn name_len(&self) -> usize {
        if self.name.is_empty() {
            0
        } else {
            (self.name.len() + 1).next_multiple_of(16)
        }
    }
    /// `struct inotify_event`.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.name_len());
        bytes.extend_from_slice(&self.watch.to_le_bytes());
        bytes.extend_from_slice(&self.mask.to_le_bytes());
        bytes.extend_from_slice(&self.cookie.to_le_bytes());
        bytes.extend_from_slice(&(self.name_len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.name);
        bytes.resize(16 + self.name_len(), 0);
        bytes
    }
}

struct Watch {
    inode: u64,
    mask: u32,
}

#[derive(Default)]
struct State {
    watches: BTreeMap<i32, Watch>,
    queue: VecDeque<Event>,
    last_watch: i32,
}

/// An inotify instance.
pub struct Inotify {
    state: Lock<State>,
    notifier: Notifier,
}

/// Who is told.
#[derive(Clone, Copy)]
struct Ears {
    tell: fn(u64, u32, u32, Option<&[u8]>),
    deleted: fn(u64),
}

type Watchers = Vec<(Weak<Inotify>, i32)>;

/// Who watches which inode.
static WATCHERS: Lock<BTreeMap<u64, Watchers>> = Lock::new(BTreeMap::new());
/// What hears of changes, set with the first watch: programs without any do without the code.
static EARS: Hook<Ears> = Hook::new();
/// How many watches there are, but for those of [`QUIET`].
static WATCHED: AtomicUsize = AtomicUsize::new(0);
/// An inode of which nothing is told but what its own file tells. 0: none.
static QUIET: AtomicU64 = AtomicU64::new(0);
static COOKIE: AtomicU32 = AtomicU32::new(1);

/// Whether anything is watched.
#[inline]
pub fn active() -> bool {
    WATCHED.load(Ordering::Relaxed) != 0
}

/// Nobody but the file behind `inode` tells of it.
pub fn keep_quiet_about(inode: u64) {
    QUIET.store(inode, Ordering::Relaxed);
}

/// How much a watch of `inode` counts in [`WATCHED`].
fn weight(inode: u64) -> usize {
    usize::from(inode != QUIET.load(Ordering::Relaxed))
}

/// A number that ties MOVED_FROM and MOVED_TO together.
pub fn new_cookie() -> u32 {
    COOKIE.fetch_add(1, Ordering::Relaxed)
}

/// Tells the watchers of inode `inode` of `mask` events; `name` is set when the
/// event concerns an entry of the directory `inode`.
pub fn tell(inode: u64, mask: u32, cookie: u32, name: Option<&[u8]>) {
    if let Some(ears) = EARS.get() {
        (ears.tell)(inode, mask, cookie, name);
    }
}

/// Tells the watchers of `inode` that it is gone, and ends their watches.
pub fn deleted(inode: u64) {
    if let Some(ears) = EARS.get() {
        (ears.deleted)(inode);
    }
}

fn tell_watchers(inode: u64, mask: u32, cookie: u32, name: Option<&[u8]>) {
    let watchers: Watchers = match WATCHERS.lock().get(&inode) {
        Some(watchers) => watchers.clone(),
        None => return,
    };
    for (instance, watch) in watchers {
        if let Some(instance) = instance.upgrade() {
            instance.push(watch, mask, cookie, name.unwrap_or_default());
        }
    }
}

fn end_watches(inode: u64) {
    tell_watchers(inode, DELETE_SELF, 0, None);
    let watchers = WATCHERS.lock().remove(&inode).unwrap_or_default();
    WATCHED.fetch_sub(watchers.len() * weight(inode), Ordering::Relaxed);
    for (instance, watch) in watchers {
        if let Some(instance) = instance.upgrade() {
            instance.end(watch);
        }
    }
}

fn forget(inode: u64, instance: &Inotify, watch: i32) {
    let mut all = WATCHERS.lock();
    let Some(watchers) = all.get_mut(&inode) else {
        return;
    };
    let before = watchers.len();
    watchers
        .retain(|(other, number)| !(core::ptr::eq(other.as_ptr(), instance) && *number == watch));
    let gone = before - watchers.len();
    WATCHED.fetch_sub(gone * weight(inode), Ordering::Relaxed);
    if watchers.is_empty() {
        all.remove(&inode);
    }
}

impl Inotify {
    /// An instance without watches.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Lock::new(State::default()),
            notifier: Notifier::new(),
        })
    }
    /// inotify_add_watch on inode number `inode`; answers the watch descriptor. EEXIST.
    pub fn watch(self: &Arc<Self>, inode: u64, mask: u32) -> Result<i32> {
        let keep = mask & (ALL_EVENTS | ONESHOT);
        let mut state = self.state.lock();
        if let Some((number, watch)) = state
            .watches
            .iter_mut()
            .find(|(_, watch)| watch.inode == inode)
        {
            if mask & MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            watch.mask = if mask & MASK_ADD != 0 {
                watch.mask | keep
            } else {
                keep
            };
            return Ok(*number);
        }
        state.last_watch = state.last_watch.checked_add(1).ok_or(Errno::ENOSPC)?;
        let number = state.last_watch;
        state.watches.insert(number, Watch { inode, mask: keep });
        drop(state);
        EARS.set(Ears {
            tell: tell_watchers,
            deleted: end_watches,
        });
        WATCHERS
            .lock()
            .entry(inode)
            .or_default()
            .push((Arc::downgrade(self), number));
        WATCHED.fetch_add(weight(inode), Ordering::Relaxed);
        Ok(number)
    }
    /// inotify_rm_watch. EINVAL.
    pub fn unwatch(&self, number: i32) -> Result<()> {
        let inode = self
            .state
            .lock()
            .watches
            .get(&number)
            .map(|watch| watch.inode)
            .ok_or(Errno::EINVAL)?;
        forget(inode, self, number);
        self.end(number);
        Ok(())
    }
    fn end(&self, number: i32) {
        self.state.lock().watches.remove(&number);
        self.enqueue(Event {
            watch: number,
            mask: IGNORED,
            cookie: 0,
            name: Vec::new(),
        });
    }
    fn push(&self, number: i32, mask: u32, cookie: u32, name: &[u8]) {
        let ended = {
            let state = self.state.lock();
            let Some(watch) = state.watches.get(&number) else {
                return;
            };
            if watch.mask & mask & ALL_EVENTS == 0 {
                return;
            }
            (watch.mask & ONESHOT != 0).then_some(watch.inode)
        };
        self.enqueue(Event {
            watch: number,
            mask,
            cookie,
            name: name.to_vec(),
        });
        if let Some(inode) = ended {
            forget(inode, self, number);
            self.end(number);
        }
    }
    fn enqueue(&self, event: Event) {
        {
            let queue = &mut self.state.lock().queue;
            // Like the last event that nobody has read yet: once is enough.
            let same = |last: &Event| {
                last.watch == event.watch
                    && last.mask == event.mask
                    && last.name == event.name
                    && event.cookie == 0
            };
            if queue.back().is_some_and(same) {
                return;
            }
            if queue.len() >= MAX_QUEUED {
                if queue.back().is_some_and(|last| last.mask == Q_OVERFLOW) {
                    return;
                }
                queue.push_back(Event {
                    watch: -1,
                    mask: Q_OVERFLOW,
                    cookie: 0,
                    name: Vec::new(),
                });
            } else {
                queue.push_back(event);
            }
        }
        self.notifier.notify(events::IN | events::RDNORM);
    }
    /// Bytes of the queued events, for FIONREAD.
    fn queued(&self) -> usize {
        self.state
            .lock()
            .queue
            .iter()
            .map(|event| 16 + event.name_len())
            .sum()
    }
}

/// `FIONREAD` of `asm-generic/ioctls.h`.
const FIONREAD: u32 = 0x541B;

/// The file behind an inotify descriptor.
pub struct InotifyFile(pub Arc<Inotify>);

impl File for InotifyFile {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        let mut done = 0;
        loop {
            let bytes = {
                let state = self.0.state.lock();
                match state.queue.front() {
                    None if done == 0 => return Err(Errno::EAGAIN),
                    None => return Ok(done),
                    Some(event) if 16 + event.name_len() > out.remaining() => {
                        return if done == 0 {
                            Err(Errno::EINVAL)
                        } else {
                            Ok(done)
                        };
                    }
                    Some(event) => event.encode(),
                }
            };
            done += out.put(&bytes)?;
            self.0.state.lock().queue.pop_front();
        }
    }
    fn poll(&self) -> u32 {
        if self.0.state.lock().queue.is_empty() {
            0
        } else {
            events::IN | events::RDNORM
        }
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.0.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            mode: 0o600,
            links: 1,
            block_size: 4096,
            ..Stat::default()
        })
    }
    fn ioctl(&self, _open: &OpenFile, request: u32, argument: u64) -> Result<usize> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let queued = i32::try_from(self.0.queued()).unwrap_or(i32::MAX);
        crate::mm::user::write(crate::mm::user::UserAddr::new(argument), &queued)?;
        Ok(0)
    }
    fn path(&self) -> String {
        String::from("anon_inode:inotify")
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = core::mem::take(&mut self.state.get_mut().watches);
        for (number, watch) in watches {
            forget(watch.inode, self, number);
        }
    }
}
