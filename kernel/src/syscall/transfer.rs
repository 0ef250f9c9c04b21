//! read, write and their variants, for every kind of file.
//!
//! The path that does not block allocates nothing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spore_abi::layout::USER_END;

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::mm::io::{self, MAX_BYTES, MAX_PIECES, Piece, Reader, Writer};
use crate::mm::user::{self, UserAddr};
use crate::sched;
use crate::sched::block::{self, Flow, Watch};

/// Signal of a write that nobody can read.
pub const SIGPIPE: u32 = 13;
/// Pieces that need no memory of their own.
const FEW: usize = 8;

/// The user memory of one call.
pub(super) enum Buffers {
    One(Piece),
    Few([Piece; FEW], usize),
    Many(Vec<Piece>),
}

/// EFAULT if the memory cannot be the program's, whether or not anything is copied.
fn check(piece: &Piece) -> Result<()> {
    let end = piece.addr.raw().checked_add(piece.len as u64);
    if end.is_some_and(|end| end <= USER_END) {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

fn piece(addr: UserAddr, len: usize) -> Result<Piece> {
    let piece = Piece { addr, len };
    check(&piece).map(|()| piece)
}

impl Buffers {
    pub(super) fn one(addr: UserAddr, len: usize) -> Self {
        let len = len.min(MAX_BYTES);
        Self::One(Piece { addr, len })
    }
    /// As [`Buffers::one`], but EFAULT for memory that cannot be the program's.
    fn checked(addr: UserAddr, len: usize) -> Result<Self> {
        piece(addr, len.min(MAX_BYTES)).map(Self::One)
    }
    /// Reads an iovec list. EINVAL, EFAULT.
    pub(super) fn vector(addr: UserAddr, count: usize) -> Result<Self> {
        if count > FEW {
            let pieces = io::read_iovecs(addr, count.min(MAX_PIECES + 1))?;
            return pieces
                .iter()
                .try_for_each(check)
                .map(|()| Self::Many(pieces));
        }
        let mut pieces = [Piece {
            addr: UserAddr::new(0),
            len: 0,
        }; FEW];
        let mut sum = 0;
        for (index, piece) in (0u64..).zip(pieces.iter_mut().take(count)) {
            let [base, len]: [u64; 2] = user::read(addr.wrapping_add(16 * index))?;
            let len = usize::try_from(len)
                .ok()
                .filter(|len| *len <= isize::MAX as usize)
                .ok_or(Errno::EINVAL)?;
            let len = len.min(MAX_BYTES - sum);
            sum += len;
            *piece = self::piece(UserAddr::new(base), len)?;
        }
        Ok(Self::Few(pieces, count))
    }
    fn pieces(&self) -> &[Piece] {
        match self {
            Self::One(piece) => core::slice::from_ref(piece),
            Self::Few(pieces, count) => &pieces[..*count],
            Self::Many(pieces) => pieces,
        }
    }
    pub(super) fn total(&self) -> usize {
        self.pieces().iter().map(|piece| piece.len).sum()
    }
    pub(super) fn writer(&self) -> Writer<'_> {
        match self {
            Self::One(piece) => Writer::user(piece.addr, piece.len),
            _ => Writer::pieces(self.pieces()),
        }
    }
    /// The bytes behind the first `skip`.
    pub(super) fn reader(&self, skip: usize) -> Reader<'_> {
        let mut reader = match self {
            Self::One(piece) => Reader::user(piece.addr, piece.len),
            _ => Reader::pieces(self.pieces()),
        };
        let mut left = skip;
        while left > 0 {
            let Some((_, len)) = reader.chunk() else {
                break;
            };
            let step = len.min(left);
            reader.advance(step);
            left -= step;
        }
        reader
    }
}

/// Where a transfer takes place.
#[derive(Clone, Copy)]
enum At {
    /// The position of the open file, which moves on.
    Position,
    /// This offset; the position stays.
    Offset(u64),
}

pub(super) fn current_file(fd: i32) -> Result<Arc<OpenFile>> {
    sched::current().process().descriptors.get(fd)
}

