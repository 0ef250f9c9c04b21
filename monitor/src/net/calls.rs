//! Host calls of the rings: what cannot go through a ring because the program
//! needs the answer at once.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use spore_abi::net::{Address, SLOTS, call, host_flag, slot};

use crate::net::address;
use crate::net::datagram;
use crate::net::engine::Engine;
use crate::net::entry::{Descriptor, Entry, Kind, negated};
use crate::net::listen;
use crate::net::published::{DatagramPort, Published};
use crate::net::sys;

/// A negated errno.
const fn errno(number: i32) -> i64 {
    -(number as i64)
}

impl Engine {
    /// Carries out a call; the arguments are the guest's allegations.
    pub fn call(&mut self, number: u64, args: &[u64; 6]) -> i64 {
        if number == call::PERMIT {
            return self.permit([args[0], args[1], args[2]]);
        }
        let index = args[0] as u32 as usize;
        let generation = (args[0] >> 32) as u16;
        if !(slot::FIRST..SLOTS).contains(&index) {
            return errno(libc::EINVAL);
        }
        // What was closed before this call must be closed for it: a port that is
        // listened on again, a connection to a listener that is gone.
        self.serve_guest(None);
        let target = Address::from_words([args[1], args[2], args[3]]);
        let result = match number {
            call::DATAGRAM => self.datagram(index, generation, target, args[4] as u16),
            _ if self.entries[index].is_some() => Err(errno(libc::EBUSY)),
            call::CONNECT => self.connect(index, generation, target),
            call::LISTEN => {
                self.listen(index, generation, target, args[4] as i32, args[5] & 1 != 0)
            }
            _ => Err(errno(libc::ENOSYS)),
        };
        result.unwrap_or_else(|error| error)
    }

    fn permit(&mut self, words: [u64; 3]) -> i64 {
        match address::from_guest(&Address::from_words(words)) {
            Some(to) if self.gate.permits(&to) => 0,
            Some(_) => errno(libc::EACCES),
            None => errno(libc::EAFNOSUPPORT),
        }
    }

    fn connect(&mut self, index: usize, generation: u16, to: Address) -> Result<i64, i64> {
        let to = address::from_guest(&to).ok_or(errno(libc::EAFNOSUPPORT))?;
        if !self.gate.permits(&to) {
            return Err(errno(libc::EACCES));
        }
        let (fd, outcome) = self.dial(&to).map_err(|error| negated(&error))?;
        let entry = Entry::new(index, generation, Kind::Stream, Descriptor::Owned(fd));
        let mut entry = entry
            .with_buffers(&self.rings, true, true)
            .ok_or(errno(libc::EFAULT))?;
        let line = self.rings.slot(index);
        if outcome == 0 {
            entry.set(line, host_flag::CONNECTED);
        }
        entry.apply_options(line);
        self.install(entry).map_err(|error| negated(&error))?;
        Ok(outcome)
    }

