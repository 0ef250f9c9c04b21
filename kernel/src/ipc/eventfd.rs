//! eventfd(2): a counter with readiness.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::ipc::anonymous::{self, Home};
use crate::mm::io::{Reader, Writer};
use crate::sched::notify::Notifier;

/// The counter never reaches this value by writing (`eventfd_write` blocks before).
const CEILING: u64 = u64::MAX;

/// An event counter.
pub struct EventFd {
    count: Lock<u64>,
    /// EFD_SEMAPHORE: reads take one instead of all.
    semaphore: bool,
    notifier: Notifier,
    inode: u64,
}

impl EventFd {
    /// A counter that starts at `count`.
    pub fn new(count: u32, semaphore: bool) -> Arc<Self> {
        Arc::new(Self {
            count: Lock::new(u64::from(count)),
            semaphore,
            notifier: Notifier::new(),
            inode: anonymous::next_inode(),
        })
    }
    /// Takes from the counter what a read answers. EAGAIN while it is zero.
    fn take(&self) -> Result<u64> {
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Errno::EAGAIN);
        }
        let value = if self.semaphore { 1 } else { *count };
        *count -= value;
        Ok(value)
    }
    /// Adds to the counter. EINVAL for the largest number, EAGAIN if it would overflow.
    fn add(&self, value: u64) -> Result<()> {
        if value == CEILING {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if CEILING - *count <= value {
            return Err(Errno::EAGAIN);
        }
        *count += value;
        Ok(())
    }
}

impl File for EventFd {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        if out.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let value = self.take()?;
        self.notifier.notify(events::OUT | events::WRNORM);
        let copied = out.put(&value.to_ne_bytes())?;
        // A read is one number, however large the buffer.
        out.limit(0);
        if copied == 8 {
            Ok(8)
        } else {
            Err(Errno::EFAULT)
        }
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        let mut bytes = [0; 8];
        if data.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        if data.take(&mut bytes)? < 8 {
            return Err(Errno::EFAULT);
        }
        data.limit(0);
        self.add(u64::from_ne_bytes(bytes))?;
        self.notifier.notify(events::IN | events::RDNORM);
        Ok(8)
    }
    fn poll(&self) -> u32 {
        let count = *self.count.lock();
        let mut ready = 0;
        if count > 0 {
            ready |= events::IN | events::RDNORM;
        }
        if count < CEILING - 1 {
            ready |= events::OUT | events::WRNORM;
        }
        if count == CEILING {
            ready |= events::ERR;
        }
        ready
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::attributes(Home::Anonymous, self.inode, 0o600))
    }
    fn path(&self) -> String {
        String::from("anon_inode:[eventfd]")
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::file::open;

    fn read(file: &Arc<OpenFile>) -> Result<u64> {
        let mut bytes = [0; 8];
        file.file.read(file, &mut Writer::kernel(&mut bytes), 0)?;
        Ok(u64::from_ne_bytes(bytes))
    }
    fn write(file: &Arc<OpenFile>, value: u64) -> Result<usize> {
        file.file
            .write(file, &mut Reader::kernel(&value.to_ne_bytes()), 0)
    }
    fn opened(count: u32, semaphore: bool) -> Arc<OpenFile> {
        OpenFile::new(EventFd::new(count, semaphore), open::RDWR)
    }

    #[test]
    fn a_read_takes_everything_written_so_far() {
        let file = opened(3, false);
        write(&file, 4).unwrap();
        assert_eq!(read(&file), Ok(7));
        assert_eq!(read(&file), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_semaphore_gives_one_at_a_time() {
        let file = opened(2, true);
        assert_eq!(
            (read(&file), read(&file), read(&file)),
            (Ok(1), Ok(1), Err(Errno::EAGAIN))
        );
    }

    #[test]
    fn a_write_that_would_overflow_waits() {
        let file = opened(0, false);
        assert_eq!(write(&file, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(write(&file, u64::MAX - 1), Ok(8));
        assert_eq!(file.file.poll() & (events::IN | events::OUT), events::IN);
        assert_eq!(write(&file, 1), Err(Errno::EAGAIN));
        assert_eq!(write(&file, 0), Ok(8));
        assert_eq!(read(&file), Ok(u64::MAX - 1));
        assert_eq!(write(&file, 1), Ok(8));
    }

    #[test]
    fn short_buffers_are_refused() {
        let file = opened(1, false);
        assert_eq!(
            file.file.read(&file, &mut Writer::kernel(&mut [0; 7]), 0),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            file.file.write(&file, &mut Reader::kernel(&[0; 7]), 0),
            Err(Errno::EINVAL)
        );
    }
}
