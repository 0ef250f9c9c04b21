//! Copies between two files inside the kernel: sendfile and copy_file_range.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::fs::stat::mode;
use crate::mm::io::{MAX_BYTES, Reader, Writer};
use crate::mm::user::{self, UserAddr};
use crate::sched::block::{self, Flow, Watch};
use crate::syscall::at;

/// Bytes that one step moves through memory of the kernel.
const STEP: usize = 64 << 10;
/// Bytes that one step hands over when the source lies in memory anyway.
const DIRECT_STEP: usize = 1 << 20;

/// A copy under way.
struct Copy {
    input: Arc<OpenFile>,
    output: Arc<OpenFile>,
    /// Where to read.
    from: u64,
    /// Where to write; `None`: at the position.
    to: Option<u64>,
    left: usize,
    done: usize,
    buffer: Vec<u8>,
}

impl Copy {
    /// Bytes of an image layer at the read position, if the file is nothing else.
    fn in_place(&self) -> Option<&'static [u8]> {
        let size = self.input.file.size();
        let start = self.input.file.layer_address()?;
        let len = size
            .checked_sub(self.from)
            .filter(|len| *len > 0)?
            .min(self.left.min(DIRECT_STEP) as u64);
        Some(spore_hal::direct::layer(start + self.from, len))
    }
    fn write(&self, bytes: &[u8]) -> Result<usize> {
        let open = &self.output;
        let mut reader = Reader::kernel(bytes);
        if let Some(to) = self.to {
            return open.file.write(open, &mut reader, to);
        }
        if !open.file.seekable() {
            return open.file.write(open, &mut reader, 0);
        }
        let append = open.flags() & open::APPEND != 0;
        let position = if append {
            open.file.size()
        } else {
            *open.position.lock()
        };
        let written = open.file.write(open, &mut reader, position)?;
        *open.position.lock() = position + written as u64;
        Ok(written)
    }
    /// Moves one piece; answers its length, 0 at the end of the input.
    fn step(&mut self) -> Result<usize> {
        let moved = if let Some(bytes) = self.in_place() {
            self.write(bytes)?
        } else {
            let mut buffer = core::mem::take(&mut self.buffer);
            buffer.resize(STEP.min(self.left), 0);
            let read =
                self.input
                    .file
                    .read(&self.input, &mut Writer::kernel(&mut buffer), self.from);
            let moved = match read {
                Ok(0) => Ok(0),
                Ok(len) => self.write(&buffer[..len]),
                Err(error) => Err(error),
            };
            self.buffer = buffer;
            moved?
        };
        self.from += moved as u64;
        self.to = self.to.map(|to| to + moved as u64);
        self.left -= moved;
        self.done += moved;
        Ok(moved)
    }
    /// Moves as much as goes without waiting. EAGAIN when the output is full.
    fn run(&mut self) -> Result<()> {
        while self.left > 0 {
            if self.step()? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Where the read position of a copy is kept.
enum Position {
    /// In the open file.
    File,
    /// In user memory.
    User(UserAddr),
}

impl Position {
    fn of(pointer: UserAddr) -> Self {
        if pointer.is_null() {
            Self::File
        } else {
            Self::User(pointer)
        }
    }
    fn get(&self, open: &OpenFile) -> Result<u64> {
        match self {
            Self::File => Ok(*open.position.lock()),
            Self::User(addr) => {
                let raw: i64 = user::read(*addr)?;
                u64::try_from(raw).map_err(|_| Errno::EINVAL)
            }
        }
    }
    fn set(&self, open: &OpenFile, value: u64) -> Result<()> {
        match self {
            Self::File => {
                *open.position.lock() = value;
                Ok(())
            }
            Self::User(addr) => user::write(*addr, &value),
        }
    }
}

pub(super) fn readable(fd: i32) -> Result<Arc<OpenFile>> {
    at::file(fd).and_then(|open| {
        if open.readable() {
            Ok(open)
        } else {
            Err(Errno::EBADF)
        }
    })
}

pub(super) fn writable(fd: i32) -> Result<Arc<OpenFile>> {
    at::file(fd).and_then(|open| {
        if open.writable() {
            Ok(open)
        } else {
            Err(Errno::EBADF)
        }
    })
}

/// What a copy that stopped answers, its read position stored.
fn finish(copy: &Copy, position: &Position, outcome: Result<()>) -> Result<usize> {
    if copy.done > 0 {
        position.set(&copy.input, copy.from)?;
        return Ok(copy.done);
    }
    outcome.map(|()| 0).inspect_err(|&error| {
        if error == Errno::EPIPE {
            crate::signal::send_to_current(crate::syscall::transfer::SIGPIPE);
        }
    })
}

/// sendfile(2). The input must be seekable: EINVAL.
pub fn sendfile(output: i32, input: i32, offset: UserAddr, count: usize) -> Flow {
    match prepare_send(output, input, offset, count) {
        Ok((copy, position)) => send(copy, position),
        Err(error) => error.into(),
    }
}

fn prepare_send(
    output: i32,
    input: i32,
    offset: UserAddr,
    count: usize,
) -> Result<(Copy, Position)> {
    let (input, output) = (readable(input)?, writable(output)?);
    if !input.file.seekable() || output.flags() & open::APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let position = Position::of(offset);
    let from = position.get(&input)?;
    let left = count.min(MAX_BYTES);
    Ok((
        Copy {
            input,
            output,
            from,
            to: None,
            left,
            done: 0,
            buffer: Vec::new(),
        },
        position,
    ))
}

fn send(mut copy: Copy, position: Position) -> Flow {
    let outcome = copy.run();
    let patient = !copy.output.nonblocking() && copy.output.file.notifier().is_some();
    if outcome != Err(Errno::EAGAIN) || !patient {
        return Flow::Done(finish(&copy, &position, outcome));
    }
    Flow::blocked(async move {
        let _watch = Watch::new(&copy.output);
        let outcome = loop {
            match copy.run() {
                Err(Errno::EAGAIN) => {
                    if let Err(error) = block::park(None).await {
                        break Err(error);
                    }
                }
                outcome => break outcome,
            }
        };
        finish(&copy, &position, outcome)
    })
}

fn require_regular(open: &OpenFile) -> Result<()> {
    match open.file.stat()?.mode & mode::TYPE {
        mode::FILE => Ok(()),
        mode::DIRECTORY => Err(Errno::EISDIR),
        _ => Err(Errno::EINVAL),
    }
}

/// copy_file_range(2). EINVAL for overlapping ranges of one file.
pub fn copy_file_range(
    input: i32,
    from: UserAddr,
    output: i32,
    to: UserAddr,
    count: usize,
    flags: u32,
) -> Result<usize> {
    let (input, output) = (readable(input)?, writable(output)?);
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    require_regular(&input)?;
    require_regular(&output)?;
    if output.flags() & open::APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let (source, target) = (Position::of(from), Position::of(to));
    let (from, to) = (source.get(&input)?, target.get(&output)?);
    let left = count.min(MAX_BYTES);
    let (left_stat, right_stat) = (input.file.stat()?, output.file.stat()?);
    let same = left_stat.device == right_stat.device && left_stat.inode == right_stat.inode;
    if same && from < to.saturating_add(left as u64) && to < from.saturating_add(left as u64) {
        return Err(Errno::EINVAL);
    }
    let mut copy = Copy {
        input,
        output,
        from,
        to: Some(to),
        left,
        done: 0,
        buffer: vec![0; STEP.min(left)],
    };
    let outcome = copy.run();
    if copy.done > 0 {
        target.set(&copy.output, to + copy.done as u64)?;
    }
    finish(&copy, &source, outcome)
}
