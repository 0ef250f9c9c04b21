//! System calls of the rings, each in one thin function.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::net::address::RawAddress;
use crate::net::entry::{Kind, Way};

/// Largest write to a descriptor of which only "a page fits" is known.
const PAGE: u32 = 4096;

fn result(value: isize) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::last_os_error())
}

fn own(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just created and belongs to no one else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Receives up to `len` bytes; 0 is end of file, EAGAIN nothing there.
///
/// # Safety
/// `place` must be valid for writes of `len` bytes.
pub unsafe fn receive(fd: RawFd, place: *mut u8, len: u32, kind: Kind) -> io::Result<u32> {
    if kind == Kind::Input(Way::Shared) && !is_ready(fd, libc::POLLIN) {
        return Err(io::Error::from_raw_os_error(libc::EAGAIN));
    }
    // SAFETY: promised by the caller.
    result(unsafe {
        match kind {
            Kind::Input(Way::Direct | Way::Own | Way::Shared) => {
                libc::read(fd, place.cast(), len as usize)
            }
            _ => libc::recv(fd, place.cast(), len as usize, libc::MSG_DONTWAIT),
        }
    })
}

/// Sends from two pieces; answers how much was taken.
///
/// # Safety
/// Both pieces must be valid for reads of their lengths.
pub unsafe fn send(
    fd: RawFd,
    head: (*const u8, u32),
    rest: (*const u8, u32),
    kind: Kind,
) -> io::Result<u32> {
    let piece = |(at, len): (*const u8, u32)| libc::iovec {
        iov_base: at.cast_mut().cast(),
        iov_len: len as usize,
    };
    let mut pieces = [piece(head), piece(rest)];
    let count = if rest.1 == 0 { 1 } else { 2 };
    if let Kind::Output(way @ (Way::Direct | Way::Own | Way::Shared)) = kind {
        if way == Way::Shared {
            if !is_ready(fd, libc::POLLOUT) {
                return Err(io::Error::from_raw_os_error(libc::EAGAIN));
            }
            pieces[0].iov_len = head.1.min(PAGE) as usize;
        }
        let count = if way == Way::Shared { 1 } else { count };
        // SAFETY: promised by the caller.
        return result(unsafe { libc::writev(fd, pieces.as_ptr(), count) });
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: promised by the caller; a zeroed msghdr is valid.
    result(unsafe {
        if count == 1 {
            libc::send(fd, head.0.cast(), head.1 as usize, flags)
        } else {
            let mut message: libc::msghdr = zeroed();
            message.msg_iov = pieces.as_mut_ptr();
            message.msg_iovlen = 2;
            libc::sendmsg(fd, &message, flags)
        }
    })
}

/// Sends one datagram; `to`: `None` for the connected peer.
pub fn send_datagram(fd: RawFd, data: &[u8], to: Option<&SocketAddr>) -> io::Result<u32> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let name = to.map(RawAddress::new);
    let (at, len) = name
        .as_ref()
        .map_or((std::ptr::null(), 0), |name| (name.as_ptr(), name.len));
    // SAFETY: a live slice and a live address or none.
    result(unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), flags, at, len) })
}

/// Receives one datagram into `buffer`.
pub fn receive_datagram(fd: RawFd, buffer: &mut [u8]) -> io::Result<(u32, Option<SocketAddr>)> {
    let mut from = RawAddress::empty();
    // SAFETY: a live exclusive slice, and room for an address with its length.
    let count = result(unsafe {
        let len = &raw mut from.len;
        let name = from.as_mut_ptr();
        libc::recvfrom(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            name,
            len,
        )
    })?;
    Ok((count, from.to_rust()))
}

/// Length of the next datagram, without taking it.
pub fn next_datagram(fd: RawFd) -> io::Result<u32> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK | libc::MSG_TRUNC;
    // SAFETY: no byte is written.
    result(unsafe { libc::recv(fd, std::ptr::null_mut(), 0, flags) })
}

/// Shuts the sending direction down.
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: takes only a descriptor.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Takes a listening socket back to merely bound.
pub fn stop_listening(fd: RawFd) {
    // SAFETY: takes only a descriptor.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// SO_ERROR, 0 for none.
pub fn pending_error(fd: RawFd) -> i32 {
    let mut error = 0_i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: room for an int and its length.
    let failed = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &mut len,
        )
    };
    if failed == 0 { error } else { libc::EIO }
}

fn set(fd: RawFd, level: i32, name: i32, value: i32) {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: a live int. Options that a host does not know change nothing.
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
}

