//! Bytes between pipes and other files without a way through the program: splice(2),
//! tee(2), vmsplice(2).
//!
//! They are copied, one step at a time. A step takes nothing out of a pipe that the
//! other side has not accepted, and reads nothing for which a pipe has no room.

use alloc::sync::Arc;
use alloc::vec;

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::ipc::pipe::PipeEnd;
use crate::mm::io::{MAX_BYTES, Reader, Writer};
use crate::mm::user::{self, UserAddr};
use crate::sched::block::{Flow, Watch, park};
use crate::syscall::copy::{readable, writable};
use crate::syscall::transfer::{self, Buffers, SIGPIPE};

/// Bytes of one step.
const STEP: usize = 64 << 10;

const NONBLOCK: u32 = 2;
/// SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE, SPLICE_F_GIFT.
const FLAGS: u32 = 0xf;

/// Where a side that is no pipe is read or written.
#[derive(Clone, Copy)]
enum Place {
    /// At its position, or wherever a stream is.
    Position,
    /// At an offset that the program keeps.
    At(UserAddr, u64),
}

impl Place {
    fn of(pointer: UserAddr) -> Result<Self> {
        if pointer.is_null() {
            return Ok(Self::Position);
        }
        let raw: i64 = user::read(pointer)?;
        let offset = u64::try_from(raw).map_err(|_| Errno::EINVAL)?;
        Ok(Self::At(pointer, offset))
    }
    fn offset(self, open: &OpenFile) -> u64 {
        match self {
            Self::Position => *open.position.lock(),
            Self::At(_, offset) => offset,
        }
    }
    fn advance(&mut self, open: &OpenFile, count: usize) {
        match self {
            Self::Position => *open.position.lock() += count as u64,
            Self::At(_, offset) => *offset += count as u64,
        }
    }
    fn store(self) -> Result<()> {
        match self {
            Self::Position => Ok(()),
            Self::At(pointer, offset) => user::write(pointer, &offset),
        }
    }
}

/// What a step waits for.
enum Stuck {
    Input,
    Output,
    Failed(Errno),
}

/// Bytes on their way.
struct Splice {
    input: Arc<OpenFile>,
    output: Arc<OpenFile>,
    from: Place,
    to: Place,
    left: usize,
    done: usize,
    flags: u32,
    /// The bytes stay in the input (tee).
    keep: bool,
}

fn pipe_of(open: &OpenFile) -> Option<&PipeEnd> {
    open.file.as_any().downcast_ref()
}

fn stuck(error: Errno, side: Stuck) -> Stuck {
    if error == Errno::EAGAIN {
        side
    } else {
        Stuck::Failed(error)
    }
}

impl Splice {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let position = self.to.offset(&self.output);
        let mut reader = Reader::kernel(bytes);
        let count = self
            .output
            .file
            .write(&self.output, &mut reader, position)?;
        self.to.advance(&self.output, count);
        Ok(count)
    }
    /// Moves some bytes; 0 at the end of the input.
    fn step(&mut self) -> core::result::Result<usize, Stuck> {
        let mut most = self.left.min(STEP);
        if let Some(pipe) = pipe_of(&self.output) {
            most = most.min(pipe.room().map_err(Stuck::Failed)?);
            if most == 0 {
                return Err(Stuck::Output);
            }
        }
        let mut buffer = vec![0; most];
        let moved = match pipe_of(&self.input.clone()) {
            Some(pipe) => {
                let peeked = pipe.peek(&mut Writer::kernel(&mut buffer));
                let count = peeked.map_err(|error| stuck(error, Stuck::Input))?;
                if count == 0 {
                    return Ok(0);
                }
                let written = self.write(&buffer[..count]);
                let written = written.map_err(|error| stuck(error, Stuck::Output))?;
                if !self.keep {
                    pipe.skip(written);
                }
                written
            }
            None => {
                let position = self.from.offset(&self.input);
                let mut writer = Writer::kernel(&mut buffer);
                let read = self.input.file.read(&self.input, &mut writer, position);
                let count = read.map_err(|error| stuck(error, Stuck::Input))?;
                self.from.advance(&self.input, count);
                let written = self.write(&buffer[..count]);
                written.map_err(|error| stuck(error, Stuck::Output))?
            }
        };
        self.left -= moved;
        self.done += moved;
        Ok(moved)
    }
    /// Moves what goes without waiting. EAGAIN: has to wait, and may.
    fn run(&mut self) -> Result<()> {
        while self.left > 0 {
            match self.step() {
                Ok(0) => break,
                // What was looked at once is not looked at twice.
                Ok(_) if self.keep => break,
                Ok(_) => {}
                Err(Stuck::Failed(error)) => return Err(error),
                Err(_) if self.done > 0 => break,
                Err(Stuck::Input) => return Err(self.wait_for(&self.input)),
                Err(Stuck::Output) => return Err(self.wait_for(&self.output)),
            }
        }
        Ok(())
    }
    /// ERESTARTSYS if the call may wait for `open`, else EAGAIN.
    fn wait_for(&self, open: &OpenFile) -> Errno {
        let impatient = open.nonblocking() || pipe_of(open).is_some() && self.flags & NONBLOCK != 0;
        if impatient || open.file.notifier().is_none() {
            Errno::EAGAIN
        } else {
            Errno::ERESTARTSYS
        }
    }
    fn finish(&self, outcome: Result<()>) -> Result<usize> {
        if self.done > 0 {
            self.from.store()?;
            self.to.store()?;
            return Ok(self.done);
        }
        outcome.map(|()| 0).inspect_err(|&error| {
            if error == Errno::EPIPE {
                crate::signal::send_to_current(SIGPIPE);
            }
        })
    }
    fn start(mut self) -> Flow {
        match self.run() {
            Err(Errno::ERESTARTSYS) => {}
            outcome => return Flow::Done(self.finish(outcome)),
        }
        Flow::blocked(async move {
            let _watches = [Watch::new(&self.input), Watch::new(&self.output)];
            let outcome = loop {
                match self.run() {
                    Err(Errno::ERESTARTSYS) => {
                        if let Err(error) = park(None).await {
                            break Err(error);
                        }
                    }
                    outcome => break outcome,
                }
            };
            self.finish(outcome)
        })
    }
}

