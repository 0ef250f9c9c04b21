//! Sockets across a snapshot: what a guest at rest has open, and how a machine
//! made from its copy serves that again.
//!
//! Listeners live on: they are published anew. Datagram sockets are opened anew.
//! Connections are gone with the machine that held them, and say so at once:
//! reset and over, so that whoever waits on one wakes up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use spore_abi::net::{SLOTS, STOCK, host_flag, slot, used};

use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::net::engine::Engine;
use crate::net::entry::{Descriptor, Entry, Kind};
use crate::net::listen::Publication;
use crate::net::{datagram, listen, sys};

/// Backlog of a listener that is published again; the guest's own is not kept.
const BACKLOG: i32 = 4096;

/// What a guest has open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Connections.
    pub streams: Vec<Place>,
    /// Datagram sockets.
    pub datagrams: Vec<Datagram>,
}

/// Slot and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index of the slot.
    pub slot: usize,
    /// Generation under which the guest opened it.
    pub generation: u16,
}

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// Port in the guest.
    pub port: u16,
    /// IPv6.
    pub six: bool,
}

/// A datagram socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagram {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// Address it is connected to.
    pub peer: Option<SocketAddr>,
    /// Published port in the guest; 0: none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub port: u16,
    /// IPv6.
    pub six: bool,
}

fn is_none(port: &u16) -> bool {
    *port == 0
}

impl Engine {
    /// What the guest has open right now.
    pub fn devices(&self) -> Devices {
        let mut devices = Devices::default();
        for entry in self.entries[slot::FIRST..].iter().flatten() {
            let place = Place {
                slot: entry.slot,
                generation: entry.generation,
            };
            match entry.kind {
                Kind::Listener => devices.listeners.push(Listener {
                    place,
                    port: entry.port,
                    six: entry.six,
                }),
                Kind::Stream => devices.streams.push(place),
                Kind::Datagram => devices.datagrams.push(Datagram {
                    place,
                    peer: sys::peer_address(entry.fd.raw()),
                    port: entry.port,
                    six: sys::local_address(entry.fd.raw()).is_some_and(|at| at.is_ipv6()),
                }),
                Kind::Input(_) | Kind::Output(_) => {}
            }
        }
        devices
    }

    /// What to watch while the guest sleeps: listeners, and connections on which news may
    /// come.
    pub fn peers(&self) -> Vec<libc::pollfd> {
        let listeners = self.publications.iter().flatten();
        let listeners = listeners.filter_map(Publication::descriptor);
        let mut watched: Vec<_> = listeners.map(|fd| sys::watch(fd, libc::POLLIN)).collect();
        for entry in self.entries[slot::FIRST..].iter().flatten() {
            let over = entry.has(host_flag::HUP) || entry.has(host_flag::ERROR);
            if entry.fd.raw() < 0 || over {
                continue;
            }
            // What has ended would be readable for ever, and what is full is not read.
            let mut wanted = match entry.has(host_flag::EOF) || entry.rx_stalled {
                true => 0,
                false => libc::POLLIN | libc::POLLRDHUP,
            };
            let connecting = entry.kind == Kind::Stream && !entry.has(host_flag::CONNECTED);
            if entry.tx_blocked || connecting {
                wanted |= libc::POLLOUT;
            }
            let published = entry.published.as_ref().map(|published| published.raw());
            let fds = published.into_iter().chain([entry.fd.raw()]);
            watched.extend(fds.map(|fd| sys::watch(fd, wanted)));
        }
        watched
    }

    /// Serves again what a guest had open. Everything here is an allegation: of a
    /// file, and of the memory that came from it.
    pub fn revive(&mut self, devices: &Devices) -> Result<()> {
        let stock = &self.rings.header().stock;
        let (head, tail) = (&stock.head, &stock.tail);
        self.stock_head = head.load(Ordering::Relaxed);
        if used(self.stock_head, tail.load(Ordering::Relaxed), STOCK as u32).is_none() {
            self.stock_head = tail.load(Ordering::Relaxed);
        }
        self.forget_output();
        for listener in &devices.listeners {
            self.revive_listener(listener)?;
        }
        for place in &devices.streams {
            self.end_stream(*place);
        }
        for datagram in &devices.datagrams {
            self.revive_datagram(datagram);
        }
        Ok(())
    }