/// Sends without waiting for more: the rings coalesce already.
pub fn no_delay(fd: RawFd) {
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

/// Gives up on a peer that does not take the rest of a closed connection.
pub fn limit_flush(fd: RawFd, limit: Duration) {
    let ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    set(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, ms);
}

/// Makes close reset the connection.
pub fn reset_on_close(fd: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: a live structure of that size.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            len,
        )
    };
}

/// Applies keep-alive settings; zero times keep the host's.
pub fn keepalive(fd: RawFd, options: u32, times: u64) {
    let on = options & spore_abi::net::socket_option::KEEPALIVE != 0;
    set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, i32::from(on));
    let names = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT];
    for (index, name) in names.into_iter().enumerate() {
        let value = (times >> (16 * index)) as u16;
        if value != 0 {
            set(fd, libc::IPPROTO_TCP, name, i32::from(value));
        }
    }
}

/// A non-blocking socket.
pub fn socket(address: &SocketAddr, kind: i32) -> io::Result<OwnedFd> {
    let domain = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: creates a descriptor.
    own(unsafe { libc::socket(domain, kind, 0) })
}

/// Lets an AF_INET6 socket speak IPv4 as well.
pub fn dual_stack(fd: RawFd) {
    set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0);
}

/// Permits datagrams to broadcast addresses, as far as the host does.
pub fn broadcast(fd: RawFd) {
    set(fd, libc::SOL_SOCKET, libc::SO_BROADCAST, 1);
}

/// connect(2); EINPROGRESS is an error here.
pub fn connect(fd: RawFd, to: &SocketAddr) -> io::Result<()> {
    let name = RawAddress::new(to);
    // SAFETY: a live address of that length.
    result(unsafe { libc::connect(fd, name.as_ptr(), name.len) } as isize).map(drop)
}

/// A non-blocking connection to a socket of the host. A listener whose queue is full
/// refuses it, as one that is not there.
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all zero is a valid address.
    let mut name: libc::sockaddr_un = unsafe { zeroed() };
    if bytes.len() >= name.sun_path.len() {
        return Err(refused());
    }
    name.sun_family = libc::AF_UNIX as u16;
    for (to, from) in name.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: creates a descriptor.
    let fd = own(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    let len = size_of::<libc::sockaddr_un>() as u32;
    // SAFETY: a live address of that length.
    result(unsafe { libc::connect(fd.as_raw_fd(), (&raw const name).cast(), len) } as isize)
        .map_err(|_| refused())?;
    Ok(fd)
}

/// Forgets the peer of a datagram socket.
pub fn disconnect(fd: RawFd) {
    let mut name = RawAddress::empty();
    name.storage.ss_family = libc::AF_UNSPEC as u16;
    // SAFETY: a live address.
    unsafe { libc::connect(fd, name.as_ptr(), name.len) };
}

/// SO_REUSEADDR.
pub fn reuse_address(fd: RawFd, on: bool) {
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, i32::from(on));
}

/// A socket bound to `address`, not yet listening. Connections in TIME_WAIT do not
/// keep it from being bound, but it keeps everybody else from binding.
pub fn bound(address: &SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket(address, libc::SOCK_STREAM)?;
    reuse_address(fd.as_raw_fd(), true);
    bind(fd.as_raw_fd(), address)?;
    reuse_address(fd.as_raw_fd(), false);
    Ok(fd)
}

/// bind(2); of IPv6, to that alone.
fn bind(fd: RawFd, address: &SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
    }
    let name = RawAddress::new(address);
    // SAFETY: a live address of that length.
    result(unsafe { libc::bind(fd, name.as_ptr(), name.len) } as isize).map(drop)
}

/// A datagram socket bound to `address`.
pub fn bound_datagram(address: &SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket(address, libc::SOCK_DGRAM)?;
    bind(fd.as_raw_fd(), address)?;
    Ok(fd)
}

/// Makes a descriptor non-blocking.
pub fn unblock(fd: RawFd) {
    // SAFETY: takes only numbers.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}

/// listen(2).
pub fn listen(fd: RawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: takes only numbers.
    result(unsafe { libc::listen(fd, backlog) } as isize).map(drop)
}

/// accept4(2), non-blocking.
pub fn accept(fd: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut from = RawAddress::empty();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: room for an address with its length.
    let fd = own(unsafe {
        let len = &raw mut from.len;
        libc::accept4(fd, from.as_mut_ptr(), len, flags)
    })?;
    Ok((fd, from.to_rust()))
}

/// getsockname(2).
pub fn local_address(fd: RawFd) -> Option<SocketAddr> {
    let mut name = RawAddress::empty();
    // SAFETY: room for an address with its length.
    let failed = unsafe {
        let len = &raw mut name.len;
        libc::getsockname(fd, name.as_mut_ptr(), len)
    };
    if failed == 0 { name.to_rust() } else { None }
}

/// getpeername(2).
pub fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    let mut name = RawAddress::empty();
    // SAFETY: room for an address with its length.
    let failed = unsafe {
        let len = &raw mut name.len;
        libc::getpeername(fd, name.as_mut_ptr(), len)
    };
    if failed == 0 { name.to_rust() } else { None }
}