    /// A connection that stands (0) or is being made (-EINPROGRESS).
    fn dial(&self, to: &SocketAddr) -> io::Result<(OwnedFd, i64)> {
        if let Some(internal) = self.gate.internal(to) {
            return Ok((internal.connect(to)?, 0));
        }
        let fd = sys::socket(to, libc::SOCK_STREAM)?;
        sys::no_delay(fd.as_raw_fd());
        match sys::connect(fd.as_raw_fd(), to) {
            Ok(()) => Ok((fd, 0)),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Ok((fd, errno(libc::EINPROGRESS)))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the image declares this port of the guest.
    pub(super) fn may_publish(&self, port: u16) -> bool {
        self.gate.opens() && self.ports.as_ref().is_none_or(|all| all.contains(&port))
    }

    fn listen(
        &mut self,
        index: usize,
        generation: u16,
        at: Address,
        backlog: i32,
        chosen: bool,
    ) -> Result<i64, i64> {
        let at = address::from_guest(&at).ok_or(errno(libc::EAFNOSUPPORT))?;
        let entry = Entry::new(index, generation, Kind::Listener, Descriptor::None);
        let entry = entry
            .with_buffers(&self.rings, true, false)
            .ok_or(errno(libc::EFAULT))?;
        let mine = self.publications_for(at.port(), chosen);
        let mine = mine.map_err(|(wanted, error)| {
            crate::finish::eprintln_quietly(&listen::explain(&wanted, &error).to_string());
            negated(&error)
        })?;
        if mine.is_empty() {
            self.events.unpublished(at.port());
            return Ok(0);
        }
        self.install(entry).map_err(|error| negated(&error))?;
        let mut port = at.port();
        for number in mine {
            let Some(publication) = self.publications[number].as_mut() else {
                continue;
            };
            let first = !publication.is_listening();
            if let Err(error) = publication.attach(index, &at, backlog) {
                let error = negated(&error);
                self.close(index);
                return Err(error);
            }
            port = publication.guest;
            if let Some(entry) = self.entries[index].as_mut() {
                entry.port = port;
                entry.six = at.is_ipv6();
            }
            if first {
                self.events.listening(publication.guest, publication.host);
            }
            self.accept(number);
        }
        Ok(i64::from(port))
    }

    fn datagram(
        &mut self,
        index: usize,
        generation: u16,
        peer: Address,
        port: u16,
    ) -> Result<i64, i64> {
        let to = address::from_guest(&peer).ok_or(errno(libc::EAFNOSUPPORT))?;
        let peer = (to.port() != 0 || !to.ip().is_unspecified()).then_some(to);
        if !self.gate.opens() {
            return Err(errno(libc::EACCES));
        }
        if let Some(entry) = &mut self.entries[index] {
            if entry.kind != Kind::Datagram || entry.generation != generation {
                return Err(errno(libc::EBUSY));
            }
            let published = entry.published.as_mut();
            if published.is_some_and(|published| published.connect(peer.as_ref())) {
                return Ok(0);
            }
            if !self.gate.permits_peer(peer.as_ref()) {
                return Err(errno(libc::EACCES));
            }
            return datagram::set_peer(entry.fd.raw(), peer)
                .map(|()| 0)
                .map_err(errno);
        }
        if !self.gate.permits_peer(peer.as_ref()) {
            return Err(errno(libc::EACCES));
        }
        let number = match port {
            0 => None,
            _ => Some(self.datagram_port(port).ok_or(errno(libc::ENOENT))?),
        };
        let fd = datagram::open(&to, peer).map_err(|error| negated(&error))?;
        let entry = Entry::new(index, generation, Kind::Datagram, Descriptor::Owned(fd));
        let mut entry = entry
            .with_buffers(&self.rings, true, true)
            .ok_or(errno(libc::EFAULT))?;
        entry.set(self.rings.slot(index), host_flag::CONNECTED);
        entry.port = port;
        entry.published = number.map(|number| self.publish_datagrams(number, index));
        self.install(entry).map_err(|error| {
            self.unpublish_datagrams(index);
            negated(&error)
        })?;
        Ok(0)
    }

    /// The published port that stands for the guest's and that no other slot has. Without
    /// rules there is one for every port that is free here as well.
    pub(super) fn datagram_port(&mut self, guest: u16) -> Option<usize> {
        if !self.may_publish(guest) {
            return None;
        }
        let mut ports = self.datagram_ports.iter();
        if let Some(number) = ports.position(|port| port.guest == guest) {
            return Some(number).filter(|&number| self.datagram_ports[number].slot.is_none());
        }
        if !self.publish_all {
            return None;
        }
        let host = if self.any_port { 0 } else { guest };
        let port = DatagramPort::same(guest, host).ok()?;
        self.datagram_ports.push(port);
        Some(self.datagram_ports.len() - 1)
    }

    pub(super) fn publish_datagrams(&mut self, number: usize, slot: usize) -> Published {
        let port = &mut self.datagram_ports[number];
        let published = port.attach(slot);
        self.events.bound(port.guest, port.host);
        published
    }

    /// A slot that may have a published port gives it back.
    pub(super) fn unpublish_datagrams(&mut self, slot: usize) {
        let has = |port: &DatagramPort| port.slot == Some(slot);
        for port in self.datagram_ports.iter_mut().filter(|port| has(port)) {
            port.slot = None;
            self.epoll.remove(port.raw());
        }
        let keep = |port: &DatagramPort| port.fixed || port.slot.is_some();
        self.datagram_ports.retain(keep);
    }
}
