//! The rings' engine: every slot, one epoll set, and the pass that serves them.
//!
//! A pass takes the guest's doorbell, sends what waits, looks at the host's
//! events and receives. Whoever holds the engine (the I/O thread, or the vCPU
//! thread where there is none) may run it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use spore_abi::net::{SLOTS, guest_flag, host_flag, slot};

use crate::config::{Protocol, PublishRule};
use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::events::Events;
use crate::net::batch::Batch;
use crate::net::datagram::{self, Bounce};
use crate::net::entry::{Descriptor, Entry, Kind};
use crate::net::listen::{self, Publication};
use crate::net::policy::Gate;
use crate::net::published::DatagramPort;
use crate::net::rings::Rings;
use crate::net::{standard, sys};

const PUBLICATION: u64 = 1 << 61;
/// Events taken at a time.
pub const EVENTS: usize = 512;
/// How long the host keeps trying to deliver what a closed connection still holds.
const FLUSH_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
const BOTH: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP;

/// See the module's description.
pub struct Engine {
    /// Shared memory.
    pub rings: Rings,
    /// All host descriptors that are watched.
    pub epoll: Arc<sys::Epoll>,
    pub(super) entries: Vec<Option<Box<Entry>>>,
    pub(super) publications: Vec<Option<Publication>>,
    pub(super) datagram_ports: Vec<DatagramPort>,
    /// Publish every listener at 127.0.0.1 and its own port.
    pub(super) publish_all: bool,
    /// ... or at any free port.
    pub(super) any_port: bool,
    /// Guest ports that may be published; `None`: all.
    pub(super) ports: Option<Vec<u16>>,
    /// Stocked slots taken so far.
    pub(super) stock_head: u32,
    pub(super) gate: Gate,
    pub(super) events: Arc<Events>,
    streams: [RawFd; 4],
    /// The program has asked for standard input.
    pub stdin_used: bool,
    bounce: Bounce,
    rung: Vec<u16>,
    sends: Vec<u16>,
    receives: Vec<u16>,
    found: Vec<libc::epoll_event>,
}

