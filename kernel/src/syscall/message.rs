//! Messages on sockets: sendto, recvfrom, sendmsg, recvmsg, sendmmsg, recvmmsg.

use alloc::sync::Arc;

use crate::errno::{Errno, Result};
use crate::fs::file::OpenFile;
use crate::ipc::timeout::Timeout;
use crate::mm::user::{self, UserAddr};
use crate::net::socket::{Control, Received, SendParameters, kind, message_flag};
use crate::sched::block::{self, Flow, Watch, park};
use crate::syscall::control;
use crate::syscall::socket::{deadline, read_address, socket_of, write_address};
use crate::syscall::transfer::{Buffers, SIGPIPE, current_file};

/// Messages in one call of sendmmsg or recvmmsg (`UIO_MAXIOV`).
const MAX_MESSAGES: u32 = 1024;

/// `struct msghdr`, 56 bytes.
#[derive(Clone, Copy)]
struct Header {
    at: UserAddr,
    name: UserAddr,
    name_len: u32,
    pieces: UserAddr,
    piece_count: usize,
    control: UserAddr,
    control_len: usize,
}

impl Header {
    /// Offsets of the fields that receiving writes.
    const NAME_LEN: u64 = 8;
    const CONTROL_LEN: u64 = 40;
    const FLAGS: u64 = 48;
    /// Distance of the entries of a `struct mmsghdr` list, and of `msg_len` in it.
    const STRIDE: u64 = 64;
    const LEN: u64 = 56;

    fn read(at: UserAddr) -> Result<Self> {
        let raw: [u64; 7] = user::read(at)?;
        Ok(Self {
            at,
            name: UserAddr::new(raw[0]),
            name_len: raw[1] as u32,
            pieces: UserAddr::new(raw[2]),
            piece_count: usize::try_from(raw[3]).map_err(|_| Errno::EMSGSIZE)?,
            control: UserAddr::new(raw[4]),
            control_len: usize::try_from(raw[5]).map_err(|_| Errno::ENOBUFS)?,
        })
    }
    fn buffers(&self) -> Result<Buffers> {
        if self.piece_count > MAX_MESSAGES as usize {
            return Err(Errno::EMSGSIZE);
        }
        Buffers::vector(self.pieces, self.piece_count)
    }
}

/// One message to send.
struct Outgoing {
    buffers: Buffers,
    parameters: SendParameters,
}

impl Outgoing {
    fn from_header(header: &Header, flags: u32) -> Result<Self> {
        let to = match header.name.is_null() || header.name_len == 0 {
            true => None,
            false => Some(read_address(header.name, header.name_len)?),
        };
        let control = control::read(header.control, header.control_len)?;
        Ok(Self {
            buffers: header.buffers()?,
            parameters: SendParameters { to, flags, control },
        })
    }
    fn send(&mut self, open: &OpenFile, skip: usize) -> Result<usize> {
        let sent = socket_of(open)?.send(&mut self.buffers.reader(skip), &self.parameters)?;
        // What went along with the first byte does not go twice.
        self.parameters.control = Control::default();
        Ok(sent)
    }
}

/// EPIPE also raises SIGPIPE, unless MSG_NOSIGNAL.
fn broken(error: Errno, flags: u32) -> Errno {
    if error == Errno::EPIPE && flags & message_flag::NOSIGNAL == 0 {
        crate::signal::send_to_current(SIGPIPE);
    }
    error
}

fn is_nonblocking(open: &OpenFile, flags: u32) -> bool {
    open.nonblocking() || flags & message_flag::DONTWAIT != 0
}

fn start_send(fd: i32, outgoing: Result<Outgoing>) -> Flow {
    let open = match current_file(fd) {
        Ok(open) => open,
        Err(error) => return error.into(),
    };
    let mut outgoing = match socket_of(&open).and(outgoing) {
        Ok(outgoing) => outgoing,
        Err(error) => return error.into(),
    };
    let flags = outgoing.parameters.flags;
    let patient = !is_nonblocking(&open, flags);
    match outgoing.send(&open, 0) {
        Err(Errno::EAGAIN) if patient => Flow::blocked(send_rest(open, outgoing, 0)),
        Ok(sent) if patient && sent < outgoing.buffers.total() => {
            Flow::blocked(send_rest(open, outgoing, sent))
        }
        Err(error) => broken(error, flags).into(),
        result => Flow::Done(result),
    }
}

