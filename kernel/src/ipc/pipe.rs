//! pipe(7) and named FIFOs.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events, open};
use crate::fs::stat::{Stat, mode};
use crate::ipc::anonymous::{self, Home};
use crate::ipc::channel::{Channel, Files, ReadMode};
use crate::ipc::ioctl;
use crate::mm::io::{Reader, Writer};
use crate::sched::notify::Notifier;

/// Writes up to this size are never torn or mixed (`limits.h`).
pub const PIPE_BUF: usize = 4096;
/// What a pipe holds at first.
const DEFAULT_SIZE: usize = 65_536;
/// What an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`).
const MAX_SIZE: usize = 1_048_576;

/// The open ends of a pipe, and how often each side was opened at all.
#[derive(Default)]
struct Ends {
    readers: usize,
    writers: usize,
    /// Ends of a FIFO that was opened O_RDWR.
    both: usize,
    readers_ever: u64,
    writers_ever: u64,
}

/// The object behind a pipe or a FIFO.
pub struct Pipe {
    channel: Channel,
    ends: Lock<Ends>,
    /// Hears IN and HUP.
    to_readers: Notifier,
    /// Hears OUT and ERR.
    to_writers: Notifier,
    inode: u64,
}

/// Whether open(2) has to wait: `open` is a FIFO whose other side nobody has opened.
pub fn waits_for_partner(open: &OpenFile) -> bool {
    let end = open.file.as_any().downcast_ref::<PipeEnd>();
    !open.nonblocking() && end.is_some_and(|end| !end.has_partner())
}

/// One open end: a file.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// `writers_ever` when this end was opened, 0 if there was a writer then: without
    /// any writer so far, a FIFO does not hang up.
    writers_before: u64,
    /// The same for readers.
    readers_before: u64,
}

impl Pipe {
    /// A pipe without ends: what the inode of a FIFO holds.
    pub fn new() -> Arc<Self> {
        let channel = Channel::new(DEFAULT_SIZE, PIPE_BUF);
        channel.close_writer();
        channel.refuse();
        Arc::new(Self {
            channel,
            ends: Lock::new(Ends::default()),
            to_readers: Notifier::new(),
            to_writers: Notifier::new(),
            inode: anonymous::next_inode(),
        })
    }
    /// A reading and a writing end of a new pipe.
    pub fn pair() -> (Arc<PipeEnd>, Arc<PipeEnd>) {
        let pipe = Self::new();
        (pipe.end(true, false), pipe.end(false, true))
    }
    /// Opens a FIFO with open(2) flags. The call may have to wait ([`waits_for_partner`]);
    /// the end's notifier tells when to look again.
    /// ENXIO for O_WRONLY | O_NONBLOCK without a reader.
    pub fn open(self: &Arc<Self>, flags: u32) -> Result<Arc<PipeEnd>> {
        let access = flags & open::ACCMODE;
        let (reads, writes) = (access != open::WRONLY, access != open::RDONLY);
        if !reads && flags & open::NONBLOCK != 0 && self.ends.lock().readers == 0 {
            return Err(Errno::ENXIO);
        }
        Ok(self.end(reads, writes))
    }
    fn end(self: &Arc<Self>, reads: bool, writes: bool) -> Arc<PipeEnd> {
        let (readers_before, writers_before) = {
            let mut ends = self.ends.lock();
            let before = (
                if ends.readers > 0 {
                    0
                } else {
                    ends.readers_ever
                },
                if ends.writers > 0 {
                    0
                } else {
                    ends.writers_ever
                },
            );
            ends.readers += usize::from(reads);
            ends.writers += usize::from(writes);
            ends.both += usize::from(reads && writes);
            ends.readers_ever += u64::from(reads);
            ends.writers_ever += u64::from(writes);
            before
        };
        self.channel.reopen(writes, reads);
        // Whoever opens a FIFO may be waiting for the other side to be opened.
        if reads {
            self.tell_writers(events::OUT | events::WRNORM);
        }
        if writes {
            self.to_readers.notify(events::OUT);
        }
        Arc::new(PipeEnd {
            pipe: self.clone(),
            reads,
            writes,
            writers_before,
            readers_before,
        })
    }
    fn tell_writers(&self, news: u32) {
        self.to_writers.notify(news);
        if self.ends.lock().both > 0 {
            self.to_readers.notify(news);
        }
    }
}

