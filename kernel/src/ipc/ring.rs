//! A ring of bytes that grows as it is used: the one buffer under pipes, unix
//! streams and loopback connections.

use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::mm::io::{Reader, Writer};

/// The first buffer. Most pipes and sockets never need more.
const FIRST_BUFFER: usize = 4096;

/// Bytes in the order they were written.
pub struct ByteRing {
    /// Empty until the first byte; afterwards its length is a power of two.
    buffer: Vec<u8>,
    head: usize,
    len: usize,
    limit: usize,
}

impl ByteRing {
    /// An empty ring that holds at most `limit` bytes. Allocates nothing yet.
    pub const fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            head: 0,
            len: 0,
            limit,
        }
    }
    /// Bytes inside.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Nothing inside.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Most bytes that it may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }
    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len)
    }
    /// Changes the limit; what is inside stays, also when it is more.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }
    /// Takes bytes from `data` as far as there is room; answers how many.
    /// EFAULT if the first byte cannot be read, ENOMEM.
    pub fn push(&mut self, data: &mut Reader<'_>) -> Result<usize> {
        let wanted = data.remaining().min(self.room());
        if wanted == 0 {
            return Ok(0);
        }
        self.reserve(self.len + wanted)?;
        let mut done = 0;
        while done < wanted {
            let start = self.index(self.len);
            let end = (start + wanted - done).min(self.buffer.len());
            let copied = match data.take(&mut self.buffer[start..end]) {
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
                Ok(copied) => copied,
            };
            self.len += copied;
            done += copied;
            if copied < end - start {
                break;
            }
        }
        Ok(done)
    }
    /// Gives at most `max` bytes to `out` and forgets them; answers how many. EFAULT.
    pub fn pop(&mut self, out: &mut Writer<'_>, max: usize) -> Result<usize> {
        let done = self.peek(0, out, max)?;
        self.skip(done);
        Ok(done)
    }
    /// Copies at most `max` bytes from `offset` on to `out` and keeps them. EFAULT.
    pub fn peek(&self, offset: usize, out: &mut Writer<'_>, max: usize) -> Result<usize> {
        let wanted = out
            .remaining()
            .min(self.len.saturating_sub(offset))
            .min(max);
        let mut done = 0;
        while done < wanted {
            let start = self.index(offset + done);
            let end = (start + wanted - done).min(self.buffer.len());
            let copied = match out.put(&self.buffer[start..end]) {
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
                Ok(copied) => copied,
            };
            done += copied;
            if copied < end - start {
                break;
            }
        }
        Ok(done)
    }
    /// Forgets the first `count` bytes.
    pub fn skip(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len -= count;
        // An empty ring starts over, so that the next copy is in one piece.
        self.head = if self.len == 0 { 0 } else { self.index(count) };
    }
    /// Where the byte at `offset` behind the head lies.
    fn index(&self, offset: usize) -> usize {
        (self.head + offset) & (self.buffer.len() - 1)
    }
    /// Makes the buffer large enough for `needed` bytes.
    fn reserve(&mut self, needed: usize) -> Result<()> {
        if needed <= self.buffer.len() {
            return Ok(());
        }
        let size = needed.next_power_of_two().max(FIRST_BUFFER);
        let mut larger = Vec::new();
        larger.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        if self.len > 0 {
            let end = (self.head + self.len).min(self.buffer.len());
            larger.extend_from_slice(&self.buffer[self.head..end]);
            larger.extend_from_slice(&self.buffer[..self.len - (end - self.head)]);
        }
        larger.resize(size, 0);
        self.buffer = larger;
        self.head = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in_whatever_the_sizes() {
        let mut ring = ByteRing::new(10_000);
        let mut model = VecDeque::new();
        let mut seed = 7u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize
        };
        for step in 0..5_000 {
            let bytes: Vec<u8> = (0..next() % 3_000).map(|at| (step + at) as u8).collect();
            let pushed = ring.push(&mut Reader::kernel(&bytes)).unwrap();
            assert_eq!(pushed, bytes.len().min(10_000 - model.len()));
            model.extend(&bytes[..pushed]);
            let mut out = std::vec![0; next() % 3_000];
            let popped = ring.pop(&mut Writer::kernel(&mut out), usize::MAX).unwrap();
            let expected: Vec<u8> = model.drain(..popped).collect();
            assert_eq!(&out[..popped], &expected[..]);
            assert_eq!(popped, out.len().min(popped + model.len()));
            assert_eq!(ring.len(), model.len());
        }
    }

    #[test]
    fn peeking_keeps_the_bytes() {
        let mut ring = ByteRing::new(100);
        ring.push(&mut Reader::kernel(b"hello")).unwrap();
        let mut out = [0; 3];
        assert_eq!(
            ring.peek(1, &mut Writer::kernel(&mut out), usize::MAX),
            Ok(3)
        );
        assert_eq!(&out, b"ell");
        assert_eq!(ring.len(), 5);
    }

    #[test]
    fn a_lower_limit_keeps_what_is_inside() {
        let mut ring = ByteRing::new(100);
        ring.push(&mut Reader::kernel(&[1; 80])).unwrap();
        ring.set_limit(50);
        assert_eq!((ring.len(), ring.room()), (80, 0));
    }
}
