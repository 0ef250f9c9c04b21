//! AF_UNIX sockets (unix(7)): streams, datagrams and sequences of packets.
//!
//! A stream socket uses an [`End`] of a byte connection once it is connected. The
//! other kinds have an [`Inbox`] each, and senders put messages into it.
//!
//! Files under way are held by the socket that will receive them. Sockets that hold
//! each other that way, with no descriptor left, are not searched for: they stay.

mod connect;
mod inbox;
mod names;
mod options;
mod transfer;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use spore_abi::boot::BootInfo;
use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::{Stat, mode};
use crate::ipc::anonymous::{self, Home};
use crate::ipc::ioctl;
use crate::ipc::stream::{DEFAULT_LIMIT, End};
use crate::mm::io::{Reader, Writer};
use crate::net::families::{self, Family};
use crate::net::socket::{
    Received, SendParameters, Shutdown, Socket, SocketAddress, Timeouts, family, kind,
};
use crate::sched::notify::Notifier;
use inbox::Inbox;
use names::{Address, Name};

/// pid, uid and gid of a process (`struct ucred`).
pub type Credentials = [u32; 3];

/// A unix socket.
pub struct UnixSocket {
    me: Weak<UnixSocket>,
    kind: u32,
    inode: u64,
    notifier: Arc<Notifier>,
    /// Of the process that made the socket.
    credentials: Credentials,
    /// Messages (not for streams).
    inbox: Inbox,
    state: Lock<State>,
    /// Error that the next operation answers (not for streams), 0 for none.
    error: AtomicU16,
    /// SO_SNDBUF.
    send_buffer: AtomicUsize,
    /// SO_RCVBUF; only kept.
    receive_buffer: AtomicUsize,
    /// SO_PASSCRED.
    pass_credentials: AtomicBool,
    timeouts: Timeouts,
}

struct State {
    role: Role,
    /// Bound name; accepted sockets show their listener's instead.
    name: Option<Name>,
    local: Option<SocketAddress>,
    peer: Option<Peer>,
    /// shutdown(2) was called for this direction.
    read_shut: bool,
    write_shut: bool,
}

/// What a socket is being used for.
enum Role {
    /// Neither connected nor listening.
    Idle,
    /// Connections come in.
    Listening(Listener),
    /// A connected stream.
    Stream(Arc<End>),
    /// Messages go to this socket.
    Messages(Weak<UnixSocket>),
}

struct Listener {
    backlog: usize,
    /// Connected sockets that wait for accept.
    queue: VecDeque<Arc<UnixSocket>>,
    /// Sockets that found the queue full.
    starved: Vec<Weak<UnixSocket>>,
}

/// Who is at the other side, as of when the connection was made.
#[derive(Clone, Copy)]
struct Peer {
    address: Option<SocketAddress>,
    credentials: Credentials,
}

/// Makes the family known.
pub fn initialise(_info: &BootInfo) {
    families::register(Family {
        number: family::UNIX,
        create: |kind, protocol| Ok(create(checked(kind, protocol)?)?),
        pair: |kind, protocol| {
            let (first, second) = create_pair(checked(kind, protocol)?)?;
            Ok((first, second))
        },
    });
}

