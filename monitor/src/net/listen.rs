//! Publishing: host sockets that stand for the guest's listeners.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::config::{PublishRule, Rights};
use crate::error::{
    MonitorError, Result, SPORE_PORT_PERMISSION, SPORE_PORT_TAKEN, SPORE_PORT_UNDECLARED,
};
use crate::net::sys;

/// Backlog bounds of host sockets, whatever the guest asks for.
const BACKLOG: std::ops::RangeInclusive<i32> = 128..=4096;

/// A host socket for a guest port.
pub struct Publication {
    /// The bound socket; listening while `slot` is set.
    pub fd: OwnedFd,
    /// Port inside the guest.
    pub guest: u16,
    /// Where it can be reached.
    pub host: SocketAddr,
    /// The guest's listener.
    pub slot: Option<usize>,
    /// Connections wait for room in the guest.
    pub waiting: bool,
    /// Made by a rule, so it outlives the listener.
    pub fixed: bool,
}

impl Publication {
    /// Starts to listen on behalf of a guest listener.
    pub fn attach(&mut self, slot: usize, backlog: i32) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        // Set before listening, which checks the port once more: connections of an
        // earlier run in TIME_WAIT do not count then. What is accepted inherits it.
        sys::reuse_address(fd, true);
        if let Err(error) = sys::listen(fd, backlog.clamp(*BACKLOG.start(), *BACKLOG.end())) {
            sys::reuse_address(fd, false);
            return Err(error);
        }
        self.slot = Some(slot);
        self.waiting = false;
        Ok(())
    }
    /// Stops listening; the port stays bound.
    pub fn detach(&mut self) {
        self.slot = None;
        self.waiting = false;
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
    let address = SocketAddr::new(rule.address, rule.host);
    bound(address, rule.guest, true).map_err(|error| explain(&address, &error))
}

/// Binds 127.0.0.1 at the guest's own port (0: any).
pub fn bind_same(guest: u16) -> io::Result<Publication> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), guest);
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
        slot: None,
        waiting: false,
        fixed,
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
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_taken_port_is_reported_with_its_address() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = other.local_addr().unwrap().port();
        let rule = PublishRule {
            address: Ipv4Addr::LOCALHOST.into(),
            host,
            guest: 80,
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
        };
        let mut publication = bind(&rule).unwrap();
        assert!(TcpStream::connect(publication.host).is_err());
        publication.attach(9, 1).unwrap();
        assert!(TcpStream::connect(publication.host).is_ok());
        publication.detach();
        assert!(TcpStream::connect(publication.host).is_err());
        publication.attach(9, 1).unwrap();
        assert!(TcpStream::connect(publication.host).is_ok());
    }
}