    /// What waited to be written belongs to the machine that was frozen.
    fn forget_output(&self) {
        for index in [slot::STDOUT, slot::STDERR, slot::LOG] {
            let line = self.rings.slot(index);
            let tail = line.guest.tx_tail.load(Ordering::Relaxed);
            line.host.tx_head.store(tail, Ordering::Relaxed);
        }
    }

    fn is_free(&self, place: Place) -> bool {
        (slot::FIRST..SLOTS).contains(&place.slot) && self.entries[place.slot].is_none()
    }

    fn revive_listener(&mut self, listener: &Listener) -> Result<()> {
        let Place { slot, generation } = listener.place;
        if !self.is_free(listener.place) {
            return Ok(());
        }
        let entry = Entry::new(slot, generation, Kind::Listener, Descriptor::None)
            .going_on(&self.rings)
            .with_buffers(&self.rings, true, false);
        let Some(mut entry) = entry else {
            return Ok(());
        };
        entry.port = listener.port;
        entry.six = listener.six;
        let mine = self.publications_for(listener.port, false);
        let mine = mine.map_err(|(wanted, error)| listen::explain(&wanted, &error))?;
        self.install(entry).map_err(|error| {
            MonitorError::new(SPORE_INTERNAL, format!("cannot publish a port: {error}"))
        })?;
        let any: IpAddr = if listener.six {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        for number in mine {
            let Some(publication) = self.publications[number].as_mut() else {
                continue;
            };
            let first = !publication.is_listening();
            publication
                .attach(slot, &SocketAddr::new(any, listener.port), BACKLOG)
                .map_err(|error| listen::explain(&publication.host, &error))?;
            if first {
                self.events.listening(publication.guest, publication.host);
            }
        }
        self.tell(slot);
        Ok(())
    }

    /// A connection of the machine that was frozen.
    fn end_stream(&mut self, place: Place) {
        if !self.is_free(place) {
            return;
        }
        let entry = Entry::new(place.slot, place.generation, Kind::Stream, Descriptor::None)
            .going_on(&self.rings)
            .with_buffers(&self.rings, true, true);
        let Some(mut entry) = entry else { return };
        if self.install_dead(&mut entry).is_ok() {
            self.entries[place.slot] = Some(Box::new(entry));
            self.tell(place.slot);
        }
    }

    fn install_dead(&mut self, entry: &mut Entry) -> std::io::Result<()> {
        let line = self.rings.slot(entry.slot);
        entry.show(line);
        entry.set(line, host_flag::CONNECTED);
        entry.fail(line, libc::ECONNRESET);
        Ok(())
    }

    fn revive_datagram(&mut self, datagram: &Datagram) {
        let place = datagram.place;
        if !self.is_free(place) || !self.gate.opens() {
            return;
        }
        let any: SocketAddr = match datagram.six {
            true => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
            false => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        let peer = datagram.peer.filter(|peer| self.gate.permits(peer));
        let Ok(fd) = datagram::open(&any, peer) else {
            return;
        };
        let entry = Entry::new(
            place.slot,
            place.generation,
            Kind::Datagram,
            Descriptor::Owned(fd),
        )
        .going_on(&self.rings)
        .with_buffers(&self.rings, true, true);
        let Some(mut entry) = entry else { return };
        entry.set(self.rings.slot(place.slot), host_flag::CONNECTED);
        if datagram.port != 0 {
            entry.port = datagram.port;
            let number = self.datagram_port(datagram.port);
            entry.published = number.map(|number| self.publish_datagrams(number, place.slot));
        }
        if self.install(entry).is_ok() {
            self.tell(place.slot);
        }
    }
}
