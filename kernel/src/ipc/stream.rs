//! A connection inside the guest: two ends, a byte channel each way. Under unix
//! stream sockets and TCP connections to the guest itself.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crate::errno::{Errno, Result};
use crate::fs::file::events;
use crate::ipc::channel::{Channel, Files, ReadMode};
use crate::mm::io::{Reader, Writer};
use crate::sched::notify::Notifier;

/// Bytes that fit into one direction (`net.core.wmem_default`).
pub const DEFAULT_LIMIT: usize = 212_992;

/// What both ends share. Side `n` writes channel `n` and reads the other one.
struct Pair {
    channels: [Channel; 2],
    notifiers: [Arc<Notifier>; 2],
    /// Error that the next operation of the side answers, 0 for none.
    errors: [AtomicU16; 2],
    /// The connection of the side is reset, not only closed by the peer.
    resets: [AtomicBool; 2],
}

/// One end of a connection. Dropping it closes the connection; if bytes were
/// unread then, the other end finds ECONNRESET behind what it can still read.
pub struct End {
    pair: Arc<Pair>,
    side: usize,
}

/// Two connected ends with at most `limit` bytes under way in each direction.
pub fn pair(limit: usize) -> (End, End) {
    pair_between(
        limit,
        [Arc::new(Notifier::new()), Arc::new(Notifier::new())],
    )
}

/// Two connected ends that announce their changes to notifiers that exist already
/// (those of the sockets that become connected).
pub fn pair_between(limit: usize, notifiers: [Arc<Notifier>; 2]) -> (End, End) {
    let channel = || Channel::new(limit, ready_room(limit));
    let pair = Arc::new(Pair {
        channels: [channel(), channel()],
        notifiers,
        errors: [AtomicU16::new(0), AtomicU16::new(0)],
        resets: [AtomicBool::new(false), AtomicBool::new(false)],
    });
    (
        End {
            pair: pair.clone(),
            side: 0,
        },
        End { pair, side: 1 },
    )
}

/// A writer is woken once most of what it wrote was read, not for every byte: it
/// then has room for a large piece (as `unix_writable` and `sk_stream_is_writeable`).
fn ready_room(limit: usize) -> usize {
    limit - limit / 4
}

