//! Cursors over the bytes of one read or write: user memory (one buffer or an
//! iovec list) or a kernel buffer. Files copy through them and never see raw
//! user addresses.

use alloc::vec::Vec;

use spore_hal::host::ring_memory;

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};

/// One piece of user memory.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// First byte.
    pub addr: UserAddr,
    /// Length in bytes.
    pub len: usize,
}

enum Place<'a, K> {
    One(Piece),
    Many(&'a [Piece]),
    Kernel(K),
}

/// Destination of a read.
pub struct Writer<'a> {
    place: Place<'a, &'a mut [u8]>,
    index: usize,
    offset: usize,
    remaining: usize,
}

/// Source of a write.
pub struct Reader<'a> {
    place: Place<'a, &'a [u8]>,
    index: usize,
    offset: usize,
    remaining: usize,
}

fn total(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.len).sum()
}

macro_rules! cursor {
    ($name:ident) => {
        impl<'a> $name<'a> {
            /// One user buffer.
            pub fn user(addr: UserAddr, len: usize) -> Self {
                Self {
                    place: Place::One(Piece { addr, len }),
                    index: 0,
                    offset: 0,
                    remaining: len,
                }
            }
            /// Several user buffers, in order.
            pub fn pieces(pieces: &'a [Piece]) -> Self {
                let remaining = total(pieces);
                Self {
                    place: Place::Many(pieces),
                    index: 0,
                    offset: 0,
                    remaining,
                }
            }
            /// Bytes left.
            pub fn remaining(&self) -> usize {
                self.remaining
            }
            /// Lowers the number of bytes left to at most `len`.
            pub fn limit(&mut self, len: usize) {
                self.remaining = self.remaining.min(len);
            }
            /// The user memory at the cursor: address and contiguous length; `None` at
            /// the end and for kernel buffers.
            pub fn chunk(&mut self) -> Option<(UserAddr, usize)> {
                loop {
                    let piece = match &self.place {
                        Place::One(piece) if self.index == 0 => *piece,
                        Place::Many(pieces) => *pieces.get(self.index)?,
                        _ => return None,
                    };
                    if self.remaining == 0 {
                        return None;
                    }
                    if self.offset < piece.len {
                        let len = (piece.len - self.offset).min(self.remaining);
                        return Some((piece.addr.wrapping_add(self.offset as u64), len));
                    }
                    self.index += 1;
                    self.offset = 0;
                }
            }
            /// Moves the cursor over `len` bytes of the current chunk.
            pub fn advance(&mut self, len: usize) {
                self.offset += len;
                self.remaining -= len;
            }
        }
    };
}

cursor!(Writer);
cursor!(Reader);

impl<'a> Writer<'a> {
    /// A kernel buffer.
    pub fn kernel(buffer: &'a mut [u8]) -> Self {
        let remaining = buffer.len();
        Self {
            place: Place::Kernel(buffer),
            index: 0,
            offset: 0,
            remaining,
        }
    }
    /// Copies as much of `bytes` as fits; answers how much. EFAULT only if nothing
    /// could be copied.
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        if let Place::Kernel(buffer) = &mut self.place {
            let len = bytes.len().min(self.remaining);
            buffer[self.offset..self.offset + len].copy_from_slice(&bytes[..len]);
            self.advance(len);
            return Ok(len);
        }
        let mut done = 0;
        while done < bytes.len() {
            let Some((addr, len)) = self.chunk() else {
                break;
            };
            let len = len.min(bytes.len() - done);
            if let Err(error) = user::write_bytes(addr, &bytes[done..done + len]) {
                return if done > 0 { Ok(done) } else { Err(error) };
            }
            self.advance(len);
            done += len;
        }
        Ok(done)
    }
    /// Copies up to `len` bytes of a shared ring at `gpa`; answers how much. EFAULT
    /// only if nothing could be copied.
    pub fn put_ring(&mut self, gpa: u64, len: usize) -> Result<usize> {
        if let Place::Kernel(buffer) = &mut self.place {
            let len = len.min(self.remaining);
            ring_memory::read(gpa, &mut buffer[self.offset..self.offset + len]);
            self.advance(len);
            return Ok(len);
        }
        let mut done = 0;
        while done < len {
            let Some((addr, room)) = self.chunk() else {
                break;
            };
            let room = room.min(len - done);
            if ring_memory::to_user(addr.raw(), gpa + done as u64, room).is_err() {
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EFAULT)
                };
            }
            self.advance(room);
            done += room;
        }
        Ok(done)
    }
    /// Fills up to `len` bytes with zero; answers how many.
    pub fn zero(&mut self, len: usize) -> Result<usize> {
        const ZEROS: [u8; 512] = [0; 512];
        let mut done = 0;
        while done < len {
            let copied = self.put(&ZEROS[..ZEROS.len().min(len - done)])?;
            if copied == 0 {
                break;
            }
            done += copied;
        }
        Ok(done)
    }
}

