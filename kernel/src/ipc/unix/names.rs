//! Names of unix sockets (unix(7)): abstract ones in a table, paths in the file system.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use spore_hal::Lock;

use super::UnixSocket;
use crate::errno::{Errno, Result};
use crate::fs::inode::InodeRef;
use crate::fs::path::{Base, resolve};
use crate::fs::socket;
use crate::net::socket::{SocketAddress, family};

/// Longest `sun_path`.
const PATH_MAX: usize = 108;

/// A `struct sockaddr_un`, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// Only a family: bind chooses a name.
    Unnamed,
    /// A name outside the file system (without its leading NUL).
    Abstract(&'a [u8]),
    /// A path (without a final NUL).
    Path(&'a [u8]),
}

impl<'a> Address<'a> {
    /// EINVAL for another family or a bad length.
    pub fn parse(address: &'a SocketAddress) -> Result<Self> {
        if address.family()? != family::UNIX {
            return Err(Errno::EINVAL);
        }
        let path = &address.as_bytes()[2..];
        match path {
            [] => Ok(Self::Unnamed),
            _ if path.len() > PATH_MAX => Err(Errno::EINVAL),
            [0, name @ ..] => Ok(Self::Abstract(name)),
            _ => Ok(Self::Path(
                path.split(|byte| *byte == 0).next().unwrap_or(path),
            )),
        }
    }
    /// As getsockname shows it: a path ends in NUL, if there is room.
    pub fn encode(self) -> Result<SocketAddress> {
        let mut bytes = Vec::from(family::UNIX.to_le_bytes());
        match self {
            Self::Unnamed => {}
            Self::Abstract(name) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
            Self::Path(path) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
        }
        SocketAddress::new(&bytes)
    }
}

/// The name that a socket is bound to; given back when dropped.
pub struct Name {
    address: SocketAddress,
    place: Place,
}

enum Place {
    Abstract(u32, Vec<u8>),
    Node(InodeRef),
}

/// Abstract names; each kind of socket has its own.
/// Sockets by type and name.
type Names = BTreeMap<(u32, Vec<u8>), Weak<UnixSocket>>;

static ABSTRACT: Lock<Names> = Lock::new(BTreeMap::new());

impl Name {
    /// Binds `socket`, which is of `kind`. EADDRINUSE, and the errors of path walks.
    pub fn bind(socket: &Weak<UnixSocket>, kind: u32, address: Address<'_>) -> Result<Self> {
        match address {
            Address::Unnamed => Self::bind_automatically(socket, kind),
            Address::Abstract(name) => Self::bind_abstract(socket, kind, name),
            Address::Path(path) => {
                let (base, umask) = {
                    let process = crate::sched::current().process();
                    let context = process.fs.lock();
                    (context.base(), context.umask)
                };
                let inode = socket::bind(&base, path, 0o777 & !umask, Arc::new(socket.clone()))?;
                Ok(Self {
                    address: address.encode()?,
                    place: Place::Node(inode),
                })
            }
        }
    }
    fn bind_abstract(socket: &Weak<UnixSocket>, kind: u32, name: &[u8]) -> Result<Self> {
        let address = Address::Abstract(name).encode()?;
        match ABSTRACT.lock().entry((kind, name.to_vec())) {
            Entry::Occupied(_) => return Err(Errno::EADDRINUSE),
            Entry::Vacant(place) => place.insert(socket.clone()),
        };
        Ok(Self {
            address,
            place: Place::Abstract(kind, name.to_vec()),
        })
    }
    /// Five hexadecimal digits that nobody uses.
    fn bind_automatically(socket: &Weak<UnixSocket>, kind: u32) -> Result<Self> {
        const NAMES: u32 = 1 << 20;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..NAMES {
            let name = format!("{:05x}", NEXT.fetch_add(1, Ordering::Relaxed) % NAMES);
            match Self::bind_abstract(socket, kind, name.as_bytes()) {
                Err(Errno::EADDRINUSE) => {}
                result => return result,
            }
        }
        Err(Errno::ENOSPC)
    }
    /// As getsockname shows it.
    pub fn address(&self) -> SocketAddress {
        self.address
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        match &self.place {
            Place::Abstract(kind, name) => {
                ABSTRACT.lock().remove(&(*kind, name.clone()));
            }
            Place::Node(inode) => socket::unbind(inode),
        }
    }
}

/// The socket of `kind` bound to `address`. ECONNREFUSED if there is none; for paths
/// also EPROTOTYPE for another kind and the errors of path walks.
pub fn find(address: Address<'_>, kind: u32) -> Result<Arc<UnixSocket>> {
    let found = match address {
        Address::Unnamed => return Err(Errno::EINVAL),
        Address::Abstract(name) => ABSTRACT.lock().get(&(kind, name.to_vec())).cloned(),
        Address::Path(path) => socket::find(&current_base(), path)?
            .downcast_ref::<Weak<UnixSocket>>()
            .cloned(),
    };
    let socket = found
        .and_then(|socket| socket.upgrade())
        .ok_or(Errno::ECONNREFUSED)?;
    if socket.kind == kind {
        Ok(socket)
    } else {
        Err(Errno::EPROTOTYPE)
    }
}

/// Whether something stands at `path`.
pub fn exists(path: &[u8]) -> bool {
    resolve(&current_base(), path, false).is_ok()
}

fn current_base() -> Base {
    crate::sched::current().process().fs.lock().base()
}
