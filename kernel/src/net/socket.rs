//! What every socket can do, whatever its family: the interface between the
//! system calls and internet, netlink and unix sockets.
//!
//! As with files, nothing here blocks: where a call would, it answers EAGAIN
//! (EINPROGRESS for connect) and the system call waits on the file's notifier.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile};
use crate::mm::io::{Reader, Writer};

/// Address families (`linux/socket.h`).
pub mod family {
    #![allow(
        missing_docs,
        reason = "named and documented as in address_families(7)"
    )]
    pub const UNSPEC: u16 = 0;
    pub const UNIX: u16 = 1;
    pub const INET: u16 = 2;
    pub const INET6: u16 = 10;
    pub const NETLINK: u16 = 16;
}

/// Socket types (`linux/net.h`).
pub mod kind {
    #![allow(missing_docs, reason = "named and documented as in socket(2)")]
    pub const STREAM: u32 = 1;
    pub const DGRAM: u32 = 2;
    pub const RAW: u32 = 3;
    pub const SEQPACKET: u32 = 5;
}

/// Flags of send and receive calls (`linux/socket.h`).
pub mod message_flag {
    #![allow(
        missing_docs,
        reason = "named and documented as in send(2) and recv(2)"
    )]
    pub const OOB: u32 = 0x1;
    pub const PEEK: u32 = 0x2;
    pub const DONTROUTE: u32 = 0x4;
    pub const CTRUNC: u32 = 0x8;
    pub const TRUNC: u32 = 0x20;
    pub const DONTWAIT: u32 = 0x40;
    pub const EOR: u32 = 0x80;
    pub const WAITALL: u32 = 0x100;
    pub const ERRQUEUE: u32 = 0x2000;
    pub const NOSIGNAL: u32 = 0x4000;
    pub const MORE: u32 = 0x8000;
    pub const WAITFORONE: u32 = 0x10000;
    pub const CMSG_CLOEXEC: u32 = 0x4000_0000;
}

/// Which directions `shutdown` ends (`SHUT_RD` 0, `SHUT_WR` 1, `SHUT_RDWR` 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Receiving ends.
    pub read: bool,
    /// Sending ends.
    pub write: bool,
}

/// Longest address (`struct sockaddr_storage`).
pub const ADDRESS_MAX: usize = 128;

/// A socket address as raw bytes (`struct sockaddr_*`, family first).
#[derive(Clone, Copy)]
pub struct SocketAddress {
    bytes: [u8; ADDRESS_MAX],
    len: usize,
}