fn offset(raw: i64) -> Result<At> {
    u64::try_from(raw)
        .map(At::Offset)
        .map_err(|_| Errno::EINVAL)
}

fn read_once(open: &OpenFile, buffers: &Buffers, at: At) -> Result<usize> {
    let mut writer = buffers.writer();
    if !open.file.seekable() {
        return match at {
            At::Position => open.file.read(open, &mut writer, 0),
            At::Offset(_) => Err(Errno::ESPIPE),
        };
    }
    match at {
        At::Offset(offset) => open.file.read(open, &mut writer, offset),
        At::Position => {
            let position = *open.position.lock();
            let done = open.file.read(open, &mut writer, position)?;
            *open.position.lock() = position + done as u64;
            Ok(done)
        }
    }
}

fn write_once(open: &OpenFile, buffers: &Buffers, skip: usize, at: At) -> Result<usize> {
    let mut reader = buffers.reader(skip);
    if !open.file.seekable() {
        return match at {
            At::Position => open.file.write(open, &mut reader, 0),
            At::Offset(_) => Err(Errno::ESPIPE),
        };
    }
    let append = open.flags() & open::APPEND != 0;
    let position = match at {
        _ if append => open.file.size(),
        At::Offset(offset) => offset,
        At::Position => *open.position.lock(),
    };
    let done = open.file.write(open, &mut reader, position)?;
    if let At::Position = at {
        *open.position.lock() = position + done as u64;
    }
    Ok(done)
}

fn deadline(open: &OpenFile, writing: bool) -> Option<u64> {
    open.file
        .patience(writing)
        .map(|wait| spore_hal::time::monotonic().saturating_add(wait))
}

fn start_read(fd: i32, buffers: Result<Buffers>, at: At) -> Flow {
    let open = match current_file(fd) {
        Ok(open) if open.readable() => open,
        Ok(_) => return Errno::EBADF.into(),
        Err(error) => return error.into(),
    };
    let buffers = match buffers {
        Ok(buffers) => buffers,
        Err(error) => return error.into(),
    };
    let patient = !open.nonblocking();
    read_from(open, buffers, at, patient)
}

/// Reads, and waits for something to read if the caller is `patient`.
fn read_from(open: Arc<OpenFile>, buffers: Buffers, at: At, patient: bool) -> Flow {
    match read_once(&open, &buffers, at) {
        Err(Errno::EAGAIN) if patient && open.file.notifier().is_some() => {
            let deadline = deadline(&open, false);
            block::retry(open, false, deadline, move |open| {
                read_once(open, &buffers, at)
            })
        }
        result => Flow::Done(result),
    }
}

/// A write that fails because nobody reads also raises SIGPIPE.
fn broken(error: Errno) -> Errno {
    if error == Errno::EPIPE {
        crate::signal::send_to_current(SIGPIPE);
    }
    error
}

fn start_write(fd: i32, buffers: Result<Buffers>, at: At) -> Flow {
    let open = match current_file(fd) {
        Ok(open) if open.writable() => open,
        Ok(_) => return Errno::EBADF.into(),
        Err(error) => return error.into(),
    };
    let buffers = match buffers {
        Ok(buffers) => buffers,
        Err(error) => return error.into(),
    };
    let patient = !open.nonblocking();
    write_to(open, buffers, at, patient)
}

/// Writes, and waits for room if the caller is `patient`.
fn write_to(open: Arc<OpenFile>, buffers: Buffers, at: At, patient: bool) -> Flow {
    let patient = patient && open.file.notifier().is_some();
    match write_once(&open, &buffers, 0, at) {
        Err(Errno::EAGAIN) if patient => write_rest(open, buffers, 0),
        Ok(done) if patient && done > 0 && done < buffers.total() => {
            write_rest(open, buffers, done)
        }
        Err(error) => broken(error).into(),
        result => Flow::Done(result),
    }
}

