//! Names, connections and their end.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use super::names::{self, Address, Name};
use super::{Listener, Peer, Role, UnixSocket};
use crate::errno::{Errno, Result};
use crate::fs::file::events;
use crate::ipc::stream;
use crate::net::socket::{Shutdown, SocketAddress, family, kind};

const WRITABLE: u32 = events::OUT | events::WRNORM;
const READABLE: u32 = events::IN | events::RDNORM;

/// Connects two sockets of the same kind with each other.
pub(super) fn join(one: &Arc<UnixSocket>, two: &Arc<UnixSocket>) {
    let roles = if one.is_stream() {
        let notifiers = [one.notifier.clone(), two.notifier.clone()];
        let (end_one, end_two) = stream::pair_between(one.limit(), notifiers);
        end_two.set_limit(two.limit());
        (
            Role::Stream(Arc::new(end_one)),
            Role::Stream(Arc::new(end_two)),
        )
    } else {
        (
            Role::Messages(Arc::downgrade(two)),
            Role::Messages(Arc::downgrade(one)),
        )
    };
    let (as_seen_by_two, as_seen_by_one) = (one.as_peer(), two.as_peer());
    one.take_role(roles.0, as_seen_by_one);
    two.take_role(roles.1, as_seen_by_two);
}

impl UnixSocket {
    fn as_peer(&self) -> Peer {
        Peer {
            address: self.state.lock().local,
            credentials: self.credentials,
        }
    }
    fn take_role(&self, role: Role, peer: Peer) {
        let mut state = self.state.lock();
        state.peer = Some(peer);
        let old = core::mem::replace(&mut state.role, role);
        drop(state);
        drop(old);
    }

    /// bind(2). EINVAL if it has a name; EADDRINUSE; errors of path walks.
    pub(super) fn bind_to(&self, address: &SocketAddress) -> Result<()> {
        let wanted = Address::parse(address)?;
        if self.state.lock().name.is_some() {
            return match wanted {
                Address::Unnamed => Ok(()),
                Address::Path(path) if names::exists(path) => Err(Errno::EADDRINUSE),
                _ => Err(Errno::EINVAL),
            };
        }
        let name = Name::bind(&self.me, self.kind, wanted)?;
        let mut state = self.state.lock();
        state.local = Some(name.address());
        state.name = Some(name);
        Ok(())
    }

