//! Published datagram ports: a second host socket of a datagram slot, bound where
//! the outside sends to. The slot's own socket stays as it is, because a socket
//! bound to 127.0.0.1 reaches nothing else.
//!
//! Whoever has sent something to the port may be answered, from the port's own
//! address, whatever the policy says of connecting to it: it asked.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::config::PublishRule;
use crate::error::Result;
use crate::net::{listen, sys};

/// Senders that may be answered, at most; who was quiet longest is forgotten first.
const SENDERS: usize = 4096;

/// A bound host socket for a guest's datagram port.
pub struct DatagramPort {
    fd: Arc<OwnedFd>,
    /// Port inside the guest.
    pub guest: u16,
    /// Where it can be reached.
    pub host: SocketAddr,
    /// The slot that is bound to the port in the guest.
    pub slot: Option<usize>,
    /// Made by a rule, so it outlives the slot.
    pub fixed: bool,
}

impl DatagramPort {
    /// Binds the host socket of a rule. SPORE_PORT_TAKEN or SPORE_PORT_PERMISSION.
    pub fn of_rule(rule: &PublishRule) -> Result<Self> {
        let address = SocketAddr::new(rule.address, rule.host);
        Self::bound(address, rule.guest, true).map_err(|error| listen::explain(&address, &error))
    }
    /// Binds port `host` of 127.0.0.1 (0: any).
    pub fn same(guest: u16, host: u16) -> io::Result<Self> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), host);
        Self::bound(address, guest, false)
    }
    fn bound(address: SocketAddr, guest: u16, fixed: bool) -> io::Result<Self> {
        let fd = sys::bound_datagram(&address)?;
        Ok(Self {
            host: sys::local_address(fd.as_raw_fd()).unwrap_or(address),
            fd: Arc::new(fd),
            guest,
            slot: None,
            fixed,
        })
    }
    /// The number of the socket.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
    /// A slot takes the port. What came before nobody was there to get.
    pub fn attach(&mut self, slot: usize) -> Published {
        let mut none = [0; 1];
        while sys::receive_datagram(self.raw(), &mut none).is_ok() {}
        self.slot = Some(slot);
        Published {
            fd: Arc::clone(&self.fd),
            peer: None,
            senders: Senders::default(),
        }
    }
}

/// The port from the slot that has it.
pub struct Published {
    fd: Arc<OwnedFd>,
    /// The guest has connected its socket to this sender.
    peer: Option<SocketAddr>,
    senders: Senders,
}

impl Published {
    /// The number of the socket.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
    /// Whether a datagram from `from` is for the guest; it may be answered then.
    pub fn admits(&mut self, from: &SocketAddr) -> bool {
        let from = plain(from);
        let wanted = self.peer.is_none_or(|peer| peer == from);
        if wanted {
            self.senders.add(from);
        }
        wanted
    }
    /// The address to answer to, if a datagram to `to` (`None`: to the connected peer) is
    /// an answer.
    pub fn answers(&self, to: Option<&SocketAddr>) -> Option<SocketAddr> {
        let to = match to {
            Some(to) => Some(plain(to)).filter(|to| self.senders.known.contains(to)),
            None => self.peer,
        };
        to.filter(|to| {
            sys::local_address(self.raw()).is_some_and(|at| at.is_ipv4() == to.is_ipv4())
        })
    }
    /// The guest connects its socket (`None`: no longer). Whether that is to a sender.
    pub fn connect(&mut self, peer: Option<&SocketAddr>) -> bool {
        self.peer = peer
            .map(plain)
            .filter(|peer| self.senders.known.contains(peer));
        self.peer.is_some()
    }
}

/// IPv4 in its own notation.
fn plain(address: &SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Who has sent something lately.
#[derive(Default)]
struct Senders {
    known: HashSet<SocketAddr>,
    order: VecDeque<SocketAddr>,
}

impl Senders {
    fn add(&mut self, from: SocketAddr) {
        if !self.known.insert(from) {
            return;
        }
        self.order.push_back(from);
        if self.order.len() > SENDERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_asked_is_answered_and_the_oldest_are_forgotten() {
        let mut port = DatagramPort::same(53, 0).unwrap();
        let mut published = port.attach(8);
        let sender = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(published.answers(Some(&sender(1))), None);
        for port in 1..=SENDERS as u16 + 1 {
            assert!(published.admits(&sender(port)));
        }
        assert_eq!(published.answers(Some(&sender(1))), None);
        let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 2);
        assert_eq!(published.answers(Some(&mapped)), Some(sender(2)));
    }

    #[test]
    fn a_connected_socket_hears_its_peer_alone() {
        let mut port = DatagramPort::same(53, 0).unwrap();
        let mut published = port.attach(8);
        let [one, other] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(!published.connect(Some(&one)));
        assert!(published.admits(&one) && published.connect(Some(&one)));
        assert!(!published.admits(&other) && published.admits(&one));
        assert_eq!(published.answers(None), Some(one));
        assert!(!published.connect(None) && published.admits(&other));
    }
}
