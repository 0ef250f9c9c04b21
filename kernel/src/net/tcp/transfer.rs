//! Bytes and readiness of connected sockets.

use super::*;

impl Tcp {
    /// The end of an inside connection, to be used without holding the state.
    pub(super) fn inside_end(&self) -> Option<Arc<End>> {
        match &*self.state.lock() {
            State::Inside(stream) => Some(stream.end.clone()),
            _ => None,
        }
    }
    pub(super) fn read_flags(&self, out: &mut Writer<'_>, flags: u32) -> Result<usize> {
        let (peek, discard) = (
            flags & message_flag::PEEK != 0,
            flags & message_flag::TRUNC != 0,
        );
        if let Some(end) = self.inside_end() {
            return end.read_with(out, ReadMode { peek, discard }, &mut Files::new());
        }
        let mut state = self.state.lock();
        let State::Host(stream) = &mut *state else {
            return Err(match &mut *state {
                State::Open { error, .. } => error.take().unwrap_or(Errno::ENOTCONN),
                _ => Errno::ENOTCONN,
            });
        };
        if stream.connecting && stream.connection.flags() & host_flag::CONNECTED == 0 {
            return Err(Errno::EAGAIN);
        }
        if stream.shut_read && stream.connection.available() == 0 {
            return Ok(0);
        }
        if discard && stream.connection.available() > 0 {
            return Ok(stream.connection.skip(out.remaining()));
        }
        stream.connection.read(out, peek)
    }
    pub(super) fn write_all(&self, data: &mut Reader<'_>) -> Result<usize> {
        if let Some(end) = self.inside_end() {
            return end.write_tcp(data);
        }
        let mut state = self.state.lock();
        match &mut *state {
            State::Host(stream) => {
                if stream.shut_write {
                    return Err(Errno::EPIPE);
                }
                if stream.connection.flags() & host_flag::CONNECTED == 0 {
                    return Err(Errno::EAGAIN);
                }
                stream.connection.write(data)
            }
            State::Open { error, .. } => Err(error.take().unwrap_or(Errno::EPIPE)),
            _ => Err(Errno::EPIPE),
        }
    }
}

/// Readiness of a stream over the rings (as `tcp_poll`).
pub(super) fn poll_host(stream: &HostStream) -> u32 {
    const READ: u32 = events::IN | events::RDNORM;
    const WRITE: u32 = events::OUT | events::WRNORM;
    let flags = stream.connection.flags();
    if flags & (host_flag::CONNECTED | host_flag::ERROR) == 0 {
        return 0;
    }
    stream.connection.room_seen();
    let mut ready = 0;
    let ended = flags & host_flag::EOF != 0 || stream.shut_read;
    if stream.connection.available() > 0 {
        ready |= READ;
    }
    if ended {
        ready |= READ | events::RDHUP;
    }
    if flags & host_flag::HUP != 0 || ended && stream.shut_write {
        ready |= events::HUP;
    }
    if stream.shut_write || stream.connection.writable() || flags & host_flag::HUP != 0 {
        ready |= WRITE;
    }
    if stream.connection.pending_error().is_some() {
        ready |= events::ERR;
    }
    ready
}
