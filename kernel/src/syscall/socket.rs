//! Sockets: socket, socketpair, bind, listen, accept, connect, names, options,
//! shutdown. Messages are in [`super::message`].

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::errno::{Errno, Result};
use crate::fs::file::{OpenFile, open};
use crate::ipc;
use crate::mm::user::{self, UserAddr};
use crate::net::families;
use crate::net::socket::option::*;
use crate::net::socket::{ADDRESS_MAX, Shutdown, Socket, SocketAddress};
use crate::sched::block::{self, Flow, Watch, park};
use crate::syscall::transfer::current_file;

const TYPE_MASK: u32 = 0xf;
/// Longest option value that is looked at.
const OPTION_MAX: usize = 256;
const NANOSECONDS: u64 = 1_000_000_000;

/// The socket behind an open file. ENOTSOCK.
pub(super) fn socket_of(open: &OpenFile) -> Result<&dyn Socket> {
    open.file.socket().ok_or(Errno::ENOTSOCK)
}

/// Status flags and close-on-exec of a type argument. EINVAL for unknown flags.
fn flags_of(flags: u32) -> Result<(u32, bool)> {
    if flags & !(open::NONBLOCK | open::CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok((
        open::RDWR | flags & open::NONBLOCK,
        flags & open::CLOEXEC != 0,
    ))
}

/// socket(2).
pub fn socket(domain: u32, kind: u32, protocol: u32) -> Result<usize> {
    let (status, close_on_exec) = flags_of(kind & !TYPE_MASK)?;
    let kind = kind & TYPE_MASK;
    let family = families::find(domain)?;
    ipc::install((family.create)(kind, protocol)?, status, close_on_exec)
}

/// socketpair(2): unix sockets only.
pub fn socketpair(domain: u32, kind: u32, protocol: u32, pair: UserAddr) -> Result<()> {
    let (status, close_on_exec) = flags_of(kind & !TYPE_MASK)?;
    let (first, second) = (families::find(domain)?.pair)(kind & TYPE_MASK, protocol)?;
    let first = ipc::install(first, status, close_on_exec)?;
    let close = |fd: usize| {
        drop(
            crate::sched::current()
                .process()
                .descriptors
                .remove(fd as i32),
        )
    };
    let second = match ipc::install(second, status, close_on_exec) {
        Ok(second) => second,
        Err(error) => {
            close(first);
            return Err(error);
        }
    };
    let result = user::write(pair, &[first as i32, second as i32]);
    if result.is_err() {
        close(first);
        close(second);
    }
    result
}

/// Reads an address argument. EINVAL for an impossible length, EFAULT.
pub(super) fn read_address(addr: UserAddr, len: u32) -> Result<SocketAddress> {
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= ADDRESS_MAX)
        .ok_or(Errno::EINVAL)?;
    let mut bytes = [0; ADDRESS_MAX];
    user::read_bytes(addr, &mut bytes[..len])?;
    SocketAddress::new(&bytes[..len])
}

/// Stores an address where the program wants it, cut to the length at `len`, which
/// becomes the full length. EINVAL for a negative length, EFAULT.
pub(super) fn write_address(address: &SocketAddress, addr: UserAddr, len: UserAddr) -> Result<()> {
    let room: i32 = user::read(len)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = address.as_bytes();
    user::write_bytes(addr, &bytes[..room.min(bytes.len())])?;
    user::write(len, &(bytes.len() as u32))
}

/// bind(2).
pub fn bind(fd: i32, addr: UserAddr, len: u32) -> Result<()> {
    let open = current_file(fd)?;
    socket_of(&open)?.bind(&read_address(addr, len)?)
}

/// listen(2).
pub fn listen(fd: i32, backlog: i32) -> Result<()> {
    let open = current_file(fd)?;
    socket_of(&open)?.listen(backlog)
}

/// accept(2).
pub fn accept(fd: i32, addr: UserAddr, len: UserAddr) -> Flow {
    accept4(fd, addr, len, 0)
}

/// accept4(2).
pub fn accept4(fd: i32, addr: UserAddr, len: UserAddr, flags: u32) -> Flow {
    let prepare = || {
        let open = current_file(fd)?;
        let deadline = deadline(&socket_of(&open)?.timeouts().receive);
        Ok::<_, Errno>((open, flags_of(flags)?, deadline))
    };
    let (open, (status, close_on_exec), deadline) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return Flow::from(error),
    };
    let nonblocking = open.nonblocking();
    block::retry(open, nonblocking, deadline, move |open| {
        let socket = socket_of(open)?.accept()?;
        if !addr.is_null() {
            // A peer that is gone already has no address any more.
            let peer = socket.peer_address().map_err(|_| Errno::ECONNABORTED)?;
            write_address(&peer, addr, len)?;
        }
        ipc::install(socket, status, close_on_exec)
    })
}

/// CLOCK_MONOTONIC time at which a socket's timeout ends.
pub(super) fn deadline(timeout: &AtomicU64) -> Option<u64> {
    match timeout.load(Ordering::Relaxed) {
        0 => None,
        timeout => Some(spore_hal::time::monotonic().saturating_add(timeout)),
    }
}