impl<'a> Reader<'a> {
    /// A kernel buffer.
    pub fn kernel(buffer: &'a [u8]) -> Self {
        Self {
            place: Place::Kernel(buffer),
            index: 0,
            offset: 0,
            remaining: buffer.len(),
        }
    }
    /// Fills `buffer` as far as bytes are left; answers how many. EFAULT only if
    /// nothing could be copied.
    pub fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if let Place::Kernel(source) = &self.place {
            let len = buffer.len().min(self.remaining);
            buffer[..len].copy_from_slice(&source[self.offset..self.offset + len]);
            self.advance(len);
            return Ok(len);
        }
        let mut done = 0;
        while done < buffer.len() {
            let Some((addr, len)) = self.chunk() else {
                break;
            };
            let len = len.min(buffer.len() - done);
            if let Err(error) = user::read_bytes(addr, &mut buffer[done..done + len]) {
                return if done > 0 { Ok(done) } else { Err(error) };
            }
            self.advance(len);
            done += len;
        }
        Ok(done)
    }
}

impl Reader<'_> {
    /// Copies up to `len` bytes to a shared ring at `gpa`; answers how much. EFAULT
    /// only if nothing could be copied.
    pub fn take_ring(&mut self, gpa: u64, len: usize) -> Result<usize> {
        if let Place::Kernel(source) = &self.place {
            let len = len.min(self.remaining);
            ring_memory::write(gpa, &source[self.offset..self.offset + len]);
            self.advance(len);
            return Ok(len);
        }
        let mut done = 0;
        while done < len {
            let Some((addr, left)) = self.chunk() else {
                break;
            };
            let left = left.min(len - done);
            if ring_memory::from_user(gpa + done as u64, addr.raw(), left).is_err() {
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EFAULT)
                };
            }
            self.advance(left);
            done += left;
        }
        Ok(done)
    }
}

/// Most pieces in one call (`UIO_MAXIOV`).
pub const MAX_PIECES: usize = 1024;
/// Most bytes in one call (`MAX_RW_COUNT`).
pub const MAX_BYTES: usize = 0x7fff_f000;

/// Reads an iovec list (`struct iovec`, 16 bytes each) from user memory.
/// EINVAL for more than 1024 pieces or a negative sum, EFAULT as usual.
pub fn read_iovecs(addr: UserAddr, count: usize) -> Result<Vec<Piece>> {
    if count > MAX_PIECES {
        return Err(Errno::EINVAL);
    }
    let mut pieces = Vec::with_capacity(count);
    let mut sum: usize = 0;
    for index in 0..count {
        let raw: [u64; 2] = user::read(addr.wrapping_add(16 * index as u64))?;
        let len = usize::try_from(raw[1]).map_err(|_| Errno::EINVAL)?;
        if len > isize::MAX as usize {
            return Err(Errno::EINVAL);
        }
        let len = len.min(MAX_BYTES - sum);
        sum += len;
        pieces.push(Piece {
            addr: UserAddr::new(raw[0]),
            len,
        });
    }
    Ok(pieces)
}