/// Whether poll reports `events` right now.
pub fn is_ready(fd: RawFd, events: i16) -> bool {
    wait_ready(fd, events, 0)
}

/// Waits until poll reports `events`, an error or hang-up; false after `timeout_ms`.
pub fn wait_ready(fd: RawFd, events: i16, timeout_ms: i32) -> bool {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one live entry.
    unsafe { libc::poll(&mut entry, 1, timeout_ms) > 0 }
}

/// Another open file description for the file behind `fd`: non-blocking without a
/// change to the one that is shared with the shell.
pub fn reopen(fd: RawFd, flags: i32) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}"))?;
    let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a NUL-ended path.
    own(unsafe { libc::open(path.as_ptr(), flags) })
}

/// st_mode of a descriptor, 0 if it is not open.
pub fn mode(fd: RawFd) -> u32 {
    // SAFETY: room for a stat.
    unsafe {
        let mut stat: libc::stat = zeroed();
        if libc::fstat(fd, &mut stat) == 0 {
            stat.st_mode
        } else {
            0
        }
    }
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: takes only a descriptor.
    unsafe { libc::isatty(fd) == 1 }
}

/// Raises the limit on descriptors to what the host permits.
pub fn raise_descriptor_limit() {
    // SAFETY: reads and writes a live structure.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic() -> u64 {
    // SAFETY: room for a timespec.
    unsafe {
        let mut now: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }
}

/// Lets other threads run.
pub fn give_way() {
    // SAFETY: has no preconditions.
    unsafe { libc::sched_yield() };
}

/// The time from now to `deadline` (CLOCK_MONOTONIC ns).
fn time_to(deadline: u64) -> libc::timespec {
    let left = match deadline {
        0 => 0,
        deadline => deadline.saturating_sub(monotonic()),
    };
    libc::timespec {
        tv_sec: (left / 1_000_000_000) as _,
        tv_nsec: (left % 1_000_000_000) as i64,
    }
}

/// Waits until one of two descriptors is readable, or until `deadline`
/// (CLOCK_MONOTONIC ns, `u64::MAX` none).
pub fn wait_readable(fds: [RawFd; 2], deadline: u64) {
    let mut entries = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    let time = time_to(deadline);
    let until = if deadline == u64::MAX {
        std::ptr::null()
    } else {
        &raw const time
    };
    // SAFETY: two live entries, a live time or none, no signal mask.
    unsafe { libc::ppoll(entries.as_mut_ptr(), 2, until, std::ptr::null()) };
}

/// Something for [`wait_for_any`].
pub fn watch(fd: RawFd, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// Waits for any of those; false if it was only the last, or a signal.
pub fn wait_for_any(watched: &mut [libc::pollfd]) -> bool {
    // SAFETY: live entries, as many as stated.
    unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, -1) };
    let others = watched.split_last().map_or(&[][..], |(_, others)| others);
    others.iter().any(|one| one.revents != 0)
}

/// An epoll instance.
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// A new instance.
    pub fn new() -> io::Result<Self> {
        // SAFETY: creates a descriptor.
        let fd = own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self { fd })
    }
    /// The instance as a descriptor: readable while there are events.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
    /// Watches `fd`, edge-triggered, both directions.
    pub fn add(&self, fd: RawFd, data: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (events | libc::EPOLLET) as u32,
            u64: data,
        };
        // SAFETY: a live event.
        let failed =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        result(failed as isize).map(drop)
    }
    /// Watches `fd` no longer.
    pub fn remove(&self, fd: RawFd) {
        // SAFETY: takes only numbers; the event is not read for this operation.
        unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd,
                std::ptr::null_mut(),
            )
        };
    }
    /// Takes the events that are there; answers how many.
    pub fn take(&self, events: &mut [libc::epoll_event]) -> usize {
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // SAFETY: room for that many events.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), room, 0) };
        usize::try_from(count).unwrap_or(0)
    }
}
