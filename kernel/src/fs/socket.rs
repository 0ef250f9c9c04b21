//! Sockets in the name space: what AF_UNIX `bind` and `connect` need.

use alloc::sync::Arc;
use core::any::Any;

use crate::errno::{Errno, Result};
use crate::fs::inode::{InodeRef, New, downcast};
use crate::fs::overlay::Node;
use crate::fs::path::{Base, locate, resolve};

/// What a socket node leads to; its owner downcasts it.
pub type Endpoint = Arc<dyn Any + Send + Sync>;

/// Makes a socket node at `path` that leads to `endpoint`. EADDRINUSE if something
/// is there, and the errors of path walks.
pub fn bind(base: &Base, path: &[u8], permissions: u32, endpoint: Endpoint) -> Result<InodeRef> {
    let place = locate(base, path, false)?;
    if place.inode.is_some() {
        return Err(Errno::EADDRINUSE);
    }
    let name = place.name().ok_or(Errno::EADDRINUSE)?;
    let inode = place.directory.create(name, New::Socket(permissions))?;
    *node(&inode)?.attachment()?.lock() = Some(endpoint);
    Ok(inode)
}

/// What the socket node at `path` leads to. ECONNREFUSED if nobody stands behind it.
pub fn find(base: &Base, path: &[u8]) -> Result<Endpoint> {
    let inode = resolve(base, path, true)?;
    let endpoint = node(&inode)?.attachment()?.lock().clone();
    endpoint.ok_or(Errno::ECONNREFUSED)
}

/// The socket is closed: its node stays, but connecting to it is refused.
pub fn unbind(inode: &InodeRef) {
    if let Ok(attachment) = node(inode).and_then(Node::attachment) {
        let endpoint = attachment.lock().take();
        drop(endpoint);
    }
}

fn node(inode: &InodeRef) -> Result<&Node> {
    downcast::<Node>(inode).ok_or(Errno::ECONNREFUSED)
}
