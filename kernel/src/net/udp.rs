//! UDP sockets: datagrams as records over the shared rings, or delivered inside
//! the guest when the destination is bound here.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;

use spore_abi::net::{Address, DATAGRAM_HEADER, DatagramHeader, MAX_DATAGRAM, call, host_flag};
use spore_hal::{Lock, host};

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::ipc::ioctl;
use crate::mm::io::{Reader, Writer};
use crate::net::connection::Connection;
use crate::net::doorbell::{self, Endpoint};
use crate::net::options::Options;
use crate::net::ports::{Bound, PortTable};
use crate::net::socket::{
    Received, SendParameters, Shutdown, Socket, SocketAddress, Timeouts, family, kind, message_flag,
};
use crate::net::{address, inode, slots};
use crate::sched::notify::Notifier;

const RX_RING: u32 = 128 << 10;
const TX_RING: u32 = 128 << 10;
/// Bytes of datagrams from inside that wait, at most; more are dropped, as on Linux.
const QUEUE_LIMIT: usize = 256 << 10;
const IPPROTO_UDP: u32 = 17;

static PORTS: PortTable<Udp> = PortTable::new();

/// A UDP socket.
pub struct Udp {
    family: u16,
    this: Weak<Udp>,
    state: Lock<State>,
    options: Lock<Options>,
    notifier: Notifier,
    timeouts: Timeouts,
    inode: u64,
}

#[derive(Default)]
struct State {
    bound: Option<Bound>,
    peer: Option<Address>,
    /// The slot, once something went to the host.
    connection: Option<Connection>,
    /// Datagrams from inside.
    queue: VecDeque<(Address, Vec<u8>)>,
    queued: usize,
    error: Option<Errno>,
    shut_read: bool,
    shut_write: bool,
}

impl Udp {
    /// A new socket of the family INET or INET6.
    pub fn new(family: u16) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            family,
            this: this.clone(),
            state: Lock::new(State::default()),
            options: Lock::new(Options::default()),
            notifier: Notifier::new(),
            timeouts: Timeouts::default(),
            inode: inode::next(),
        })
    }
    /// The binding; a free port if there is none yet.
    fn bound(&self, state: &mut State) -> Result<Bound> {
        if let Some(bound) = state.bound {
            return Ok(bound);
        }
        let sharing = self.options.lock().sharing();
        let bound = PORTS.bind(address::any(self.family), sharing, self.this.clone())?;
        state.bound = Some(bound);
        Ok(bound)
    }
    /// Opens the slot, published at `port` if that is not 0, or changes the peer of the
    /// host's socket.
    fn host_socket(&self, state: &mut State, peer: Option<Address>, port: u16) -> Result<()> {
        let fresh = state.connection.is_none();
        if fresh {
            let connection = Connection::new(slots::open(RX_RING, TX_RING)?);
            let this: Weak<dyn Endpoint> = self.this.clone();
            doorbell::attach(connection.index(), this);
            state.connection = Some(connection);
        }
        let Some(connection) = &state.connection else {
            return Err(Errno::ENOBUFS);
        };
        let words = peer.unwrap_or(address::any(self.family)).to_words();
        let result = host::call(
            call::DATAGRAM,
            [
                connection.handle(),
                words[0],
                words[1],
                words[2],
                u64::from(port),
                0,
            ],
        );
        if result >= 0 {
            return Ok(());
        }
        if fresh && let Some(connection) = state.connection.take() {
            doorbell::detach(connection.index());
            connection.discard();
        }
        Err(Errno(result.unsigned_abs() as u16))
    }
    /// Delivers to a socket of the guest. `None`: nobody there.
    fn send_inside(
        &self,
        to: &Address,
        from: Address,
        data: &mut Reader<'_>,
    ) -> Option<Result<usize>> {
        let target = PORTS.find(to, false)?.upgrade()?;
        let mut bytes = vec![0; data.remaining()];
        if let Err(error) = data.take(&mut bytes) {
            return Some(Err(error));
        }
        let len = bytes.len();
        {
            let mut state = target.state.lock();
            let expected = state.peer.is_none_or(|peer| peer.port == from.port);
            if !expected || state.queued + len > QUEUE_LIMIT {
                return Some(Ok(len));
            }
            state.queued += len;
            state.queue.push_back((from, bytes));
        }
        target.notifier.notify(events::IN | events::RDNORM);
        Some(Ok(len))
    }
    fn send_outside(&self, to: Address, data: &mut Reader<'_>) -> Result<usize> {
        permit(&to)?;
        let mut state = self.state.lock();
        let peer = state.peer;
        if state.connection.is_none() {
            self.host_socket(&mut state, peer, 0)?;
        }
        let Some(connection) = &mut state.connection else {
            return Err(Errno::ENOBUFS);
        };
        let len = data.remaining() as u32;
        if !connection.record_room(DatagramHeader::record_len(len)) {
            return Err(Errno::EAGAIN);
        }
        // The connected peer needs no address; one that differs is given.
        let address = if peer == Some(to) {
            Address::default()
        } else {
            to
        };
        let header = DatagramHeader {
            len,
            error: 0,
            address,
        };
        connection.write_record(&header.to_bytes(), data)
    }
    fn send_to(&self, data: &mut Reader<'_>, to: Option<Address>) -> Result<usize> {
        if data.remaining() > MAX_DATAGRAM as usize {
            return Err(Errno::EMSGSIZE);
        }
        let (to, bound) = {
            let mut state = self.state.lock();
            if let Some(error) = state.take_error() {
                return Err(error);
            }
            if state.shut_write {
                return Err(Errno::EPIPE);
            }
            let to = to.or(state.peer).ok_or(Errno::EDESTADDRREQ)?;
            (to, self.bound(&mut state)?)
        };
        let to = address::destination(to);
        if address::is_loopback(&to) || address::is_own(&to) {
            let from = match address::is_any(&bound.address) {
                true => address::source_for(&to, bound.address.port),
                false => bound.address,
            };
            if let Some(result) = self.send_inside(&to, from, data) {
                return result;
            }
        }
        self.send_outside(to, data)
    }
    /// The next datagram into `out`.
    fn take(&self, out: &mut Writer<'_>, peek: bool) -> Result<Received> {
        let mut state = self.state.lock();
        if let Some(error) = state.take_error() {
            return Err(error);
        }
        if let Some((from, bytes)) = state.queue.front() {
            let (from, full) = (*from, bytes.len());
            let copied = out.put(&bytes[..full.min(out.remaining())])?;
            if !peek {
                state.queue.pop_front();
                state.queued -= full;
            }
            return Ok(self.received(copied, full, from));
        }
        let shut = state.shut_read;
        let Some(connection) = &mut state.connection else {
            return if shut {
                Ok(Received::default())
            } else {
                Err(Errno::EAGAIN)
            };
        };
        let Some(header) = next_record(connection) else {
            return if shut {
                Ok(Received::default())
            } else {
                Err(connection.take_error().unwrap_or(Errno::EAGAIN))
            };
        };
        let record = DatagramHeader::record_len(header.len);
        let wanted = (header.len as usize).min(out.remaining()) as u32;
        let copied = connection.copy_out(DATAGRAM_HEADER, wanted, out)?;
        if !peek {
            connection.consume_record(record);
        }
        Ok(self.received(copied, header.len as usize, header.address))
    }
    fn received(&self, copied: usize, full: usize, from: Address) -> Received {
        let from = Some(address::format(&from, self.family));
        Received {
            copied,
            full,
            from,
            ..Received::default()
        }
    }
}