/// A blocking send on a stream goes on until everything is sent.
async fn send_rest(open: Arc<OpenFile>, mut outgoing: Outgoing, sent: usize) -> Result<usize> {
    let deadline = deadline(&socket_of(&open)?.timeouts().send);
    let _watch = Watch::new(&open);
    let total = outgoing.buffers.total();
    let mut sent = sent;
    let failure = loop {
        match outgoing.send(&open, sent) {
            Ok(count) => {
                sent += count;
                if sent >= total {
                    return Ok(sent);
                }
            }
            Err(Errno::EAGAIN) => match park(deadline).await {
                Ok(()) => {}
                Err(Errno::ETIMEDOUT) => break Errno::EAGAIN,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    if sent > 0 {
        return Ok(sent);
    }
    Err(broken(failure, outgoing.parameters.flags))
}

/// sendto(2).
pub fn sendto(
    fd: i32,
    buffer: UserAddr,
    len: usize,
    flags: u32,
    addr: UserAddr,
    addr_len: u32,
) -> Flow {
    let outgoing = || {
        let to = if addr.is_null() {
            None
        } else {
            Some(read_address(addr, addr_len)?)
        };
        let parameters = SendParameters {
            to,
            flags,
            control: Control::default(),
        };
        Ok(Outgoing {
            buffers: Buffers::one(buffer, len),
            parameters,
        })
    };
    start_send(fd, outgoing())
}

/// sendmsg(2).
pub fn sendmsg(fd: i32, message: UserAddr, flags: u32) -> Flow {
    let outgoing = Header::read(message).and_then(|header| Outgoing::from_header(&header, flags));
    start_send(fd, outgoing)
}

/// sendmmsg(2). Answers how many were sent; an error only if none was.
pub fn sendmmsg(fd: i32, messages: UserAddr, count: u32, flags: u32) -> Flow {
    let open = match current_file(fd).and_then(|open| socket_of(&open).map(drop).map(|()| open)) {
        Ok(open) => open,
        Err(error) => return error.into(),
    };
    let nonblocking = is_nonblocking(&open, flags);
    let timeout = socket_of(&open)
        .ok()
        .and_then(|socket| deadline(&socket.timeouts().send));
    block::retry(open, nonblocking, timeout, move |open| {
        let mut sent = 0;
        for index in 0..u64::from(count.min(MAX_MESSAGES)) {
            let at = messages.wrapping_add(index * Header::STRIDE);
            let one = || {
                let mut outgoing = Outgoing::from_header(&Header::read(at)?, flags)?;
                let bytes = outgoing.send(open, 0)?;
                user::write(at.wrapping_add(Header::LEN), &(bytes as u32))
            };
            match one() {
                Ok(()) => sent += 1,
                Err(error) if sent == 0 => return Err(broken(error, flags)),
                Err(_) => break,
            }
        }
        Ok(sent)
    })
}

/// Where a received message goes.
struct Incoming {
    buffers: Buffers,
    flags: u32,
    place: Place,
}

/// Where its address and ancillary data go.
#[derive(Clone, Copy)]
enum Place {
    /// recvfrom: address and where its length stands.
    Name(UserAddr, UserAddr),
    /// recvmsg.
    Message(Header),
}

impl Incoming {
    fn receive(&self, open: &OpenFile) -> Result<usize> {
        let socket = socket_of(open)?;
        let received = socket.receive(&mut self.buffers.writer(), self.flags)?;
        self.deliver(&received)?;
        let wants_length = self.flags & message_flag::TRUNC != 0 && socket.kind() != kind::STREAM;
        Ok(if wants_length {
            received.full
        } else {
            received.copied
        })
    }
    fn deliver(&self, received: &Received) -> Result<()> {
        let header = match self.place {
            Place::Name(addr, len) => {
                return match &received.from {
                    _ if addr.is_null() => Ok(()),
                    Some(from) => write_address(from, addr, len),
                    None => user::write(len, &0u32),
                };
            }
            Place::Message(header) => header,
        };
        let len_at = header.at.wrapping_add(Header::NAME_LEN);
        match &received.from {
            Some(from) if !header.name.is_null() => write_address(from, header.name, len_at)?,
            _ => user::write(len_at, &0u32)?,
        }
        let close_on_exec = self.flags & message_flag::CMSG_CLOEXEC != 0;
        let (len, cut) = control::write(
            &received.control,
            header.control,
            header.control_len,
            close_on_exec,
        )?;
        user::write(header.at.wrapping_add(Header::CONTROL_LEN), &(len as u64))?;
        let mut flags = self.flags & message_flag::CMSG_CLOEXEC;
        if received.full > received.copied {
            flags |= message_flag::TRUNC;
        }
        if cut {
            flags |= message_flag::CTRUNC;
        }
        user::write(header.at.wrapping_add(Header::FLAGS), &flags)
    }
}

fn start_receive(fd: i32, incoming: Result<Incoming>) -> Flow {
    let prepare = || {
        let open = current_file(fd)?;
        let socket = socket_of(&open)?;
        let timeout = deadline(&socket.timeouts().receive);
        let stream = socket.kind() == kind::STREAM;
        Ok::<_, Errno>((open.clone(), timeout, stream, incoming?))
    };
    let (open, timeout, stream, incoming) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return Flow::from(error),
    };
    let nonblocking = is_nonblocking(&open, incoming.flags);
    let all =
        incoming.flags & (message_flag::WAITALL | message_flag::PEEK) == message_flag::WAITALL;
    if all && stream && !nonblocking {
        return Flow::blocked(receive_all(open, incoming, timeout));
    }
    block::retry(open, nonblocking, timeout, move |open| {
        incoming.receive(open)
    })
}

/// MSG_WAITALL: goes on until the buffers are full, the stream ends, or a signal.
async fn receive_all(
    open: Arc<OpenFile>,
    incoming: Incoming,
    timeout: Option<u64>,
) -> Result<usize> {
    let _watch = Watch::new(&open);
    let total = incoming.buffers.total();
    let mut done = 0;
    let failure = loop {
        let mut writer = incoming.buffers.writer();
        let mut skip = done;
        while skip > 0 {
            let Some((_, len)) = writer.chunk() else {
                break;
            };
            writer.advance(len.min(skip));
            skip -= len.min(skip);
        }
        match socket_of(&open)?.receive(&mut writer, incoming.flags) {
            Ok(received) => {
                done += received.copied;
                if done >= total || received.copied == 0 {
                    incoming.deliver(&Received {
                        copied: done,
                        full: done,
                        ..received
                    })?;
                    return Ok(done);
                }
            }
            Err(Errno::EAGAIN) => match park(timeout).await {
                Ok(()) => {}
                Err(Errno::ETIMEDOUT) => break Errno::EAGAIN,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    if done > 0 { Ok(done) } else { Err(failure) }
}

/// recvfrom(2).
pub fn recvfrom(
    fd: i32,
    buffer: UserAddr,
    len: usize,
    flags: u32,
    addr: UserAddr,
    addr_len: UserAddr,
) -> Flow {
    let place = Place::Name(addr, addr_len);
    start_receive(
        fd,
        Ok(Incoming {
            buffers: Buffers::one(buffer, len),
            flags,
            place,
        }),
    )
}

/// recvmsg(2).
pub fn recvmsg(fd: i32, message: UserAddr, flags: u32) -> Flow {
    let incoming = || {
        let header = Header::read(message)?;
        Ok(Incoming {
            buffers: header.buffers()?,
            flags,
            place: Place::Message(header),
        })
    };
    start_receive(fd, incoming())
}

/// recvmmsg(2). Waits for the first message, then takes what is there.
pub fn recvmmsg(fd: i32, messages: UserAddr, count: u32, flags: u32, timeout: UserAddr) -> Flow {
    let prepare = || {
        let open = current_file(fd)?;
        let socket = socket_of(&open)?;
        let limit = Timeout::from_timespec(timeout)?
            .deadline()
            .or(deadline(&socket.timeouts().receive));
        Ok::<_, Errno>((open.clone(), limit))
    };
    let (open, limit) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return Flow::from(error),
    };
    let nonblocking = is_nonblocking(&open, flags);
    let flags = flags & !message_flag::WAITFORONE;
    block::retry(open, nonblocking, limit, move |open| {
        let mut done = 0;
        for index in 0..u64::from(count.min(MAX_MESSAGES)) {
            let at = messages.wrapping_add(index * Header::STRIDE);
            let one = || {
                let header = Header::read(at)?;
                let incoming = Incoming {
                    buffers: header.buffers()?,
                    flags,
                    place: Place::Message(header),
                };
                let bytes = incoming.receive(open)?;
                user::write(at.wrapping_add(Header::LEN), &(bytes as u32))
            };
            match one() {
                Ok(()) => done += 1,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    })
}
