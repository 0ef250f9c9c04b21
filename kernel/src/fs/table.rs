//! The descriptor table of a process.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::OpenFile;

/// Most descriptors (RLIMIT_NOFILE, hard).
pub const MAX_DESCRIPTORS: usize = 1_048_576;
/// Soft limit of a new process.
pub const SOFT_LIMIT: usize = 65_536;

#[derive(Clone)]
struct Slot {
    open: Arc<OpenFile>,
    close_on_exec: bool,
}

/// Descriptors of one process.
pub struct DescriptorTable {
    slots: Lock<Slots>,
}

struct Slots {
    list: Vec<Option<Slot>>,
    /// No free slot below this index.
    first_free: usize,
    /// Descriptors are below it (RLIMIT_NOFILE).
    limit: usize,
}

impl Default for DescriptorTable {
    fn default() -> Self {
        Self {
            slots: Lock::new(Slots {
                list: Vec::new(),
                first_free: 0,
                limit: SOFT_LIMIT,
            }),
        }
    }
}

impl DescriptorTable {
    /// The open file behind `fd`. EBADF.
    #[inline]
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile>> {
        let slots = self.slots.lock();
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        match slots.list.get(index) {
            Some(Some(slot)) => Ok(slot.open.clone()),
            _ => Err(Errno::EBADF),
        }
    }
    /// Lets new descriptors be below `limit` (RLIMIT_NOFILE); those that are stay.
    pub fn set_limit(&self, limit: u64) {
        let limit = usize::try_from(limit).unwrap_or(MAX_DESCRIPTORS);
        self.slots.lock().limit = limit.min(MAX_DESCRIPTORS);
    }
    /// Puts `open` into the lowest free slot that is at least `min`. EMFILE, EINVAL.
    pub fn insert(&self, open: Arc<OpenFile>, close_on_exec: bool, min: usize) -> Result<i32> {
        let mut slots = self.slots.lock();
        if min >= slots.limit {
            return Err(Errno::EINVAL);
        }
        let mut index = min.max(slots.first_free);
        while slots.list.get(index).is_some_and(Option::is_some) {
            index += 1;
        }
        if index >= slots.limit {
            return Err(Errno::EMFILE);
        }
        if slots.list.len() <= index {
            slots.list.resize(index + 1, None);
        }
        slots.list[index] = Some(Slot {
            open,
            close_on_exec,
        });
        if min <= slots.first_free {
            slots.first_free = index + 1;
        }
        i32::try_from(index).map_err(|_| Errno::EMFILE)
    }
    /// dup2 and dup3: puts `open` exactly at `fd`; answers what was there, to be
    /// dropped outside the lock.
    pub fn replace(
        &self,
        fd: i32,
        open: Arc<OpenFile>,
        close_on_exec: bool,
    ) -> Result<Option<Arc<OpenFile>>> {
        let mut slots = self.slots.lock();
        let limit = slots.limit;
        let index = usize::try_from(fd)
            .ok()
            .filter(|index| *index < limit)
            .ok_or(Errno::EBADF)?;
        if slots.list.len() <= index {
            slots.list.resize(index + 1, None);
        }
        let old = slots.list[index].replace(Slot {
            open,
            close_on_exec,
        });
        Ok(old.map(|slot| slot.open))
    }
    /// Frees `fd`; the caller drops the answer, which may release the file. EBADF.
    pub fn remove(&self, fd: i32) -> Result<Arc<OpenFile>> {
        let mut slots = self.slots.lock();
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let slot = slots
            .list
            .get_mut(index)
            .and_then(Option::take)
            .ok_or(Errno::EBADF)?;
        slots.first_free = slots.first_free.min(index);
        Ok(slot.open)
    }
    /// FD_CLOEXEC of `fd`. EBADF.
    pub fn close_on_exec(&self, fd: i32) -> Result<bool> {
        let slots = self.slots.lock();
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        slots
            .list
            .get(index)
            .and_then(Option::as_ref)
            .map(|slot| slot.close_on_exec)
            .ok_or(Errno::EBADF)
    }
    /// Sets FD_CLOEXEC. EBADF.
    pub fn set_close_on_exec(&self, fd: i32, value: bool) -> Result<()> {
        let mut slots = self.slots.lock();
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let slot = slots
            .list
            .get_mut(index)
            .and_then(Option::as_mut)
            .ok_or(Errno::EBADF)?;
        slot.close_on_exec = value;
        Ok(())
    }
    /// All descriptors in use, ascending.
    pub fn descriptors(&self) -> Vec<i32> {
        let slots = self.slots.lock();
        (0i32..)
            .zip(slots.list.iter())
            .filter(|(_, slot)| slot.is_some())
            .map(|(fd, _)| fd)
            .collect()
    }
    /// Takes everything out, to be dropped outside the lock (exit, tests).
    pub fn clear(&self) -> Vec<Arc<OpenFile>> {
        let mut slots = self.slots.lock();
        slots.first_free = 0;
        core::mem::take(&mut slots.list)
            .into_iter()
            .flatten()
            .map(|slot| slot.open)
            .collect()
    }
}
