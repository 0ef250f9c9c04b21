//! The families of sockets that this kernel was linked with.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::File;
use crate::net::socket::family;

/// A file that is a socket.
type NewSocket = Arc<dyn File>;

/// How sockets of a family are made.
#[derive(Clone, Copy)]
pub struct Family {
    /// AF_* number.
    pub number: u16,
    /// A socket of a type and a protocol.
    pub create: fn(kind: u32, protocol: u32) -> Result<NewSocket>,
    /// Two that are connected. EOPNOTSUPP.
    pub pair: fn(kind: u32, protocol: u32) -> Result<(NewSocket, NewSocket)>,
}

static FAMILIES: Lock<Vec<Family>> = Lock::new(Vec::new());

/// Makes a family known. Called at boot.
pub fn register(family: Family) {
    FAMILIES.lock().push(family);
}

/// For families without connected pairs.
pub fn no_pair(_kind: u32, _protocol: u32) -> Result<(NewSocket, NewSocket)> {
    Err(Errno::EOPNOTSUPP)
}

/// The family of a domain. EAFNOSUPPORT.
pub fn find(domain: u32) -> Result<Family> {
    let found = FAMILIES
        .lock()
        .iter()
        .find(|family| u32::from(family.number) == domain)
        .copied();
    found.ok_or_else(|| {
        if let Some(name) = name_of(domain) {
            crate::log!(
                "spore: sockets of family {name} were left out of this image (EAFNOSUPPORT): add them with `--piece socket/{name}`, or take everything with `--pieces full`"
            );
        }
        Errno::EAFNOSUPPORT
    })
}

/// Families that the library OS has.
fn name_of(domain: u32) -> Option<&'static str> {
    match u16::try_from(domain).ok()? {
        family::UNIX => Some("unix"),
        family::INET => Some("inet"),
        family::INET6 => Some("inet6"),
        family::NETLINK => Some("netlink"),
        _ => None,
    }
}
