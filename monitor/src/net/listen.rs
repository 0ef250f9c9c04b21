//! Publishing: host sockets that stand for the guest's listeners.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::config::{PublishRule, Rights};
use crate::error::{
    MonitorError, Result, SPORE_PORT_PERMISSION, SPORE_PORT_TAKEN, SPORE_PORT_UNDECLARED,
};
use crate::net::sys;

/// Backlog bounds of host sockets, whatever the guest asks for.
const BACKLOG: std::ops::RangeInclusive<i32> = 128..=4096;

/// A host socket for a guest port.
pub struct Publication {
    /// The bound socket; listening while there are listeners.
    pub fd: OwnedFd,
    /// Port inside the guest.
    pub guest: u16,
    /// Where it can be reached.
    pub host: SocketAddr,
    /// The guest's listeners at this port: one for IPv4 and one for IPv6, or several that
    /// share it.
    listeners: Vec<Listener>,
    /// Connections given out, to take the listeners in turn.
    given: usize,
    /// Connections wait for room in the guest.
    pub waiting: bool,
    /// Made by a rule, so it outlives the listener.
    pub fixed: bool,
    /// Others hold the socket too: it listens whatever the guest does.
    pub lent: bool,
}

#[derive(Clone, Copy)]
struct Listener {
    slot: usize,
    /// Of the same family as the host's address.
    fits: bool,
}

impl Publication {
    /// Whether the guest listens here.
    pub fn is_listening(&self) -> bool {
        !self.listeners.is_empty()
    }
    /// The socket, if connections would be taken from it.
    pub fn descriptor(&self) -> Option<RawFd> {
        (self.is_listening() && !self.waiting).then(|| self.fd.as_raw_fd())
    }
    /// Whose turn the next connection is.
    pub fn turn(&self) -> Option<usize> {
        let best = self.listeners.iter().any(|listener| listener.fits);
        let fitting = || {
            self.listeners
                .iter()
                .filter(|listener| listener.fits == best)
        };
        let count = fitting().count().max(1);
        let listener = fitting().nth(self.given % count)?;
        Some(listener.slot)
    }
    /// The next connection is another listener's.
    pub fn took_turn(&mut self) {
        self.given = self.given.wrapping_add(1);
    }
    /// Starts to listen on behalf of a guest listener at `at`, or lets it join those
    /// that do already.
    pub fn attach(&mut self, slot: usize, at: &SocketAddr, backlog: i32) -> io::Result<()> {
        let listener = Listener {
            slot,
            fits: at.is_ipv4() == self.host.is_ipv4(),
        };
        if self.is_listening() {
            self.listeners.push(listener);
            return Ok(());
        }
        let fd = self.fd.as_raw_fd();
        // Set before listening, which checks the port once more: connections of an
        // earlier run in TIME_WAIT do not count then. What is accepted inherits it.
        sys::reuse_address(fd, true);
        if let Err(error) = sys::listen(fd, backlog.clamp(*BACKLOG.start(), *BACKLOG.end())) {
            sys::reuse_address(fd, false);
            return Err(error);
        }
        self.listeners.push(listener);
        self.waiting = false;
        Ok(())
    }
    /// A listener is gone. With the last one the host's socket stops to listen; the port
    /// stays bound.
    pub fn detach(&mut self, slot: usize) {
        self.listeners.retain(|listener| listener.slot != slot);
        if self.is_listening() {
            return;
        }
        self.waiting = false;
        if self.lent {
            return;
        }
        sys::stop_listening(self.fd.as_raw_fd());
        sys::reuse_address(self.fd.as_raw_fd(), false);
    }
}

/// Fails if a rule publishes what the image does not declare.
pub fn check_declared(rules: &[PublishRule], rights: &Rights) -> Result<()> {
    let declared = |port: &u16| rights.ports.as_ref().is_none_or(|all| all.contains(port));
    match rules.iter().find(|rule| !declared(&rule.guest)) {
        None if rules.is_empty() || rights.network => Ok(()),
        None => Err(MonitorError::new(
            SPORE_PORT_UNDECLARED,
            "the image declares no network, so that no port can be published",
        )),
        Some(rule) => Err(MonitorError::new(
            SPORE_PORT_UNDECLARED,
            format!("the image does not declare port {}", rule.guest),
        )),
    }
}

/// Binds the host socket of a rule.
pub fn bind(rule: &PublishRule) -> Result<Publication> {
    if let Some(listener) = &rule.listener {
        return open(rule, listener)
            .map_err(|error| explain(&SocketAddr::new(rule.address, rule.host), &error));
    }
    let address = SocketAddr::new(rule.address, rule.host);
    bound(address, rule.guest, true).map_err(|error| explain(&address, &error))
}

/// A socket that listens already.
fn open(rule: &PublishRule, listener: &OwnedFd) -> io::Result<Publication> {
    let fd = listener.try_clone()?;
    sys::unblock(fd.as_raw_fd());
    Ok(Publication {
        host: sys::local_address(fd.as_raw_fd())
            .unwrap_or(SocketAddr::new(rule.address, rule.host)),
        fd,
        guest: rule.guest,
        listeners: Vec::new(),
        given: 0,
        waiting: false,
        fixed: true,
        lent: rule.lent,
    })
}