impl End {
    fn incoming(&self) -> &Channel {
        &self.pair.channels[1 - self.side]
    }
    fn outgoing(&self) -> &Channel {
        &self.pair.channels[self.side]
    }
    fn tell_peer(&self, events: u32) {
        self.pair.notifiers[1 - self.side].notify(events);
    }
    fn tell_self(&self, events: u32) {
        self.pair.notifiers[self.side].notify(events);
    }
    /// Where changes of [`End::poll`] are announced.
    pub fn notifier(&self) -> &Notifier {
        &self.pair.notifiers[self.side]
    }
    /// Reads bytes. Zero at end of file; EAGAIN; ECONNRESET once; EFAULT.
    pub fn read(&self, out: &mut Writer<'_>) -> Result<usize> {
        self.read_with(out, ReadMode::default(), &mut Files::new())
    }
    /// Reads bytes and the files attached to them.
    pub fn read_with(
        &self,
        out: &mut Writer<'_>,
        mode: ReadMode,
        files: &mut Files,
    ) -> Result<usize> {
        match self.incoming().read(out, mode, files) {
            Ok(moved) => {
                // The error comes behind the bytes, and before the end of file.
                if moved.bytes == 0
                    && out.remaining() > 0
                    && self.error() != Errno::EPIPE
                    && let Some(error) = self.take_error()
                {
                    return Err(error);
                }
                if moved.announce {
                    self.tell_peer(events::OUT | events::WRNORM);
                }
                Ok(moved.bytes)
            }
            Err(Errno::EAGAIN) => Err(self.take_error().unwrap_or(Errno::EAGAIN)),
            Err(error) => Err(error),
        }
    }
    /// Writes what fits. EAGAIN without room; EPIPE once either side has shut this
    /// direction down (raising SIGPIPE is the caller's part); EFAULT, ENOMEM.
    pub fn write(&self, data: &mut Reader<'_>) -> Result<usize> {
        self.write_with(data, &mut Files::new())
    }
    /// Writes bytes with `files` attached; they are taken if a byte was written.
    pub fn write_with(&self, data: &mut Reader<'_>, files: &mut Files) -> Result<usize> {
        let moved = self.outgoing().write(data, 0, files)?;
        if moved.announce {
            self.tell_peer(events::IN | events::RDNORM);
        }
        Ok(moved.bytes)
    }
    /// shutdown(SHUT_WR): the peer finds end of file behind what was written.
    pub fn shutdown_write(&self) {
        if self.outgoing().close_writer() {
            self.tell_peer(events::IN | events::RDNORM | events::RDHUP | events::HUP);
            self.tell_self(events::OUT | events::HUP);
        }
    }
    /// shutdown(SHUT_RD): what has arrived can be read, the peer's writes fail.
    pub fn shutdown_read(&self) {
        if self.incoming().refuse() {
            self.tell_self(events::IN | events::RDNORM | events::RDHUP | events::HUP);
            self.tell_peer(events::OUT | events::WRNORM | events::HUP);
        }
    }
    /// Ends the connection at once: the peer gets `error` (0 for a plain end of file).
    pub fn close(&self, error: Errno) {
        let unread = self.incoming().close_reader();
        self.outgoing().close_writer();
        let error = if unread > 0 { Errno::ECONNRESET } else { error };
        let slot = &self.pair.errors[1 - self.side];
        if error.0 != 0 {
            slot.store(error.0, Ordering::Relaxed);
            self.pair.resets[1 - self.side].store(true, Ordering::Relaxed);
        }
        let mut news = events::IN
            | events::RDNORM
            | events::OUT
            | events::WRNORM
            | events::RDHUP
            | events::HUP;
        if slot.load(Ordering::Relaxed) != 0 {
            news |= events::ERR;
        }
        self.tell_peer(news);
    }
    /// Error to report once (SO_ERROR).
    pub fn take_error(&self) -> Option<Errno> {
        match self.pair.errors[self.side].swap(0, Ordering::Relaxed) {
            0 => None,
            number => Some(Errno(number)),
        }
    }
    /// The error that waits to be reported; 0 for none.
    fn error(&self) -> Errno {
        Errno(self.pair.errors[self.side].load(Ordering::Relaxed))
    }
    /// The peer has closed and has not heard since that we go on writing.
    fn half_closed_by_peer(&self) -> bool {
        let outgoing = self.outgoing();
        self.incoming().writer_closed()
            && outgoing.reader_closed()
            && !outgoing.writer_closed()
            && !self.pair.resets[self.side].load(Ordering::Relaxed)
    }
    /// Writes as TCP does: a peer that has closed cannot say that it will not read
    /// before something reaches it, so the first write is taken, and answered with a
    /// reset (EPIPE from then on).
    pub fn write_tcp(&self, data: &mut Reader<'_>) -> Result<usize> {
        let len = data.remaining();
        if len > 0 && self.half_closed_by_peer() {
            self.pair.resets[self.side].store(true, Ordering::Relaxed);
            self.pair.errors[self.side].store(Errno::EPIPE.0, Ordering::Relaxed);
            self.tell_self(events::OUT | events::HUP | events::ERR);
            return Ok(len);
        }
        match self.write(data) {
            Err(Errno::EPIPE) => Err(self.take_error().unwrap_or(Errno::EPIPE)),
            result => result,
        }
    }
    /// Readiness as of a TCP socket (`tcp_poll`): the peer's end alone is no hang-up.
    pub fn poll_tcp(&self) -> u32 {
        let ready = self.poll();
        if self.half_closed_by_peer() {
            ready & !events::HUP
        } else {
            ready
        }
    }
    /// Readiness as of a connected unix stream socket.
    pub fn poll(&self) -> u32 {
        let (incoming, outgoing) = (self.incoming(), self.outgoing());
        let mut ready = 0;
        let read_ended = incoming.writer_closed() || incoming.reader_closed();
        let write_ended = outgoing.writer_closed() || outgoing.reader_closed();
        if read_ended {
            ready |= events::IN | events::RDNORM | events::RDHUP;
        }
        if read_ended && write_ended {
            ready |= events::HUP;
        }
        if !incoming.is_empty() {
            ready |= events::IN | events::RDNORM;
        }
        if write_ended || outgoing.writable() {
            ready |= events::OUT | events::WRNORM | events::WRBAND;
        }
        if self.pair.errors[self.side].load(Ordering::Relaxed) != 0 {
            ready |= events::ERR;
        }
        ready
    }
    /// Bytes that can be read now (FIONREAD, SIOCINQ).
    pub fn available(&self) -> usize {
        self.incoming().len()
    }
    /// Bytes that the peer has not read yet (SIOCOUTQ).
    pub fn unread_by_peer(&self) -> usize {
        self.outgoing().len()
    }
    /// This end will not read or the peer will not write any more.
    pub fn read_ended(&self) -> bool {
        self.incoming().writer_closed() || self.incoming().reader_closed()
    }
    /// This end or the peer has ended the outgoing direction.
    pub fn write_ended(&self) -> bool {
        self.outgoing().writer_closed() || self.outgoing().reader_closed()
    }
    /// Changes how many bytes may be under way to the peer (SO_SNDBUF).
    pub fn set_limit(&self, limit: usize) {
        // More than the limit may be inside: then there is no room until it was read.
        self.outgoing().set_limit(limit, ready_room(limit));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close(Errno(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(end: &End, bytes: &[u8]) -> Result<usize> {
        end.write(&mut Reader::kernel(bytes))
    }
    fn read(end: &End, len: usize) -> Result<std::vec::Vec<u8>> {
        let mut buffer = std::vec![0; len];
        let count = end.read(&mut Writer::kernel(&mut buffer))?;
        buffer.truncate(count);
        Ok(buffer)
    }

    #[test]
    fn both_directions_carry_bytes() {
        let (a, b) = pair(DEFAULT_LIMIT);
        assert_eq!(read(&a, 9), Err(Errno::EAGAIN));
        assert_eq!(write(&a, b"ping"), Ok(4));
        assert_eq!(write(&b, b"pong"), Ok(4));
        assert_eq!(read(&b, 9).unwrap(), b"ping");
        assert_eq!(read(&a, 2).unwrap(), b"po");
        assert_eq!(read(&a, 9).unwrap(), b"ng");
    }

    #[test]
    fn half_closing_leaves_the_other_direction_open() {
        let (a, b) = pair(DEFAULT_LIMIT);
        write(&a, b"last").unwrap();
        a.shutdown_write();
        assert_eq!(write(&a, b"x"), Err(Errno::EPIPE));
        assert_eq!(read(&b, 9).unwrap(), b"last");
        assert_eq!(read(&b, 9).unwrap(), b"");
        assert_eq!(
            b.poll() & (events::IN | events::RDHUP | events::HUP),
            events::IN | events::RDHUP
        );
        assert_eq!(write(&b, b"answer"), Ok(6));
        assert_eq!(read(&a, 9).unwrap(), b"answer");
    }

    #[test]
    fn closing_lets_the_peer_read_what_was_sent_and_then_the_end() {
        let (a, b) = pair(DEFAULT_LIMIT);
        write(&a, b"bye").unwrap();
        drop(a);
        let all = events::IN | events::OUT | events::RDHUP | events::HUP;
        assert_eq!(b.poll() & (all | events::ERR), all);
        assert_eq!(write(&b, b"x"), Err(Errno::EPIPE));
        assert_eq!(read(&b, 9).unwrap(), b"bye");
        assert_eq!(read(&b, 9).unwrap(), b"");
    }

    #[test]
    fn closing_with_unread_bytes_resets_the_peer_once() {
        let (a, b) = pair(DEFAULT_LIMIT);
        write(&b, b"never read").unwrap();
        write(&a, b"bye").unwrap();
        drop(a);
        assert_ne!(b.poll() & events::ERR, 0);
        assert_eq!(read(&b, 9).unwrap(), b"bye");
        assert_eq!(read(&b, 9), Err(Errno::ECONNRESET));
        assert_eq!(read(&b, 9).unwrap(), b"");
    }

    #[test]
    fn a_full_direction_becomes_writable_when_most_was_read() {
        let (a, b) = pair(8192);
        assert_eq!(write(&a, &[1; 10_000]), Ok(8192));
        assert_eq!(write(&a, b"x"), Err(Errno::EAGAIN));
        read(&b, 4096).unwrap();
        assert_eq!(a.poll() & events::OUT, 0);
        read(&b, 2048).unwrap();
        assert_ne!(a.poll() & events::OUT, 0);
    }
}