/// connect(2).
pub fn connect(fd: i32, addr: UserAddr, len: u32) -> Flow {
    let prepare = || {
        let open = current_file(fd)?;
        let deadline = deadline(&socket_of(&open)?.timeouts().send);
        Ok::<_, Errno>((open, read_address(addr, len)?, deadline))
    };
    let (open, address, deadline) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return Flow::from(error),
    };
    let patient = !open.nonblocking();
    match socket_of(&open).and_then(|socket| socket.connect(&address)) {
        Err(Errno::EINPROGRESS | Errno::EALREADY) if patient => {
            Flow::blocked(established(open, address, deadline))
        }
        // A unix listener's queue is full.
        Err(Errno::EAGAIN) if patient => block::retry(open, false, deadline, move |open| {
            socket_of(open)?.connect(&address).map(|()| 0)
        }),
        result => result.into(),
    }
}

/// Waits for the outcome of a connection attempt, which connecting again tells.
async fn established(
    open: Arc<OpenFile>,
    address: SocketAddress,
    deadline: Option<u64>,
) -> Result<usize> {
    let _watch = Watch::new(&open);
    loop {
        match socket_of(&open)?.connect(&address) {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => {}
            outcome => return outcome.map(|()| 0),
        }
        match park(deadline).await {
            Ok(()) => {}
            Err(Errno::ETIMEDOUT) => return Err(Errno::EINPROGRESS),
            Err(error) => return Err(error),
        }
    }
}

/// getsockname(2).
pub fn getsockname(fd: i32, addr: UserAddr, len: UserAddr) -> Result<()> {
    let open = current_file(fd)?;
    write_address(&socket_of(&open)?.local_address()?, addr, len)
}

/// getpeername(2).
pub fn getpeername(fd: i32, addr: UserAddr, len: UserAddr) -> Result<()> {
    let open = current_file(fd)?;
    write_address(&socket_of(&open)?.peer_address()?, addr, len)
}

/// shutdown(2).
pub fn shutdown(fd: i32, how: u32) -> Result<()> {
    let open = current_file(fd)?;
    let how = match how {
        0 => Shutdown {
            read: true,
            write: false,
        },
        1 => Shutdown {
            read: false,
            write: true,
        },
        2 => Shutdown {
            read: true,
            write: true,
        },
        _ => return Err(Errno::EINVAL),
    };
    socket_of(&open)?.shutdown(how)
}

/// setsockopt(2).
pub fn setsockopt(fd: i32, level: i32, name: i32, value: UserAddr, len: i32) -> Result<()> {
    let open = current_file(fd)?;
    let socket = socket_of(&open)?;
    let len = usize::try_from(len)
        .map_err(|_| Errno::EINVAL)?
        .min(OPTION_MAX);
    let mut bytes = [0; OPTION_MAX];
    user::read_bytes(value, &mut bytes[..len])?;
    let bytes = &bytes[..len];
    match (level, name) {
        (SOL_SOCKET, SO_RCVTIMEO) => set_timeout(&socket.timeouts().receive, bytes),
        (SOL_SOCKET, SO_SNDTIMEO) => set_timeout(&socket.timeouts().send, bytes),
        _ => socket.set_option(level, name, bytes),
    }
}

/// A `struct timeval`; zero means none. EDOM for microseconds outside a second.
fn set_timeout(place: &AtomicU64, value: &[u8]) -> Result<()> {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(value.get(at..at + 8).ok_or(Errno::EINVAL)?);
        Ok(i64::from_le_bytes(bytes))
    };
    let (seconds, microseconds) = (word(0)?, word(8)?);
    let fraction = u64::try_from(microseconds)
        .ok()
        .filter(|part| *part < 1_000_000)
        .ok_or(Errno::EDOM)?;
    // Negative seconds end at once, which the shortest timeout does as well.
    let whole = u64::try_from(seconds).map_or(Some(1), |seconds| {
        seconds
            .saturating_mul(NANOSECONDS)
            .checked_add(fraction * 1000)
    });
    place.store(whole.unwrap_or(0), Ordering::Relaxed);
    Ok(())
}

/// getsockopt(2).
pub fn getsockopt(fd: i32, level: i32, name: i32, value: UserAddr, len: UserAddr) -> Result<()> {
    let open = current_file(fd)?;
    let socket = socket_of(&open)?;
    let room: i32 = user::read(len)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let give = |bytes: &[u8]| {
        let count = room.min(bytes.len());
        user::write_bytes(value, &bytes[..count])?;
        user::write(len, &(count as u32))
    };
    let number = |number: i32| give(&number.to_le_bytes());
    match (level, name) {
        (SOL_SOCKET, SO_TYPE) => number(socket.kind() as i32),
        (SOL_SOCKET, SO_DOMAIN) => number(i32::from(socket.family())),
        (SOL_SOCKET, SO_PROTOCOL) => number(socket.protocol() as i32),
        (SOL_SOCKET, SO_ERROR) => number(socket.take_error().map_or(0, |error| i32::from(error.0))),
        (SOL_SOCKET, SO_RCVTIMEO) => give(&timeval(&socket.timeouts().receive)),
        (SOL_SOCKET, SO_SNDTIMEO) => give(&timeval(&socket.timeouts().send)),
        _ => give(&socket.option(level, name)?),
    }
}

fn timeval(timeout: &AtomicU64) -> [u8; 16] {
    let timeout = timeout.load(Ordering::Relaxed);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(timeout / NANOSECONDS).to_le_bytes());
    bytes[8..].copy_from_slice(&(timeout % NANOSECONDS / 1000).to_le_bytes());
    bytes
}