    /// listen(2). EOPNOTSUPP for datagrams, EINVAL without a name or when connected.
    pub(super) fn start_listening(&self, backlog: i32) -> Result<()> {
        const MAX_BACKLOG: usize = 4096;
        if self.kind == kind::DGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        // As on Linux, negative numbers are very large ones.
        let backlog = (backlog as u32 as usize).min(MAX_BACKLOG);
        let mut state = self.state.lock();
        if state.name.is_none() {
            return Err(Errno::EINVAL);
        }
        match &mut state.role {
            Role::Idle => {
                state.role = Role::Listening(Listener {
                    backlog,
                    queue: VecDeque::new(),
                    starved: Vec::new(),
                });
                Ok(())
            }
            Role::Listening(listener) => {
                listener.backlog = backlog;
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// accept(2). EINVAL unless listening, EAGAIN, EOPNOTSUPP for datagrams.
    pub(super) fn take_connection(&self) -> Result<Arc<UnixSocket>> {
        if self.kind == kind::DGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        let (socket, starved) = {
            let mut state = self.state.lock();
            let read_shut = state.read_shut;
            let Role::Listening(listener) = &mut state.role else {
                return Err(Errno::EINVAL);
            };
            match listener.queue.pop_front() {
                Some(socket) => (socket, core::mem::take(&mut listener.starved)),
                None if read_shut => return Err(Errno::EINVAL),
                None => return Err(Errno::EAGAIN),
            }
        };
        tell_all(&starved);
        Ok(socket)
    }

    /// connect(2).
    pub(super) fn connect_to(&self, address: &SocketAddress) -> Result<()> {
        if self.kind == kind::DGRAM {
            return self.connect_datagram(address);
        }
        let me = self.me.upgrade().ok_or(Errno::EBADF)?;
        match self.state.lock().role {
            Role::Idle => {}
            Role::Listening(_) => return Err(Errno::EINVAL),
            _ => return Err(Errno::EISCONN),
        }
        let listener = names::find(Address::parse(address)?, self.kind)?;
        listener.check_backlog(&self.me)?;
        let accepted = Self::new(self.kind, listener.credentials)?;
        accepted.state.lock().local = listener.state.lock().local;
        join(&me, &accepted);
        if let Role::Listening(queue) = &mut listener.state.lock().role {
            queue.queue.push_back(accepted);
        }
        listener.notifier.notify(READABLE);
        self.notifier.notify(WRITABLE);
        Ok(())
    }

    /// Whether one more connection may wait; if not, `who` is told when it may.
    fn check_backlog(&self, who: &Weak<UnixSocket>) -> Result<()> {
        let mut state = self.state.lock();
        if state.read_shut {
            return Err(Errno::ECONNREFUSED);
        }
        let Role::Listening(listener) = &mut state.role else {
            return Err(Errno::ECONNREFUSED);
        };
        if listener.queue.len() <= listener.backlog {
            return Ok(());
        }
        if !listener.starved.iter().any(|known| known.ptr_eq(who)) {
            listener.starved.push(who.clone());
        }
        Err(Errno::EAGAIN)
    }

    /// Sets, changes or (AF_UNSPEC) takes away where messages go.
    fn connect_datagram(&self, address: &SocketAddress) -> Result<()> {
        if address.family()? == family::UNSPEC {
            let mut state = self.state.lock();
            state.role = Role::Idle;
            state.peer = None;
            return Ok(());
        }
        let receiver = names::find(Address::parse(address)?, self.kind)?;
        if !receiver.takes_from(self) {
            return Err(Errno::EPERM);
        }
        let peer = receiver.as_peer();
        self.take_role(Role::Messages(Arc::downgrade(&receiver)), peer);
        self.notifier.notify(WRITABLE);
        Ok(())
    }

    /// A connected datagram socket takes messages from its peer only.
    pub(super) fn takes_from(&self, sender: &UnixSocket) -> bool {
        match &self.state.lock().role {
            Role::Messages(peer) => peer.ptr_eq(&sender.me),
            _ => true,
        }
    }

    /// shutdown(2).
    pub(super) fn shut(&self, how: Shutdown) {
        {
            let mut state = self.state.lock();
            state.read_shut |= how.read;
            state.write_shut |= how.write;
        }
        if let Some(end) = self.end() {
            if how.read {
                end.shutdown_read();
            }
            if how.write {
                end.shutdown_write();
            }
            return;
        }
        let mut news = events::HUP;
        if how.read {
            self.inbox.refuse();
            self.feed_starved();
            news |= READABLE | events::RDHUP;
        }
        if how.write {
            news |= WRITABLE;
            if self.kind == kind::SEQPACKET
                && let Some(receiver) = self.receiver()
            {
                receiver.inbox.end();
                receiver
                    .notifier
                    .notify(READABLE | events::RDHUP | events::HUP);
            }
        }
        self.notifier.notify(news);
    }

    /// The last reference is gone.
    pub(super) fn close(&mut self) {
        let unread = self.inbox.close();
        self.feed_starved();
        match core::mem::replace(&mut self.state.get_mut().role, Role::Idle) {
            Role::Idle | Role::Stream(_) => {}
            Role::Listening(listener) => {
                for socket in &listener.queue {
                    socket.reset();
                }
                drop(listener.queue);
                tell_all(&listener.starved);
            }
            Role::Messages(peer) => {
                if self.kind == kind::SEQPACKET
                    && let Some(peer) = peer.upgrade()
                {
                    peer.lose_peer(unread);
                }
            }
        }
    }

    /// A connection that nobody accepted: its client finds ECONNRESET.
    fn reset(&self) {
        if let Some(end) = self.end() {
            end.close(Errno::ECONNRESET);
        }
        if let Some(client) = self.receiver() {
            client.lose_peer(true);
        }
    }

    /// The other side of a sequence of packets is closed.
    fn lose_peer(&self, reset: bool) {
        let mut news = READABLE | WRITABLE | events::RDHUP | events::HUP;
        if reset {
            self.fail_with(Errno::ECONNRESET);
            news |= events::ERR;
        }
        self.inbox.end();
        self.notifier.notify(news);
    }
}

fn tell_all(waiting: &[Weak<UnixSocket>]) {
    for socket in waiting.iter().filter_map(Weak::upgrade) {
        socket.notifier.notify(WRITABLE);
    }
}