impl PipeEnd {
    /// The other side of a FIFO is open, or was since this end was opened: open(2)
    /// need not wait.
    pub fn has_partner(&self) -> bool {
        let ends = self.pipe.ends.lock();
        let writer_came = ends.writers > 0 || ends.writers_ever > self.writers_before;
        (self.reads && (self.writes || writer_came))
            || (self.writes && (ends.readers > 0 || ends.readers_ever > self.readers_before))
    }
    /// Whether both ends belong to one pipe.
    pub fn is_other_end_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pipe, &other.pipe)
    }
    /// What a read would give, which stays inside. EAGAIN while nothing is there.
    pub fn peek(&self, out: &mut Writer<'_>) -> Result<usize> {
        let mode = ReadMode {
            peek: true,
            discard: false,
        };
        let moved = self.pipe.channel.read(out, mode, &mut Files::new())?;
        Ok(moved.bytes)
    }
    /// Forgets the first `count` bytes, which were looked at.
    pub fn skip(&self, count: usize) {
        let announce = self.pipe.channel.skip(count);
        if announce {
            self.pipe.tell_writers(events::OUT | events::WRNORM);
        }
    }
    /// Bytes that a write could leave now. EPIPE if nobody will read.
    pub fn room(&self) -> Result<usize> {
        let channel = &self.pipe.channel;
        if channel.reader_closed() {
            return Err(Errno::EPIPE);
        }
        Ok(channel.limit().saturating_sub(channel.len()))
    }
    /// F_GETPIPE_SZ.
    pub fn size(&self) -> usize {
        self.pipe.channel.limit()
    }
    /// F_SETPIPE_SZ: rounds up to a power of two of at least a page; answers the new
    /// size. EBUSY if more is inside, EPERM above the limit, EINVAL.
    pub fn set_size(&self, wanted: usize) -> Result<usize> {
        if wanted > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = wanted.next_power_of_two().max(PIPE_BUF);
        if size > MAX_SIZE {
            return Err(Errno::EPERM);
        }
        if self.pipe.channel.len() > size {
            return Err(Errno::EBUSY);
        }
        let was_ready = self.pipe.channel.writable();
        self.pipe.channel.set_limit(size, PIPE_BUF);
        if !was_ready && self.pipe.channel.writable() {
            self.pipe.tell_writers(events::OUT | events::WRNORM);
        }
        Ok(size)
    }
}

impl File for PipeEnd {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        if !self.reads {
            return Err(Errno::EBADF);
        }
        let moved = self
            .pipe
            .channel
            .read(out, ReadMode::default(), &mut Files::new())?;
        if moved.announce {
            self.pipe.tell_writers(events::OUT | events::WRNORM);
        }
        Ok(moved.bytes)
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        if !self.writes {
            return Err(Errno::EBADF);
        }
        let moved = self.pipe.channel.write(data, PIPE_BUF, &mut Files::new())?;
        if moved.announce {
            self.pipe.to_readers.notify(events::IN | events::RDNORM);
        }
        Ok(moved.bytes)
    }
    fn poll(&self) -> u32 {
        let channel = &self.pipe.channel;
        let ends = self.pipe.ends.lock();
        let mut ready = 0;
        if self.reads {
            if !channel.is_empty() {
                ready |= events::IN | events::RDNORM;
            }
            if ends.writers == 0 && ends.writers_ever > self.writers_before {
                ready |= events::HUP;
            }
        }
        if self.writes {
            if channel.writable() {
                ready |= events::OUT | events::WRNORM;
            }
            if ends.readers == 0 {
                ready |= events::ERR;
            }
        }
        ready
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(if self.reads {
            &self.pipe.to_readers
        } else {
            &self.pipe.to_writers
        })
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::attributes(
            Home::Pipes,
            self.pipe.inode,
            mode::FIFO | 0o600,
        ))
    }
    fn ioctl(&self, _open: &OpenFile, request: u32, argument: u64) -> Result<usize> {
        match request {
            ioctl::FIONREAD => ioctl::answer(argument, self.pipe.channel.len()),
            _ => Err(Errno::ENOTTY),
        }
    }
    fn path(&self) -> String {
        format!("pipe:[{}]", self.pipe.inode)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let (no_reader, no_writer) = {
            let mut ends = self.pipe.ends.lock();
            ends.readers -= usize::from(self.reads);
            ends.writers -= usize::from(self.writes);
            ends.both -= usize::from(self.reads && self.writes);
            (
                self.reads && ends.readers == 0,
                self.writes && ends.writers == 0,
            )
        };
        if no_writer {
            self.pipe.channel.close_writer();
            self.pipe
                .to_readers
                .notify(events::IN | events::RDNORM | events::HUP);
        }
        if no_reader {
            // With writers left, what is inside stays for a FIFO's next reader.
            self.pipe.channel.refuse();
            self.pipe
                .to_writers
                .notify(events::OUT | events::WRNORM | events::ERR);
        }
        if no_reader && no_writer || self.pipe.is_closed() {
            self.pipe.channel.close_reader();
        }
    }
}

impl Pipe {
    fn is_closed(&self) -> bool {
        let ends = self.ends.lock();
        ends.readers == 0 && ends.writers == 0
    }
}

#[cfg(test)]
mod tests;