/// The type, if the protocol is the one there is. EPROTONOSUPPORT.
fn checked(kind: u32, protocol: u32) -> Result<u32> {
    if protocol > 1 {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(kind)
}

/// A new socket of the current process. ESOCKTNOSUPPORT.
pub fn create(kind: u32) -> Result<Arc<UnixSocket>> {
    UnixSocket::new(kind, current_credentials())
}

/// socketpair(2): two connected sockets. ESOCKTNOSUPPORT.
pub fn create_pair(kind: u32) -> Result<(Arc<UnixSocket>, Arc<UnixSocket>)> {
    let (one, two) = (create(kind)?, create(kind)?);
    connect::join(&one, &two);
    Ok((one, two))
}

fn current_credentials() -> Credentials {
    let boot = spore_hal::direct::boot_info();
    [
        crate::sched::current().process().pid() as u32,
        boot.uid,
        boot.gid,
    ]
}

impl UnixSocket {
    fn new(kind: u32, credentials: Credentials) -> Result<Arc<Self>> {
        let kind = match kind {
            kind::STREAM | kind::DGRAM | kind::SEQPACKET => kind,
            // As on Linux, raw unix sockets are datagram sockets.
            kind::RAW => kind::DGRAM,
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            kind,
            inode: anonymous::next_inode(),
            notifier: Arc::new(Notifier::new()),
            credentials,
            inbox: Inbox::new(),
            state: Lock::new(State {
                role: Role::Idle,
                name: None,
                local: None,
                peer: None,
                read_shut: false,
                write_shut: false,
            }),
            error: AtomicU16::new(0),
            send_buffer: AtomicUsize::new(DEFAULT_LIMIT),
            receive_buffer: AtomicUsize::new(DEFAULT_LIMIT),
            pass_credentials: AtomicBool::new(false),
            timeouts: Timeouts::default(),
        }))
    }
    fn is_stream(&self) -> bool {
        self.kind == kind::STREAM
    }
    /// The connection of a stream, to be used without holding the lock.
    fn end(&self) -> Option<Arc<End>> {
        match &self.state.lock().role {
            Role::Stream(end) => Some(end.clone()),
            _ => None,
        }
    }
    /// The socket that messages go to, if it still exists.
    fn receiver(&self) -> Option<Arc<UnixSocket>> {
        match &self.state.lock().role {
            Role::Messages(peer) => peer.upgrade(),
            _ => None,
        }
    }
    fn limit(&self) -> usize {
        self.send_buffer.load(Ordering::Relaxed)
    }
    fn fail_with(&self, error: Errno) {
        self.error.store(error.0, Ordering::Relaxed);
    }
    fn take_own_error(&self) -> Option<Errno> {
        match self.error.swap(0, Ordering::Relaxed) {
            0 => None,
            number => Some(Errno(number)),
        }
    }
    /// Tells the senders that wait for room in the inbox.
    fn feed_starved(&self) {
        for sender in self.inbox.take_starved(self.limit()) {
            sender.notifier.notify(events::OUT | events::WRNORM);
        }
    }
    /// Readiness of an unconnected or listening socket, or one for messages.
    fn poll_without_stream(&self) -> u32 {
        let (listening, connected, waiting, read_shut, write_shut) = {
            let state = self.state.lock();
            let waiting = match &state.role {
                Role::Listening(listener) => !listener.queue.is_empty(),
                _ => false,
            };
            let connected = matches!(state.role, Role::Messages(_));
            (
                matches!(state.role, Role::Listening(_)),
                connected,
                waiting,
                state.read_shut,
                state.write_shut,
            )
        };
        let receiver = self.receiver();
        let read_ended = read_shut || self.inbox.has_ended();
        let mut ready = 0;
        if self.error.load(Ordering::Relaxed) != 0 {
            ready |= events::ERR;
        }
        if read_ended {
            ready |= events::IN | events::RDNORM | events::RDHUP;
        }
        let write_ended = write_shut
            || (self.kind == kind::SEQPACKET
                && connected
                && receiver.as_ref().is_none_or(|to| to.inbox.refuses()));
        let unconnected = self.kind != kind::DGRAM && !connected && !listening;
        if read_ended && write_ended || unconnected {
            ready |= events::HUP;
        }
        if waiting || !self.inbox.is_empty() {
            ready |= events::IN | events::RDNORM;
        }
        let room = match &receiver {
            Some(receiver) => {
                receiver
                    .inbox
                    .writable(self.limit(), self.queue_length_at(receiver), &self.me)
            }
            None => !listening,
        };
        if room {
            ready |= events::OUT | events::WRNORM | events::WRBAND;
        }
        ready
    }
    /// How many messages may wait in `receiver`, seen from this socket.
    fn queue_length_at(&self, receiver: &UnixSocket) -> usize {
        match &receiver.state.lock().role {
            Role::Messages(back) if back.ptr_eq(&self.me) => usize::MAX,
            _ => inbox::QUEUE_LENGTH,
        }
    }
}

impl File for UnixSocket {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        self.receive(out, 0).map(|received| received.copied)
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        self.send(data, &SendParameters::default())
    }
    fn poll(&self) -> u32 {
        match self.end() {
            Some(end) => end.poll(),
            None => self.poll_without_stream(),
        }
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::attributes(
            Home::Sockets,
            self.inode,
            mode::SOCKET | 0o777,
        ))
    }
    fn ioctl(&self, _open: &OpenFile, request: u32, argument: u64) -> Result<usize> {
        let end = self.end();
        let value = match (request, &end) {
            (ioctl::FIONREAD, Some(end)) => end.available(),
            (ioctl::FIONREAD, None) if self.is_stream() => return Err(Errno::EINVAL),
            (ioctl::FIONREAD, None) => self.inbox.next_length(),
            (ioctl::TIOCOUTQ, Some(end)) => end.unread_by_peer(),
            (ioctl::TIOCOUTQ, None) => 0,
            _ => return Err(Errno::ENOTTY),
        };
        ioctl::answer(argument, value)
    }
    fn path(&self) -> String {
        format!("socket:[{}]", self.inode)
    }
    fn patience(&self, writing: bool) -> Option<u64> {
        let timeout = if writing {
            &self.timeouts.send
        } else {
            &self.timeouts.receive
        };
        match timeout.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(nanoseconds),
        }
    }
    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Socket for UnixSocket {
    fn family(&self) -> u16 {
        family::UNIX
    }
    fn kind(&self) -> u32 {
        self.kind
    }
    fn bind(&self, address: &SocketAddress) -> Result<()> {
        self.bind_to(address)
    }
    fn listen(&self, backlog: i32) -> Result<()> {
        self.start_listening(backlog)
    }
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        self.take_connection()
            .map(|socket| socket as Arc<dyn Socket>)
    }
    fn connect(&self, address: &SocketAddress) -> Result<()> {
        self.connect_to(address)
    }
    fn local_address(&self) -> Result<SocketAddress> {
        match self.state.lock().local {
            Some(address) => Ok(address),
            None => Address::Unnamed.encode(),
        }
    }
    fn peer_address(&self) -> Result<SocketAddress> {
        let peer = self.state.lock().peer.ok_or(Errno::ENOTCONN)?;
        match peer.address {
            Some(address) => Ok(address),
            None => Address::Unnamed.encode(),
        }
    }
    fn send(&self, data: &mut Reader<'_>, parameters: &SendParameters) -> Result<usize> {
        self.transmit(data, parameters)
    }
    fn receive(&self, out: &mut Writer<'_>, flags: u32) -> Result<Received> {
        self.take_in(out, flags)
    }
    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.shut(how);
        Ok(())
    }
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        self.change_option(level, name, value)
    }
    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        self.read_option(level, name)
    }
    fn take_error(&self) -> Option<Errno> {
        match self.end() {
            Some(end) => end.take_error(),
            None => self.take_own_error(),
        }
    }
    fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