/// Asks the host before sending where its policy may say no; all else is left to
/// the host alone, which checks in any case. EACCES.
fn permit(to: &Address) -> Result<()> {
    let suspicious = match to.family {
        4 => to.bytes[..2] == [169, 254],
        _ => !matches!(to.bytes[0], 0x20..=0x3f) || to.bytes[..2] == [0x20, 0x02],
    };
    if suspicious {
        let words = to.to_words();
        let result = host::call(call::PERMIT, [words[0], words[1], words[2], 0, 0, 0]);
        if result < 0 {
            return Err(Errno(result.unsigned_abs() as u16));
        }
    }
    Ok(())
}

/// The header of the next record from the host.
fn next_record(connection: &mut Connection) -> Option<DatagramHeader> {
    if connection.available() < DATAGRAM_HEADER {
        return None;
    }
    let mut raw = [0; DATAGRAM_HEADER as usize];
    connection.peek_bytes(0, &mut raw);
    Some(DatagramHeader::from_bytes(&raw))
}

/// Takes an error that the host has reported.
fn take_reported(connection: &mut Connection) -> Option<Errno> {
    let header = next_record(connection).filter(|header| header.error != 0)?;
    connection.consume_record(DatagramHeader::record_len(header.len));
    Some(Errno(header.error as u16))
}

impl State {
    /// An error that any call reports, once.
    fn take_error(&mut self) -> Option<Errno> {
        let reported = || self.connection.as_mut().and_then(take_reported);
        self.error.take().or_else(reported)
    }
}

impl Endpoint for Udp {
    fn news(&self) {
        self.notifier.notify(self.poll());
    }
}

