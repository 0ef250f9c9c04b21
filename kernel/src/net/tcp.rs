//! TCP sockets: streams over the shared rings, or inside the guest when both ends
//! are here.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use spore_abi::net::{ACCEPT_RECORD, AcceptRecord, Address, call, host_flag};
use spore_hal::{Lock, host};

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::ipc::channel::{Files, ReadMode};
use crate::ipc::ioctl;
use crate::ipc::stream::{DEFAULT_LIMIT, End, pair};
use crate::mm::io::{Reader, Writer};
use crate::net::connection::Connection;
use crate::net::doorbell::{self, Endpoint};
use crate::net::options::{self, Options, level, tcp};
use crate::net::ports::{Bound, PortTable};
use crate::net::socket::option::{SO_ACCEPTCONN, SOL_SOCKET};
use crate::net::socket::{
    Received, SendParameters, Shutdown, Socket, SocketAddress, Timeouts, kind, message_flag,
};
use crate::net::{address, inode, slots};
use crate::sched::notify::{Notifier, Observer};

/// Ring of a listener: 256 accepted connections.
const LISTENER_RX: u32 = 16 << 10;
/// Bounds of a backlog (`net.core.somaxconn`).
const BACKLOG: core::ops::RangeInclusive<i32> = 1..=4096;
const IPPROTO_TCP: u32 = 6;
/// TCP_INFO states.
const ESTABLISHED: u8 = 1;
const CLOSED: u8 = 7;
const LISTENING: u8 = 10;

static PORTS: PortTable<Tcp> = PortTable::new();

mod connecting;
mod listening;
mod transfer;

use connecting::connect_again;
use transfer::poll_host;

/// A TCP socket.
pub struct Tcp {
    family: u16,
    this: Weak<Tcp>,
    state: Lock<State>,
    options: Lock<Options>,
    notifier: Notifier,
    timeouts: Timeouts,
    inode: u64,
}

enum State {
    /// Not connected (any more).
    Open {
        bound: Option<Local>,
        error: Option<Errno>,
    },
    Listening(Listener),
    /// Over the rings.
    Host(HostStream),
    /// Both ends are in the guest.
    Inside(InsideStream),
}

/// A bound port and how it came about.
#[derive(Clone, Copy)]
struct Local {
    bound: Bound,
    /// Chosen by us and not shown to the program yet: another one would do.
    movable: bool,
    /// Chosen by us: the host may publish it elsewhere.
    chosen: bool,
}

struct Listener {
    local: Local,
    /// The slot, if the port is published.
    connection: Option<Connection>,
    /// Connections from inside: their end and address.
    inside: VecDeque<(Arc<End>, Address)>,
    backlog: usize,
}

struct HostStream {
    connection: Connection,
    bound: Option<Local>,
    local: Address,
    peer: Address,
    /// A connect whose outcome the program has not seen.
    connecting: bool,
    shut_read: bool,
    shut_write: bool,
}

#[derive(Clone)]
struct InsideStream {
    end: Arc<End>,
    bound: Option<Local>,
    local: Address,
    peer: Address,
    /// As of [`HostStream`].
    connecting: bool,
}

/// Hands the news of an inside connection on to its socket.
struct Forward(Weak<Tcp>);

impl Observer for Forward {
    fn notified(&self, events: u32, _key: u64) {
        if let Some(socket) = self.0.upgrade() {
            socket.notifier.notify(events);
        }
    }
}

impl Tcp {
    /// A new socket of the family INET or INET6.
    pub fn new(family: u16) -> Arc<Self> {
        Self::with(
            family,
            State::Open {
                bound: None,
                error: None,
            },
            Options::default(),
        )
    }
    fn with(family: u16, state: State, options: Options) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            family,
            this: this.clone(),
            state: Lock::new(state),
            options: Lock::new(options),
            notifier: Notifier::new(),
            timeouts: Timeouts::default(),
            inode: inode::next(),
        })
    }
    /// An end of a connection inside the guest.
    fn inside(family: u16, stream: InsideStream, options: Options) -> Arc<Self> {
        let end = stream.end.clone();
        let socket = Self::with(family, State::Inside(stream), options);
        socket.follow(&end);
        socket
    }
    fn follow(&self, end: &Arc<End>) {
        end.notifier().add(Arc::new(Forward(self.this.clone())), 0);
    }
}

impl Endpoint for Tcp {
    fn news(&self) {
        let ready = self.poll();
        if ready != 0 {
            self.notifier.notify(ready);
        }
    }
}