/// A blocking write to a stream goes on until everything is written.
fn write_rest(open: Arc<OpenFile>, buffers: Buffers, done: usize) -> Flow {
    let deadline = deadline(&open, true);
    Flow::blocked(async move {
        let _watch = Watch::new(&open);
        let total = buffers.total();
        let mut done = done;
        let failure = loop {
            match write_once(&open, &buffers, done, At::Position) {
                Ok(0) => break Errno::EAGAIN,
                Ok(written) => {
                    done += written;
                    if done >= total {
                        return Ok(done);
                    }
                }
                Err(Errno::EAGAIN) => match block::park(deadline).await {
                    Ok(()) => {}
                    Err(Errno::ETIMEDOUT) => break Errno::EAGAIN,
                    Err(error) => break error,
                },
                Err(error) => break broken(error),
            }
        };
        if done > 0 { Ok(done) } else { Err(failure) }
    })
}

/// Moves bytes between user memory and a pipe, whichever way it is open (vmsplice).
pub(super) fn with_pipe(open: Arc<OpenFile>, buffers: Buffers, patient: bool) -> Flow {
    if open.writable() {
        write_to(open, buffers, At::Position, patient)
    } else {
        read_from(open, buffers, At::Position, patient)
    }
}

/// read(2).
pub fn read(fd: i32, buffer: UserAddr, len: usize) -> Flow {
    start_read(fd, Buffers::checked(buffer, len), At::Position)
}

/// write(2).
pub fn write(fd: i32, buffer: UserAddr, len: usize) -> Flow {
    start_write(fd, Buffers::checked(buffer, len), At::Position)
}

/// readv(2).
pub fn readv(fd: i32, vector: UserAddr, count: usize) -> Flow {
    start_read(fd, Buffers::vector(vector, count), At::Position)
}

/// writev(2).
pub fn writev(fd: i32, vector: UserAddr, count: usize) -> Flow {
    start_write(fd, Buffers::vector(vector, count), At::Position)
}

/// pread64(2).
pub fn pread64(fd: i32, buffer: UserAddr, len: usize, position: i64) -> Flow {
    match offset(position) {
        Ok(at) => start_read(fd, Buffers::checked(buffer, len), at),
        Err(error) => error.into(),
    }
}

/// pwrite64(2).
pub fn pwrite64(fd: i32, buffer: UserAddr, len: usize, position: i64) -> Flow {
    match offset(position) {
        Ok(at) => start_write(fd, Buffers::checked(buffer, len), at),
        Err(error) => error.into(),
    }
}

/// preadv(2); the upper half of the offset is not used on 64-bit machines.
pub fn preadv(fd: i32, vector: UserAddr, count: usize, position: i64) -> Flow {
    match offset(position) {
        Ok(at) => start_read(fd, Buffers::vector(vector, count), at),
        Err(error) => error.into(),
    }
}

/// pwritev(2).
pub fn pwritev(fd: i32, vector: UserAddr, count: usize, position: i64) -> Flow {
    match offset(position) {
        Ok(at) => start_write(fd, Buffers::vector(vector, count), at),
        Err(error) => error.into(),
    }
}

/// RWF_HIPRI, RWF_DSYNC and RWF_SYNC, which change nothing here.
const RWF_HARMLESS: u32 = 0x1 | 0x2 | 0x4;

/// preadv2(2): offset -1 is the position. EOPNOTSUPP for other flags.
pub fn preadv2(
    fd: i32,
    vector: UserAddr,
    count: usize,
    position: i64,
    _high: u64,
    flags: u32,
) -> Flow {
    if flags & !RWF_HARMLESS != 0 {
        return Errno::EOPNOTSUPP.into();
    }
    if position == -1 {
        readv(fd, vector, count)
    } else {
        preadv(fd, vector, count, position)
    }
}

/// pwritev2(2): offset -1 is the position. EOPNOTSUPP for other flags.
pub fn pwritev2(
    fd: i32,
    vector: UserAddr,
    count: usize,
    position: i64,
    _high: u64,
    flags: u32,
) -> Flow {
    if flags & !RWF_HARMLESS != 0 {
        return Errno::EOPNOTSUPP.into();
    }
    if position == -1 {
        writev(fd, vector, count)
    } else {
        pwritev(fd, vector, count, position)
    }
}
