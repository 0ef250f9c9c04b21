//! Socket options.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::{Role, UnixSocket};
use crate::errno::{Errno, Result};
use crate::net::socket::option::*;

/// Largest value for SO_SNDBUF and SO_RCVBUF (`net.core.wmem_max`).
const BUFFER_MAX: i32 = 212_992;
/// Smallest SO_SNDBUF (`SOCK_MIN_SNDBUF`).
const SEND_BUFFER_MIN: usize = 4608;
/// Smallest SO_RCVBUF (`SOCK_MIN_RCVBUF`).
const RECEIVE_BUFFER_MIN: usize = 2304;

impl UnixSocket {
    /// setsockopt(2). EOPNOTSUPP for other levels, EINVAL, ENOPROTOOPT.
    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = match value {
            [a, b, c, d, ..] => i32::from_ne_bytes([*a, *b, *c, *d]),
            _ => return Err(Errno::EINVAL),
        };
        // Twice the value, as Linux keeps it: half is for its own bookkeeping.
        let doubled = 2 * number.clamp(0, BUFFER_MAX) as usize;
        match name {
            SO_SNDBUF | SO_SNDBUFFORCE => {
                let limit = doubled.max(SEND_BUFFER_MIN);
                self.send_buffer.store(limit, Ordering::Relaxed);
                if let Some(end) = self.end() {
                    end.set_limit(limit);
                }
            }
            SO_RCVBUF | SO_RCVBUFFORCE => {
                self.receive_buffer
                    .store(doubled.max(RECEIVE_BUFFER_MIN), Ordering::Relaxed);
            }
            SO_PASSCRED => self.pass_credentials.store(number != 0, Ordering::Relaxed),
            // Accepted without effect, as unix sockets of Linux do.
            SO_DEBUG | SO_REUSEADDR | SO_DONTROUTE | SO_BROADCAST | SO_KEEPALIVE | SO_OOBINLINE
            | SO_PRIORITY | SO_LINGER | SO_REUSEPORT | SO_RCVLOWAT | SO_TIMESTAMP | SO_MARK
            | SO_BUSY_POLL => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// getsockopt(2). EOPNOTSUPP for other levels, ENOPROTOOPT.
    pub(super) fn read_option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = match name {
            SO_SNDBUF => self.limit(),
            SO_RCVBUF => self.receive_buffer.load(Ordering::Relaxed),
            SO_PASSCRED => usize::from(self.pass_credentials.load(Ordering::Relaxed)),
            SO_ACCEPTCONN => usize::from(matches!(self.state.lock().role, Role::Listening(_))),
            SO_RCVLOWAT | SO_SNDLOWAT => 1,
            SO_LINGER => return Ok(vec![0; 8]),
            SO_PEERCRED => return Ok(self.peer_credentials()),
            SO_DEBUG | SO_REUSEADDR | SO_DONTROUTE | SO_BROADCAST | SO_KEEPALIVE | SO_OOBINLINE
            | SO_PRIORITY | SO_REUSEPORT | SO_TIMESTAMP | SO_MARK | SO_BUSY_POLL => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(Vec::from((number as i32).to_ne_bytes()))
    }

    /// `struct ucred` of the peer; pid 0 and no user when there is none.
    fn peer_credentials(&self) -> Vec<u8> {
        let credentials = self
            .state
            .lock()
            .peer
            .map_or([0, u32::MAX, u32::MAX], |peer| peer.credentials);
        credentials
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect()
    }
}