impl File for Udp {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        self.take(out, false).map(|received| received.copied)
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        self.send_to(data, None)
    }
    fn poll(&self) -> u32 {
        let mut state = self.state.lock();
        let mut ready = 0;
        let waiting = !state.queue.is_empty();
        let mut writable = true;
        let mut outside = false;
        if let Some(connection) = &mut state.connection {
            let next = next_record(connection);
            outside = next.is_some_and(|header| header.error == 0);
            if next.is_some_and(|header| header.error != 0) {
                ready |= events::ERR;
            }
            connection.room_seen();
            writable = connection.writable() || connection.flags() & host_flag::ERROR != 0;
            if connection.pending_error().is_some() {
                ready |= events::ERR;
            }
        }
        if waiting || outside || state.shut_read {
            ready |= events::IN | events::RDNORM;
        }
        if writable {
            ready |= events::OUT | events::WRNORM;
        }
        if state.error.is_some() {
            ready |= events::ERR;
        }
        if state.shut_read {
            ready |= events::RDHUP;
        }
        if state.shut_read && state.shut_write {
            ready |= events::HUP;
        }
        ready
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(inode::stat(self.inode))
    }
    fn ioctl(&self, _open: &OpenFile, request: u32, argument: u64) -> Result<usize> {
        let mut state = self.state.lock();
        let next = match state.queue.front() {
            Some((_, bytes)) => bytes.len(),
            None => state
                .connection
                .as_mut()
                .and_then(next_record)
                .map_or(0, |header| header.len as usize),
        };
        match request {
            ioctl::FIONREAD => ioctl::answer(argument, next),
            ioctl::TIOCOUTQ => ioctl::answer(argument, 0),
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

impl Socket for Udp {
    fn family(&self) -> u16 {
        self.family
    }
    fn kind(&self) -> u32 {
        kind::DGRAM
    }
    fn protocol(&self) -> u32 {
        IPPROTO_UDP
    }
    fn bind(&self, to: &SocketAddress) -> Result<()> {
        let to = address::parse(to, self.family)?;
        address::check_bindable(&to)?;
        let sharing = self.options.lock().sharing();
        let mut state = self.state.lock();
        if state.bound.is_some() {
            return Err(Errno::EINVAL);
        }
        state.bound = Some(PORTS.bind(to, sharing, self.this.clone())?);
        if to.port != 0 {
            // A port that is not published serves the inside alone.
            let _ = self.host_socket(&mut state, None, to.port);
        }
        Ok(())
    }
    fn connect(&self, to: &SocketAddress) -> Result<()> {
        let mut state = self.state.lock();
        if to.family()? == family::UNSPEC {
            state.peer = None;
            if state.connection.is_some() {
                self.host_socket(&mut state, None, 0)?;
            }
            return Ok(());
        }
        let to = address::destination(address::parse(to, self.family)?);
        self.bound(&mut state)?;
        let local = address::is_loopback(&to) || address::is_own(&to);
        if !local || PORTS.find(&to, false).is_none() {
            self.host_socket(&mut state, Some(to), 0)?;
        }
        state.peer = Some(to);
        Ok(())
    }
    fn local_address(&self) -> Result<SocketAddress> {
        let state = self.state.lock();
        let local = match (state.bound, state.peer) {
            (Some(bound), Some(peer)) if address::is_any(&bound.address) => {
                address::source_for(&peer, bound.address.port)
            }
            (Some(bound), _) => bound.address,
            (None, _) => address::any(self.family),
        };
        Ok(address::format(&local, self.family))
    }
    fn peer_address(&self) -> Result<SocketAddress> {
        let peer = self.state.lock().peer.ok_or(Errno::ENOTCONN)?;
        Ok(address::format(&peer, self.family))
    }
    fn send(&self, data: &mut Reader<'_>, parameters: &SendParameters) -> Result<usize> {
        if parameters.flags & message_flag::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = match &parameters.to {
            Some(to) => Some(address::parse(to, self.family)?),
            None => None,
        };
        if to.is_some_and(|to| to.port == 0) {
            return Err(Errno::EINVAL);
        }
        self.send_to(data, to)
    }
    fn receive(&self, out: &mut Writer<'_>, flags: u32) -> Result<Received> {
        if flags & message_flag::ERRQUEUE != 0 {
            return Err(Errno::EAGAIN);
        }
        self.take(out, flags & message_flag::PEEK != 0)
    }
    fn shutdown(&self, how: Shutdown) -> Result<()> {
        {
            let mut state = self.state.lock();
            if state.peer.is_none() {
                return Err(Errno::ENOTCONN);
            }
            state.shut_read |= how.read;
            state.shut_write |= how.write;
        }
        self.news();
        Ok(())
    }
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        self.options.lock().set(level, name, value)
    }
    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        use crate::net::socket::option::{SO_ACCEPTCONN, SOL_SOCKET};
        match (level, name) {
            (SOL_SOCKET, SO_ACCEPTCONN) => Ok(vec![0; 4]),
            _ => self.options.lock().get(level, name),
        }
    }
    fn take_error(&self) -> Option<Errno> {
        let mut state = self.state.lock();
        let reported = state.take_error();
        reported.or_else(|| state.connection.as_mut().and_then(Connection::take_error))
    }
    fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if let Some(connection) = &mut state.connection {
            connection.close(false);
        }
        if let Some(bound) = &state.bound {
            PORTS.release(bound);
        }
    }
}
