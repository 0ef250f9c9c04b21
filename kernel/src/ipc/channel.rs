//! One direction of bytes between two parties, with end of file, broken pipe and
//! attached files. Pipes have one, connections two.
//!
//! A channel announces nothing itself: it answers what to announce, because only
//! its owner knows who listens.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::OpenFile;
use crate::ipc::ring::ByteRing;
use crate::mm::io::{Reader, Writer};

/// Files that travel with bytes (SCM_RIGHTS).
pub type Files = Vec<Arc<OpenFile>>;

/// Files attached to the bytes `start..end`, counted since the channel was made.
struct Attachment {
    start: u64,
    end: u64,
    files: Files,
}

struct State {
    ring: ByteRing,
    /// Bytes read so far: the number of the ring's first byte.
    taken: u64,
    attachments: VecDeque<Attachment>,
    /// Room from which on the writer counts as ready.
    ready_room: usize,
    no_more_writes: bool,
    no_more_reads: bool,
}

/// See the module's description.
pub struct Channel {
    state: Lock<State>,
}

/// A transfer that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many bytes.
    pub bytes: usize,
    /// The other party became ready by it, or got more to be ready for.
    pub announce: bool,
}

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadMode {
    /// MSG_PEEK: bytes and files stay.
    pub peek: bool,
    /// The bytes are dropped instead of copied (MSG_TRUNC of TCP).
    pub discard: bool,
}

impl Channel {
    /// An empty channel for at most `limit` bytes, whose writer counts as ready
    /// while there is room for `ready_room`.
    pub const fn new(limit: usize, ready_room: usize) -> Self {
        Self {
            state: Lock::new(State {
                ring: ByteRing::new(limit),
                taken: 0,
                attachments: VecDeque::new(),
                ready_room,
                no_more_writes: false,
                no_more_reads: false,
            }),
        }
    }
    /// Reads into `out`. Zero bytes at end of file; EAGAIN while empty; EFAULT.
    /// A read ends behind bytes that had files attached, which go to `files`.
    pub fn read(&self, out: &mut Writer<'_>, mode: ReadMode, files: &mut Files) -> Result<Moved> {
        let mut state = self.state.lock();
        if state.ring.is_empty() {
            let ended = state.no_more_writes || state.no_more_reads || out.remaining() == 0;
            return if ended {
                Ok(Moved {
                    bytes: 0,
                    announce: false,
                })
            } else {
                Err(Errno::EAGAIN)
            };
        }
        let start = state.taken;
        let max = match state.attachments.front() {
            Some(first) => (first.end - start) as usize,
            None => usize::MAX,
        };
        let bytes = if mode.discard {
            out.remaining().min(max).min(state.ring.len())
        } else {
            state.ring.peek(0, out, max)?
        };
        let was_ready = state.writable();
        let reached = state
            .attachments
            .front()
            .is_some_and(|first| bytes > 0 && first.start < start + bytes as u64);
        if mode.peek {
            if let (true, Some(first)) = (reached, state.attachments.front()) {
                files.extend(first.files.iter().cloned());
            }
            return Ok(Moved {
                bytes,
                announce: false,
            });
        }
        if reached && let Some(mut first) = state.attachments.pop_front() {
            files.append(&mut first.files);
        }
        state.ring.skip(bytes);
        state.taken += bytes as u64;
        Ok(Moved {
            bytes,
            announce: !was_ready && state.writable(),
        })
    }
    /// Writes from `data`, all or nothing up to `atomic` bytes, else what fits.
    /// `files` are attached to the bytes written and taken only then.
    /// EPIPE, EAGAIN without room, EFAULT, ENOMEM.
    pub fn write(&self, data: &mut Reader<'_>, atomic: usize, files: &mut Files) -> Result<Moved> {
        let mut state = self.state.lock();
        if state.no_more_reads || state.no_more_writes {
            return Err(Errno::EPIPE);
        }
        let wanted = data.remaining();
        if wanted == 0 {
            return Ok(Moved {
                bytes: 0,
                announce: false,
            });
        }
        let room = state.ring.room();
        if room == 0 || (wanted <= atomic && room < wanted) {
            return Err(Errno::EAGAIN);
        }
        let start = state.taken + state.ring.len() as u64;
        let bytes = state.ring.push(data)?;
        if bytes > 0 && !files.is_empty() {
            let end = start + bytes as u64;
            state.attachments.push_back(Attachment {
                start,
                end,
                files: core::mem::take(files),
            });
        }
        Ok(Moved {
            bytes,
            announce: bytes > 0,
        })
    }
    /// Forgets the first `count` bytes, to which no files are attached. True if the
    /// writer became ready by it.
    pub fn skip(&self, count: usize) -> bool {
        let mut state = self.state.lock();
        let was_ready = state.writable();
        let count = count.min(state.ring.len());
        state.ring.skip(count);
        state.taken += count as u64;
        !was_ready && state.writable()
    }
    /// No more bytes will come: the reader finds end of file behind what is inside.
    /// True the first time.
    pub fn close_writer(&self) -> bool {
        !core::mem::replace(&mut self.state.lock().no_more_writes, true)
    }
    /// Refuses further writes; what is inside can still be read. True the first time.
    pub fn refuse(&self) -> bool {
        !core::mem::replace(&mut self.state.lock().no_more_reads, true)
    }
    /// Nobody will read any more: refuses further writes and drops what is inside.
    /// Answers how many bytes were unread.
    pub fn close_reader(&self) -> usize {
        let mut state = self.state.lock();
        state.no_more_reads = true;
        let unread = state.ring.len();
        state.taken += unread as u64;
        let limit = state.ring.limit();
        state.ring = ByteRing::new(limit);
        let orphans = core::mem::take(&mut state.attachments);
        // Dropping a file can close another end of this very channel.
        drop(state);
        drop(orphans);
        unread
    }
    /// Takes back `close_writer` or `close_reader` (a FIFO that is opened again).
    pub fn reopen(&self, writer: bool, reader: bool) {
        let mut state = self.state.lock();
        state.no_more_writes &= !writer;
        state.no_more_reads &= !reader;
    }
    /// Bytes inside.
    pub fn len(&self) -> usize {
        self.state.lock().ring.len()
    }
    /// Nothing inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Most bytes that it may hold.
    pub fn limit(&self) -> usize {
        self.state.lock().ring.limit()
    }
    /// Changes the limit and the room from which on the writer counts as ready.
    pub fn set_limit(&self, limit: usize, ready_room: usize) {
        let mut state = self.state.lock();
        state.ring.set_limit(limit);
        state.ready_room = ready_room;
    }
    /// There is room enough that a writer counts as ready (whether or not anybody reads).
    pub fn writable(&self) -> bool {
        self.state.lock().writable()
    }
    /// The writer has closed.
    pub fn writer_closed(&self) -> bool {
        self.state.lock().no_more_writes
    }
    /// The reader has closed.
    pub fn reader_closed(&self) -> bool {
        self.state.lock().no_more_reads
    }
}

impl State {
    fn writable(&self) -> bool {
        self.ring.room() >= self.ready_room.max(1)
    }
}