fn sides(input: i32, output: i32, flags: u32) -> Result<(Arc<OpenFile>, Arc<OpenFile>)> {
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let sides = (readable(input)?, writable(output)?);
    match (pipe_of(&sides.0), pipe_of(&sides.1)) {
        (Some(one), Some(other)) if one.is_other_end_of(other) => Err(Errno::EINVAL),
        _ => Ok(sides),
    }
}

/// The place of a side: pipes have none, and only seekable files have offsets.
fn place(open: &OpenFile, pointer: UserAddr) -> Result<Place> {
    match (pipe_of(open), pointer.is_null()) {
        (Some(_), false) => Err(Errno::ESPIPE),
        (None, false) if !open.file.seekable() => Err(Errno::EINVAL),
        _ => Place::of(pointer),
    }
}

fn prepare(
    (input, from): (i32, UserAddr),
    (output, to): (i32, UserAddr),
    len: usize,
    flags: u32,
) -> Result<Splice> {
    let (input, output) = sides(input, output, flags)?;
    let (from, to) = (place(&input, from)?, place(&output, to)?);
    if pipe_of(&input).is_none() && pipe_of(&output).is_none() {
        return Err(Errno::EINVAL);
    }
    if pipe_of(&output).is_none() && output.flags() & open::APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Splice {
        input,
        output,
        from,
        to,
        left: len.min(MAX_BYTES),
        done: 0,
        flags,
        keep: false,
    })
}

/// splice(2).
pub fn splice(
    input: i32,
    from: UserAddr,
    output: i32,
    to: UserAddr,
    len: usize,
    flags: u32,
) -> Flow {
    if len == 0 {
        return Ok(0).into();
    }
    match prepare((input, from), (output, to), len, flags) {
        Ok(splice) => splice.start(),
        Err(error) => error.into(),
    }
}

/// tee(2).
pub fn tee(input: i32, output: i32, len: usize, flags: u32) -> Flow {
    let null = UserAddr::new(0);
    if len == 0 {
        return Ok(0).into();
    }
    match prepare((input, null), (output, null), len, flags) {
        Ok(splice) if pipe_of(&splice.input).is_some() && pipe_of(&splice.output).is_some() => {
            Splice {
                keep: true,
                ..splice
            }
            .start()
        }
        Ok(_) => Errno::EINVAL.into(),
        Err(error) => error.into(),
    }
}

/// vmsplice(2).
pub fn vmsplice(fd: i32, vector: UserAddr, count: usize, flags: u32) -> Flow {
    let prepared = transfer::current_file(fd).and_then(|open| {
        if flags & !FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        pipe_of(&open).ok_or(Errno::EBADF)?;
        let patient = !open.nonblocking() && flags & NONBLOCK == 0;
        Ok((open, Buffers::vector(vector, count)?, patient))
    });
    match prepared {
        Ok((open, buffers, patient)) => transfer::with_pipe(open, buffers, patient),
        Err(error) => error.into(),
    }
}