impl File for Tcp {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        self.read_flags(out, 0)
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        self.write_all(data)
    }
    fn poll(&self) -> u32 {
        match &*self.state.lock() {
            State::Open { error, .. } => {
                let error = if error.is_some() { events::ERR } else { 0 };
                events::OUT | events::WRNORM | events::HUP | error
            }
            State::Listening(listener) => {
                let outside = listener.connection.as_ref();
                let waiting = !listener.inside.is_empty()
                    || outside.is_some_and(|connection| connection.available() >= ACCEPT_RECORD);
                if waiting {
                    events::IN | events::RDNORM
                } else {
                    0
                }
            }
            State::Host(stream) => poll_host(stream),
            State::Inside(stream) => stream.end.poll_tcp(),
        }
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(inode::stat(self.inode))
    }
    fn ioctl(&self, _open: &OpenFile, request: u32, argument: u64) -> Result<usize> {
        let (readable, unsent) = match &*self.state.lock() {
            State::Host(stream) => (
                stream.connection.available() as usize,
                stream.connection.untaken() as usize,
            ),
            State::Inside(stream) => (stream.end.available(), stream.end.unread_by_peer()),
            State::Listening(_) if request == ioctl::FIONREAD => return Err(Errno::EINVAL),
            _ => (0, 0),
        };
        match request {
            ioctl::FIONREAD => ioctl::answer(argument, readable),
            ioctl::TIOCOUTQ => ioctl::answer(argument, unsent),
            _ => Err(Errno::ENOTTY),
        }
    }
    fn patience(&self, writing: bool) -> Option<u64> {
        self.timeouts.patience(writing)
    }
    fn path(&self) -> String {
        alloc::format!("socket:[{}]", self.inode)
    }
    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Socket for Tcp {
    fn family(&self) -> u16 {
        self.family
    }
    fn kind(&self) -> u32 {
        kind::STREAM
    }
    fn protocol(&self) -> u32 {
        IPPROTO_TCP
    }
    fn bind(&self, to: &SocketAddress) -> Result<()> {
        let to = address::parse(to, self.family)?;
        address::check_bindable(&to)?;
        let sharing = self.options.lock().sharing();
        let mut state = self.state.lock();
        let State::Open {
            bound: place @ None,
            ..
        } = &mut *state
        else {
            return Err(Errno::EINVAL);
        };
        let bound = PORTS.bind(to, sharing, self.this.clone())?;
        *place = Some(Local {
            bound,
            movable: to.port == 0,
            chosen: to.port == 0,
        });
        Ok(())
    }
    fn listen(&self, backlog: i32) -> Result<()> {
        let backlog = backlog.clamp(*BACKLOG.start(), *BACKLOG.end());
        let bound = match &mut *self.state.lock() {
            State::Open { bound, .. } => *bound,
            State::Listening(listener) => {
                listener.backlog = backlog as usize;
                return Ok(());
            }
            _ => return Err(Errno::EINVAL),
        };
        let local = self.local(bound)?;
        match self.start_listening(local, backlog) {
            Ok(listener) => {
                *self.state.lock() = State::Listening(listener);
                self.news();
                Ok(())
            }
            Err(error) => {
                *self.state.lock() = State::Open {
                    bound: Some(local),
                    error: None,
                };
                Err(error)
            }
        }
    }
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        let mut state = self.state.lock();
        let State::Listening(listener) = &mut *state else {
            return Err(Errno::EINVAL);
        };
        if let Some((end, peer)) = listener.inside.pop_front() {
            let local = address::source_for(&peer, listener.local.bound.address.port);
            drop(state);
            let options = self.options.lock().clone();
            return Ok(Self::inside(
                self.family,
                InsideStream {
                    end,
                    bound: None,
                    local,
                    peer,
                    connecting: false,
                },
                options,
            ));
        }
        match self.accept_host(listener) {
            Some(socket) => Ok(socket),
            None => Err(Errno::EAGAIN),
        }
    }
    fn connect(&self, to: &SocketAddress) -> Result<()> {
        if to.family()? == super::socket::family::UNSPEC {
            return self.disconnect();
        }
        let to = address::destination(address::parse(to, self.family)?);
        let bound = {
            let mut state = self.state.lock();
            match &mut *state {
                State::Open { bound, .. } => *bound,
                State::Inside(stream) if stream.connecting => {
                    stream.connecting = false;
                    return Ok(());
                }
                State::Listening(_) | State::Inside(_) => return Err(Errno::EISCONN),
                State::Host(stream) => match connect_again(stream) {
                    Err(Errno::ECANCELED) => stream.bound, // Failed before: once more.
                    result => return result,
                },
            }
        };
        if (address::is_loopback(&to) || address::is_own(&to))
            && let Some(stream) = self.connect_inside(&to, bound)?
        {
            let end = stream.end.clone();
            let old = core::mem::replace(&mut *self.state.lock(), State::Inside(stream));
            retire(old, false, false);
            self.follow(&end);
            self.notifier.notify(events::OUT | events::WRNORM);
            // It is done, but Linux never says so at once.
            return Err(Errno::EINPROGRESS);
        }
        let stream = self.connect_host(to, bound)?;
        let connecting = stream.connecting;
        let old = core::mem::replace(&mut *self.state.lock(), State::Host(stream));
        retire(old, false, false);
        if connecting {
            Err(Errno::EINPROGRESS)
        } else {
            Ok(())
        }
    }
    fn local_address(&self) -> Result<SocketAddress> {
        let local = match &mut *self.state.lock() {
            State::Open {
                bound: Some(local), ..
            } => {
                local.movable = false;
                local.bound.address
            }
            State::Open { .. } => address::any(self.family),
            State::Listening(listener) => listener.local.bound.address,
            State::Host(stream) => stream.local,
            State::Inside(stream) => stream.local,
        };
        Ok(address::format(&local, self.family))
    }
    fn peer_address(&self) -> Result<SocketAddress> {
        let peer = match &*self.state.lock() {
            State::Host(stream) if stream.connection.flags() & host_flag::CONNECTED != 0 => {
                stream.peer
            }
            State::Inside(stream) => stream.peer,
            _ => return Err(Errno::ENOTCONN),
        };
        Ok(address::format(&peer, self.family))
    }
    fn send(&self, data: &mut Reader<'_>, parameters: &SendParameters) -> Result<usize> {
        if parameters.flags & message_flag::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.write_all(data)
    }
    fn receive(&self, out: &mut Writer<'_>, flags: u32) -> Result<Received> {
        if flags & message_flag::OOB != 0 {
            return Err(Errno::EINVAL);
        }
        if flags & message_flag::ERRQUEUE != 0 {
            return Err(Errno::EAGAIN);
        }
        let copied = self.read_flags(out, flags)?;
        Ok(Received {
            copied,
            full: copied,
            ..Received::default()
        })
    }
    fn shutdown(&self, how: Shutdown) -> Result<()> {
        if let Some(end) = self.inside_end() {
            if how.write {
                end.shutdown_write();
            }
            if how.read {
                end.shutdown_read();
            }
            return Ok(());
        }
        {
            let mut state = self.state.lock();
            let State::Host(stream) = &mut *state else {
                return Err(Errno::ENOTCONN);
            };
            if stream.connection.flags() & host_flag::CONNECTED == 0 {
                return Err(Errno::ENOTCONN);
            }
            stream.shut_read |= how.read;
            if how.write && !stream.shut_write {
                stream.shut_write = true;
                stream.connection.shutdown_write();
            }
        }
        self.news();
        Ok(())
    }
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let mut options = self.options.lock();
        options.set(level, name, value)?;
        let (on, times) = options.keepalive();
        drop(options);
        if options::is_keepalive(level, name)
            && let State::Host(stream) = &*self.state.lock()
        {
            stream.connection.set_keepalive(on, times);
        }
        Ok(())
    }
    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        let state = match &*self.state.lock() {
            State::Listening(_) => LISTENING,
            State::Host(stream) if stream.connection.flags() & host_flag::HUP == 0 => ESTABLISHED,
            State::Inside(_) => ESTABLISHED,
            _ => CLOSED,
        };
        match (level, name) {
            (SOL_SOCKET, SO_ACCEPTCONN) => {
                Ok(Vec::from(i32::from(state == LISTENING).to_le_bytes()))
            }
            (level::TCP, tcp::INFO) => Ok(options::tcp_info(state)),
            _ => self.options.lock().get(level, name),
        }
    }
    fn take_error(&self) -> Option<Errno> {
        match &mut *self.state.lock() {
            State::Open { error, .. } => error.take(),
            State::Host(stream) => stream.connection.take_error(),
            State::Inside(stream) => stream.end.take_error(),
            State::Listening(_) => None,
        }
    }
    fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

/// Ends what a socket was; with `release`, its port is free again.
fn retire(state: State, release: bool, reset: bool) {
    let bound = match state {
        State::Open { bound, .. } => bound,
        State::Listening(mut listener) => {
            if let Some(mut connection) = listener.connection.take() {
                connection.close_listener();
            }
            let refused = core::mem::take(&mut listener.inside);
            for (end, _) in refused {
                end.close(Errno::ECONNRESET);
            }
            Some(listener.local)
        }
        State::Host(mut stream) => {
            stream.connection.close(reset);
            stream.bound
        }
        State::Inside(stream) => {
            stream
                .end
                .close(if reset { Errno::ECONNRESET } else { Errno(0) });
            stream.bound
        }
    };
    if let (Some(local), true) = (bound, release) {
        PORTS.release(&local.bound);
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        let reset = self.options.get_mut().resets_on_close();
        let state = core::mem::replace(
            self.state.get_mut(),
            State::Open {
                bound: None,
                error: None,
            },
        );
        retire(state, true, reset);
    }
}