impl SocketAddress {
    /// Takes over bytes; EINVAL if there are more than 128.
    pub fn new(raw: &[u8]) -> Result<Self> {
        let mut bytes = [0; ADDRESS_MAX];
        bytes
            .get_mut(..raw.len())
            .ok_or(Errno::EINVAL)?
            .copy_from_slice(raw);
        Ok(Self {
            bytes,
            len: raw.len(),
        })
    }
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
    /// `sa_family`. EINVAL if the address is too short to have one.
    pub fn family(&self) -> Result<u16> {
        match self.as_bytes() {
            [low, high, ..] => Ok(u16::from_le_bytes([*low, *high])),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Ancillary data, already decoded (`cmsg(3)`): what SCM_RIGHTS and
/// SCM_CREDENTIALS carry.
#[derive(Default, Clone)]
pub struct Control {
    /// Open files passed along (unix sockets).
    pub files: Vec<Arc<OpenFile>>,
    /// pid, uid, gid of the sender, if they were asked for (SO_PASSCRED) or given.
    pub credentials: Option<[u32; 3]>,
}

/// Everything that goes with the bytes of a send.
#[derive(Default)]
pub struct SendParameters {
    /// Destination (`msg_name`), if given.
    pub to: Option<SocketAddress>,
    /// [`message_flag`]s. The caller handles DONTWAIT and NOSIGNAL.
    pub flags: u32,
    /// Ancillary data.
    pub control: Control,
}

/// What a receive found beside the bytes it copied.
#[derive(Default)]
pub struct Received {
    /// Bytes copied.
    pub copied: usize,
    /// Length of the whole datagram; equal to `copied` for streams. Where it is
    /// larger, the caller sets MSG_TRUNC.
    pub full: usize,
    /// Sender; `None` for connected streams.
    pub from: Option<SocketAddress>,
    /// Ancillary data.
    pub control: Control,
}

/// Names of options at level SOL_SOCKET (`asm-generic/socket.h`).
pub mod option {
    #![allow(missing_docs, reason = "named and documented as in socket(7)")]
    pub const SOL_SOCKET: i32 = 1;
    pub const SO_DEBUG: i32 = 1;
    pub const SO_REUSEADDR: i32 = 2;
    pub const SO_TYPE: i32 = 3;
    pub const SO_ERROR: i32 = 4;
    pub const SO_DONTROUTE: i32 = 5;
    pub const SO_BROADCAST: i32 = 6;
    pub const SO_SNDBUF: i32 = 7;
    pub const SO_RCVBUF: i32 = 8;
    pub const SO_KEEPALIVE: i32 = 9;
    pub const SO_OOBINLINE: i32 = 10;
    pub const SO_PRIORITY: i32 = 12;
    pub const SO_LINGER: i32 = 13;
    pub const SO_REUSEPORT: i32 = 15;
    pub const SO_PASSCRED: i32 = 16;
    pub const SO_PEERCRED: i32 = 17;
    pub const SO_RCVLOWAT: i32 = 18;
    pub const SO_SNDLOWAT: i32 = 19;
    pub const SO_RCVTIMEO: i32 = 20;
    pub const SO_SNDTIMEO: i32 = 21;
    pub const SO_TIMESTAMP: i32 = 29;
    pub const SO_ACCEPTCONN: i32 = 30;
    pub const SO_SNDBUFFORCE: i32 = 32;
    pub const SO_RCVBUFFORCE: i32 = 33;
    pub const SO_MARK: i32 = 36;
    pub const SO_PROTOCOL: i32 = 38;
    pub const SO_DOMAIN: i32 = 39;
    pub const SO_BUSY_POLL: i32 = 46;
    pub const SO_INCOMING_CPU: i32 = 49;
    pub const SO_COOKIE: i32 = 57;
}

/// A socket. The file half ([`File::read`], [`File::write`]) behaves as receive
/// and send without flags.
pub trait Socket: File {
    /// [`family`].
    fn family(&self) -> u16;
    /// [`kind`].
    fn kind(&self) -> u32;
    /// Protocol number, e.g. 6 for TCP.
    fn protocol(&self) -> u32 {
        0
    }
    /// bind(2).
    fn bind(&self, _address: &SocketAddress) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// listen(2).
    fn listen(&self, _backlog: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Takes a connection that is ready. EAGAIN if there is none.
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Starts to connect. EINPROGRESS: done once `poll` shows OUT; then
    /// [`Socket::take_error`] tells how it went.
    fn connect(&self, _address: &SocketAddress) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// getsockname(2).
    fn local_address(&self) -> Result<SocketAddress>;
    /// getpeername(2). ENOTCONN.
    fn peer_address(&self) -> Result<SocketAddress> {
        Err(Errno::ENOTCONN)
    }
    /// Sends; answers how much was taken. EAGAIN when there is no room. EPIPE: the
    /// caller raises SIGPIPE unless MSG_NOSIGNAL.
    fn send(&self, data: &mut Reader<'_>, parameters: &SendParameters) -> Result<usize>;
    /// Receives into `out`. EAGAIN when there is nothing. Flags: PEEK and the like.
    fn receive(&self, out: &mut Writer<'_>, flags: u32) -> Result<Received>;
    /// shutdown(2). ENOTCONN.
    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        Err(Errno::ENOTCONN)
    }
    /// setsockopt(2). ENOPROTOOPT. The system call has handled SO_RCVTIMEO and
    /// SO_SNDTIMEO.
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()>;
    /// getsockopt(2): the bytes of the answer (the system call cuts them). Asked
    /// after SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ERROR and the timeouts, which the
    /// system call answers itself.
    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>>;
    /// SO_ERROR: takes the pending error.
    fn take_error(&self) -> Option<Errno> {
        None
    }
    /// Where SO_RCVTIMEO and SO_SNDTIMEO are kept.
    fn timeouts(&self) -> &Timeouts;
}

/// SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds; 0: none.
#[derive(Default)]
pub struct Timeouts {
    /// SO_RCVTIMEO.
    pub receive: core::sync::atomic::AtomicU64,
    /// SO_SNDTIMEO.
    pub send: core::sync::atomic::AtomicU64,
}

impl Timeouts {
    /// As [`File::patience`].
    pub fn patience(&self, writing: bool) -> Option<u64> {
        let timeout = if writing { &self.send } else { &self.receive };
        match timeout.load(core::sync::atomic::Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(nanoseconds),
        }
    }
}