impl Engine {
    /// Binds the ports of all rules.
    pub fn new(
        rings: Rings,
        publish: Option<&[PublishRule]>,
        ports: Option<Vec<u16>>,
        gate: Gate,
        events: Arc<Events>,
        streams: [RawFd; 4],
    ) -> Result<Self> {
        let epoll = sys::Epoll::new().map_err(|error| {
            MonitorError::new(
                SPORE_INTERNAL,
                format!("cannot create an epoll set: {error}"),
            )
        })?;
        let mut engine = Self {
            rings,
            epoll: Arc::new(epoll),
            entries: std::iter::repeat_with(|| None).take(SLOTS).collect(),
            publications: Vec::new(),
            datagram_ports: Vec::new(),
            publish_all: publish.is_none(),
            any_port: false,
            ports,
            stock_head: 0,
            gate,
            events,
            streams,
            stdin_used: false,
            bounce: Bounce::new(),
            rung: Vec::with_capacity(SLOTS),
            sends: Vec::with_capacity(SLOTS),
            receives: Vec::with_capacity(SLOTS),
            found: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS],
        };
        for rule in publish.unwrap_or_default() {
            if rule.protocol == Protocol::Udp {
                engine.datagram_ports.push(DatagramPort::of_rule(rule)?);
                continue;
            }
            let publication = listen::bind(rule)?;
            engine.add_publication(publication).map_err(|error| {
                MonitorError::new(SPORE_INTERNAL, format!("cannot watch a port: {error}"))
            })?;
        }
        Ok(engine)
    }

    /// Watches a publication; answers its index.
    pub(super) fn add_publication(&mut self, publication: Publication) -> std::io::Result<usize> {
        let free = self.publications.iter().position(Option::is_none);
        let index = free.unwrap_or(self.publications.len());
        let fd = publication.fd.as_raw_fd();
        self.epoll
            .add(fd, PUBLICATION | index as u64, libc::EPOLLIN)?;
        match free {
            Some(_) => self.publications[index] = Some(publication),
            None => self.publications.push(Some(publication)),
        }
        Ok(index)
    }

    /// The publications of a guest port: none for one that the image does not declare,
    /// which stays inside of the guest. A port that nobody asked for by number (`chosen`
    /// for the program) may be published at another one.
    pub(super) fn publications_for(
        &mut self,
        guest: u16,
        chosen: bool,
    ) -> std::result::Result<Vec<usize>, (SocketAddr, io::Error)> {
        if !self.may_publish(guest) {
            return Ok(Vec::new());
        }
        let stands_for = |place: &Option<Publication>| matches!(place, Some(p) if p.guest == guest);
        let found: Vec<usize> = (0..self.publications.len())
            .filter(|&number| stands_for(&self.publications[number]))
            .collect();
        if !found.is_empty() || !self.publish_all {
            return Ok(found);
        }
        let host = if self.any_port { 0 } else { guest };
        let publication = match listen::bind_same(guest, host) {
            Err(error) if chosen && error.raw_os_error() == Some(libc::EADDRINUSE) => {
                listen::bind_same(guest, 0)
            }
            other => other,
        };
        let wanted = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), host);
        let number = publication.and_then(|publication| self.add_publication(publication));
        Ok(vec![number.map_err(|error| (wanted, error))?])
    }

    /// Puts an entry into its slot, shows it to the guest and watches it.
    pub(super) fn install(&mut self, entry: Entry) -> std::io::Result<()> {
        let published = entry.published.as_ref().map(|published| published.raw());
        let fd = match entry.kind {
            Kind::Listener => None,
            Kind::Input(_) | Kind::Output(_) => standard::watched(&entry),
            _ => Some(entry.fd.raw()),
        };
        let index = entry.slot;
        entry.show(self.rings.slot(index));
        for fd in fd.into_iter().chain(published) {
            let data = index as u64 | u64::from(entry.generation) << 32;
            self.epoll.add(fd, data, BOTH)?;
        }
        self.entries[index] = Some(Box::new(entry));
        Ok(())
    }

    /// Tells the guest to look at a slot.
    pub(super) fn tell(&self, index: usize) {
        self.rings.header().to_guest.ring(index);
    }

    /// Serves everything that is to do right now; answers how much it was.
    pub fn pass(&mut self, batch: Option<&mut Batch>) -> usize {
        let mut batch = batch;
        let rung = self.serve_guest(batch.as_deref_mut());
        let mut found = std::mem::take(&mut self.found);
        let count = self.epoll.take(&mut found);
        let events = self.serve_host(&found[..count], batch);
        self.found = found;
        rung + events
    }

    /// Looks at every slot that the guest has rung.
    pub(super) fn serve_guest(&mut self, batch: Option<&mut Batch>) -> usize {
        let mut rung = std::mem::take(&mut self.rung);
        rung.clear();
        self.rings
            .header()
            .to_host
            .collect(|index| rung.push(index as u16));
        let batched = batch.is_some();
        for &index in &rung {
            self.serve_slot(usize::from(index), batched);
        }
        let count = rung.len();
        self.rung = rung;
        let mut sends = std::mem::take(&mut self.sends);
        if let Some(batch) = batch {
            batch.send(self, &sends);
        }
        sends.clear();
        self.sends = sends;
        count
    }

    fn serve_slot(&mut self, index: usize, batched: bool) {
        if index == slot::CONTROL {
            self.retry_accepts();
            return;
        }
        if index < slot::CONTROL && self.entries[index].is_none() {
            self.open_stream(index);
        }
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        let line = self.rings.slot(index);
        let flags = entry.guest_flags(line);
        if entry.kind == Kind::Listener {
            if flags & guest_flag::CLOSE != 0 {
                self.close(index);
            } else {
                self.retry_accepts();
            }
            return;
        }
        entry.apply_options(line);
        let plain = entry.kind == Kind::Stream && flags == 0 && entry.has(host_flag::CONNECTED);
        if batched
            && plain
            && !entry.tx_blocked
            && !entry.rx_stalled
            && !entry.is_flushed(&self.rings)
        {
            self.sends.push(index as u16);
            return;
        }
        if flags & guest_flag::RESET != 0 {
            sys::reset_on_close(entry.fd.raw());
            self.close(index);
            return;
        }
        self.transmit(index);
        self.resume(index);
        if flags & guest_flag::CLOSE != 0 {
            self.close_when_flushed(index);
        }
    }

    /// Sends what waits in a slot and tells the guest if it wants to know.
    pub(super) fn transmit(&mut self, index: usize) {
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        let ready = match entry.kind {
            Kind::Stream => entry.has(host_flag::CONNECTED),
            Kind::Datagram | Kind::Output(_) => true,
            _ => false,
        };
        if !ready || entry.tx_blocked {
            return;
        }
        let news = match entry.kind {
            Kind::Datagram => datagram::send(entry, &self.rings, &mut self.gate, &mut self.bounce),
            _ => entry.send(&self.rings),
        };
        if news {
            self.tell(index);
        }
    }

    /// Goes on receiving into a slot whose ring was full, once there is room.
    fn resume(&mut self, index: usize) {
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        let waiting = entry.rx_stalled || matches!(entry.kind, Kind::Input(_));
        if waiting && entry.has_room_again(self.rings.slot(index)) {
            self.take_in(index);
        }
    }

    /// Receives into a slot and tells the guest.
    pub(super) fn take_in(&mut self, index: usize) {
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        let news = match entry.kind {
            Kind::Datagram => {
                datagram::receive(entry, &self.rings, &mut self.gate, &mut self.bounce)
            }
            Kind::Stream | Kind::Input(_) => entry.receive(&self.rings),
            _ => false,
        };
        if news {
            self.tell(index);
        }
    }

    /// Handles events of the host.
    pub fn serve_host(&mut self, found: &[libc::epoll_event], batch: Option<&mut Batch>) -> usize {
        let mut count = 0;
        for event in found {
            let data = event.u64;
            count += 1;
            if data & PUBLICATION != 0 {
                self.accept((data & 0xffff) as usize);
                continue;
            }
            let index = data as u32 as usize;
            let generation = (data >> 32) as u16;
            let current = self.entries.get(index).and_then(Option::as_ref);
            if current.is_some_and(|entry| entry.generation == generation) {
                self.serve_event(index, event.events as i32, batch.is_some());
            }
        }
        let mut receives = std::mem::take(&mut self.receives);
        if let Some(batch) = batch {
            batch.receive(self, &receives);
        }
        receives.clear();
        self.receives = receives;
        count
    }

    fn serve_event(&mut self, index: usize, events: i32, batched: bool) {
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        let over = events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
        if entry.kind == Kind::Stream && !entry.has(host_flag::CONNECTED) {
            if events & libc::EPOLLOUT == 0 && !over {
                return;
            }
            entry.connected(&self.rings);
            self.tell(index);
        }
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        if events & libc::EPOLLOUT != 0 || over {
            entry.tx_blocked = false;
            self.transmit(index);
        }
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        entry.read_to_end |= events & libc::EPOLLRDHUP != 0 || over;
        let stalled = entry.rx_stalled;
        if events & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0 || over {
            let plain = entry.kind == Kind::Stream && !entry.read_to_end && !stalled;
            if batched && plain {
                self.receives.push(index as u16);
            } else {
                self.take_in(index);
            }
        }
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        if events & libc::EPOLLHUP != 0
            && entry.kind == Kind::Stream
            && entry.hang_up(self.rings.slot(index), true)
        {
            self.rings.header().to_guest.ring(index);
        }
        if entry.guest_flags(self.rings.slot(index)) & guest_flag::CLOSE != 0 {
            self.close_when_flushed(index);
        }
    }

    fn close_when_flushed(&mut self, index: usize) {
        let Some(entry) = self.entries[index].as_mut() else {
            return;
        };
        let connecting = entry.kind == Kind::Stream && !entry.has(host_flag::CONNECTED);
        if connecting || entry.is_flushed(&self.rings) {
            self.close(index);
        } else {
            sys::limit_flush(entry.fd.raw(), FLUSH_LIMIT);
        }
    }

    /// Closes a slot and says so.
    pub(super) fn close(&mut self, index: usize) {
        if index < slot::FIRST {
            return; // The standard streams live as long as the monitor.
        }
        let Some(mut entry) = self.entries[index].take() else {
            return;
        };
        if entry.kind == Kind::Listener {
            self.unpublish(index);
        }
        if entry.published.take().is_some() {
            self.unpublish_datagrams(index);
        }
        drop(std::mem::replace(&mut entry.fd, Descriptor::None));
        entry.closed(self.rings.slot(index));
        self.tell(index);
    }

    fn open_stream(&mut self, index: usize) {
        self.stdin_used |= index == slot::STDIN;
        if let Some(entry) = standard::open(&self.rings, index, &self.streams) {
            let watched = standard::watched(&entry).is_some();
            if self.install(entry).is_err() && watched {
                // Not watchable after all (EPERM): treated as always ready.
                if let Some(mut entry) = standard::open(&self.rings, index, &self.streams) {
                    entry.kind = match entry.kind {
                        Kind::Input(_) => Kind::Input(crate::net::entry::Way::Direct),
                        _ => Kind::Output(crate::net::entry::Way::Direct),
                    };
                    let _ = self.install(entry);
                }
            }
        }
    }

    /// The first of the program's streams that has failed with something in its ring.
    pub fn lost_output(&mut self) -> Option<(&'static str, std::io::Error)> {
        let outputs = [
            (slot::STDOUT, "standard output"),
            (slot::STDERR, "standard error"),
        ];
        outputs.into_iter().find_map(|(index, name)| {
            let line = self.rings.slot(index);
            let entry = self.entries[index].as_mut()?;
            let error = entry.failure(line)?;
            let gone = matches!(error, libc::EPIPE | libc::ECONNRESET);
            let (left, _) = entry.tx_waiting(&self.rings, line).ok()?;
            (left > 0 && !gone).then(|| (name, std::io::Error::from_raw_os_error(error)))
        })
    }

    /// At exit: writes out what the program has written. Streams take as long as
    /// their readers take, sockets a bounded time.
    pub fn flush_all(&mut self, limit: std::time::Duration) {
        self.serve_guest(None);
        for index in [slot::STDOUT, slot::STDERR, slot::LOG] {
            if let Some(entry) = self.entries[index].as_mut() {
                standard::flush(entry, &self.rings);
            }
        }
        let end = sys::monotonic() + limit.as_nanos() as u64;
        let rings = self.rings.clone();
        for entry in self.entries[slot::FIRST..].iter_mut().flatten() {
            while entry.kind == Kind::Stream && !entry.is_flushed(&rings) {
                let left = end.saturating_sub(sys::monotonic()) / 1_000_000;
                let left = i32::try_from(left).unwrap_or(0);
                if left == 0 || !sys::wait_ready(entry.fd.raw(), libc::POLLOUT, left) {
                    break;
                }
                entry.send(&rings);
            }
        }
    }
}