/// Listens at the host side of a rule, for a machine that is still asleep.
pub fn listen_at(rule: &PublishRule) -> Result<(OwnedFd, SocketAddr)> {
    let publication = bind(rule)?;
    let host = publication.host;
    let fd = publication.fd.as_raw_fd();
    sys::reuse_address(fd, true);
    sys::listen(fd, *BACKLOG.end()).map_err(|error| explain(&host, &error))?;
    Ok((publication.fd, host))
}

/// Binds port `host` of 127.0.0.1 (0: any) for the guest's port (0: the same).
pub fn bind_same(guest: u16, host: u16) -> io::Result<Publication> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), host);
    bound(address, guest, false)
}

fn bound(address: SocketAddr, guest: u16, fixed: bool) -> io::Result<Publication> {
    let mut fd = sys::bound(&address)?;
    let host = sys::local_address(fd.as_raw_fd()).unwrap_or(address);
    if address.port() == 0 {
        // Linux gives up a port that it has chosen itself when listening ends; one
        // that was asked for by number stays.
        drop(fd);
        fd = sys::bound(&host)?;
    }
    let guest = if guest == 0 { host.port() } else { guest };
    Ok(Publication {
        fd,
        guest,
        host,
        listeners: Vec::new(),
        given: 0,
        waiting: false,
        fixed,
        lent: false,
    })
}

/// The error that a user sees when a port cannot be had.
pub fn explain(address: &SocketAddr, error: &io::Error) -> MonitorError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            MonitorError::new(SPORE_PORT_TAKEN, format!("{address} is already in use"))
        }
        Some(libc::EACCES | libc::EPERM) => MonitorError::new(
            SPORE_PORT_PERMISSION,
            format!("no permission to listen on {address}"),
        ),
        _ => MonitorError::new(
            SPORE_PORT_TAKEN,
            format!("cannot listen on {address}: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    #[test]
    fn a_taken_port_is_reported_with_its_address() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = other.local_addr().unwrap().port();
        let rule = PublishRule {
            address: Ipv4Addr::LOCALHOST.into(),
            host,
            guest: 80,
            protocol: Protocol::Tcp,
            listener: None,
            lent: false,
        };
        let error = bind(&rule).err().expect("the port is taken");
        assert_eq!(error.code, SPORE_PORT_TAKEN);
        assert!(error.what.contains(&format!("127.0.0.1:{host}")));
    }

    #[test]
    fn a_port_is_taken_before_anybody_listens() {
        let rule = PublishRule {
            address: Ipv4Addr::LOCALHOST.into(),
            host: 0,
            guest: 80,
            protocol: Protocol::Tcp,
            listener: None,
            lent: false,
        };
        let first = bind(&rule).unwrap();
        let again = PublishRule {
            host: first.host.port(),
            ..rule
        };
        assert_eq!(
            bind(&again).err().map(|error| error.code),
            Some(SPORE_PORT_TAKEN)
        );
    }

    #[test]
    fn a_port_is_only_reachable_while_the_guest_listens() {
        let rule = PublishRule {
            address: Ipv4Addr::LOCALHOST.into(),
            host: 0,
            guest: 80,
            protocol: Protocol::Tcp,
            listener: None,
            lent: false,
        };
        let mut publication = bind(&rule).unwrap();
        let any = SocketAddr::from(([0; 4], 80));
        assert!(TcpStream::connect(publication.host).is_err());
        publication.attach(9, &any, 1).unwrap();
        assert!(TcpStream::connect(publication.host).is_ok());
        publication.detach(9);
        assert!(TcpStream::connect(publication.host).is_err());
        publication.attach(9, &any, 1).unwrap();
        assert!(TcpStream::connect(publication.host).is_ok());
    }

    #[test]
    fn listeners_of_one_port_take_turns_and_ipv4_goes_to_ipv4() {
        let mut publication = bind_same(80, 0).unwrap();
        let any = |ip: IpAddr| SocketAddr::new(ip, 80);
        let (v4, v6) = (
            any(Ipv4Addr::UNSPECIFIED.into()),
            any(Ipv6Addr::UNSPECIFIED.into()),
        );
        let turns = |publication: &mut Publication| {
            let mut turn = || {
                let slot = publication.turn();
                publication.took_turn();
                slot
            };
            [turn(), turn(), turn()]
        };
        publication.attach(6, &v6, 1).unwrap();
        assert_eq!(turns(&mut publication), [Some(6); 3]);
        publication.attach(4, &v4, 1).unwrap();
        assert_eq!(turns(&mut publication), [Some(4); 3]);
        publication.attach(5, &v4, 1).unwrap();
        let taken = turns(&mut publication);
        assert!(taken[0] != taken[1] && taken[0] == taken[2] && !taken.contains(&Some(6)));
        publication.detach(4);
        publication.detach(5);
        assert_eq!(turns(&mut publication), [Some(6); 3]);
        assert!(TcpStream::connect(publication.host).is_ok());
        publication.detach(6);
        assert_eq!(publication.turn(), None);
        assert!(TcpStream::connect(publication.host).is_err());
    }
}
