//! Socket options that the guest keeps and answers itself (`socket(7)`, `tcp(7)`,
//! `ip(7)`, `ipv6(7)`, `udp(7)`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::net::ports::Sharing;
use crate::net::socket::option::*;

/// Levels besides SOL_SOCKET.
pub mod level {
    #![allow(missing_docs, reason = "named and documented as in setsockopt(2)")]
    pub const IP: i32 = 0;
    pub const TCP: i32 = 6;
    pub const UDP: i32 = 17;
    pub const IPV6: i32 = 41;
}

/// TCP_NODELAY and others of tcp(7).
pub mod tcp {
    #![allow(missing_docs, reason = "named and documented as in tcp(7)")]
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const SYNCNT: i32 = 7;
    pub const LINGER2: i32 = 8;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const WINDOW_CLAMP: i32 = 10;
    pub const INFO: i32 = 11;
    pub const QUICKACK: i32 = 12;
    pub const CONGESTION: i32 = 13;
    pub const USER_TIMEOUT: i32 = 18;
    pub const FASTOPEN: i32 = 23;
    pub const NOTSENT_LOWAT: i32 = 25;
    pub const FASTOPEN_CONNECT: i32 = 30;
}

/// IPV6_V6ONLY.
const V6ONLY: i32 = 26;
/// `struct linger`: on, seconds.
const LINGER_LEN: usize = 8;
/// Bytes of `struct tcp_info` up to and including `tcpi_total_retrans`.
const TCP_INFO_LEN: usize = 104;
/// `SOCK_MIN_SNDBUF` and `SOCK_MIN_RCVBUF`, and a sane most.
const BUFFER_SIZES: core::ops::RangeInclusive<i32> = 2304..=(8 << 20);

/// Options with a plain number: level, name, value before it is set. Setting them
/// is remembered and changes nothing else, unless code here asks for the value.
const KNOWN: &[(i32, i32, i32)] = &[
    (SOL_SOCKET, SO_DEBUG, 0),
    (SOL_SOCKET, SO_REUSEADDR, 0),
    (SOL_SOCKET, SO_DONTROUTE, 0),
    (SOL_SOCKET, SO_BROADCAST, 0),
    (SOL_SOCKET, SO_KEEPALIVE, 0),
    (SOL_SOCKET, SO_OOBINLINE, 0),
    (SOL_SOCKET, SO_PRIORITY, 0),
    (SOL_SOCKET, SO_REUSEPORT, 0),
    (SOL_SOCKET, SO_RCVLOWAT, 1),
    (SOL_SOCKET, SO_TIMESTAMP, 0),
    (SOL_SOCKET, SO_MARK, 0),
    (SOL_SOCKET, SO_BUSY_POLL, 0),
    (SOL_SOCKET, SO_INCOMING_CPU, 0),
    (level::TCP, tcp::NODELAY, 0),
    (level::TCP, tcp::MAXSEG, 65_483),
    (level::TCP, tcp::CORK, 0),
    (level::TCP, tcp::KEEPIDLE, 7200),
    (level::TCP, tcp::KEEPINTVL, 75),
    (level::TCP, tcp::KEEPCNT, 9),
    (level::TCP, tcp::SYNCNT, 6),
    (level::TCP, tcp::LINGER2, 60),
    (level::TCP, tcp::DEFER_ACCEPT, 0),
    (level::TCP, tcp::WINDOW_CLAMP, 0),
    (level::TCP, tcp::QUICKACK, 1),
    (level::TCP, tcp::USER_TIMEOUT, 0),
    (level::TCP, tcp::FASTOPEN, 0),
    (level::TCP, tcp::FASTOPEN_CONNECT, 0),
    (level::TCP, tcp::NOTSENT_LOWAT, 0),
    (level::IP, 1, 0),      // IP_TOS
    (level::IP, 2, 64),     // IP_TTL
    (level::IP, 5, 0),      // IP_RECVTTL (12) and IP_RECVOPTS are not delivered
    (level::IP, 8, 0),      // IP_PKTINFO
    (level::IP, 10, 1),     // IP_MTU_DISCOVER
    (level::IP, 11, 0),     // IP_RECVERR
    (level::IP, 12, 0),     // IP_RECVTTL
    (level::IP, 13, 0),     // IP_RECVTOS
    (level::IP, 14, 65535), // IP_MTU
    (level::IP, 15, 0),     // IP_FREEBIND
    (level::IP, 24, 0),     // IP_BIND_ADDRESS_NO_PORT
    (level::IP, 33, 1),     // IP_MULTICAST_TTL
    (level::IP, 34, 1),     // IP_MULTICAST_LOOP
    (level::IPV6, 16, 64),  // IPV6_UNICAST_HOPS
    (level::IPV6, 17, 0),   // IPV6_MULTICAST_IF
    (level::IPV6, 18, 1),   // IPV6_MULTICAST_HOPS
    (level::IPV6, 19, 1),   // IPV6_MULTICAST_LOOP
    (level::IPV6, 23, 1),   // IPV6_MTU_DISCOVER
    (level::IPV6, 25, 0),   // IPV6_RECVERR
    (level::IPV6, V6ONLY, 0),
    (level::IPV6, 49, 0), // IPV6_RECVPKTINFO
    (level::IPV6, 66, 0), // IPV6_RECVTCLASS
    (level::IPV6, 67, 0), // IPV6_TCLASS
    (level::UDP, 1, 0),   // UDP_CORK
    (level::UDP, 103, 0), // UDP_SEGMENT: 0 only
    (level::UDP, 104, 0), // UDP_GRO: never coalesces
];

/// Structures that are accepted and forgotten: multicast membership and interface
/// (`IP_MULTICAST_IF` 32, `IP_ADD_MEMBERSHIP` 35, `IP_DROP_MEMBERSHIP` 36,
/// `IPV6_ADD_MEMBERSHIP` 20, `IPV6_DROP_MEMBERSHIP` 21).
const ACCEPTED: &[(i32, i32)] = &[
    (level::IP, 32),
    (level::IP, 35),
    (level::IP, 36),
    (level::IPV6, 20),
    (level::IPV6, 21),
];

/// The options of one socket.
#[derive(Clone, Default)]
pub struct Options {
    values: BTreeMap<(i32, i32), i32>,
    linger: Option<i32>,
}

impl Options {
    /// setsockopt. ENOPROTOOPT for what is unknown, EINVAL for a short value.
    pub fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let number = number(value);
        match (level, name) {
            (SOL_SOCKET, SO_LINGER) => {
                let seconds = value
                    .get(4..LINGER_LEN)
                    .and_then(self::number)
                    .ok_or(Errno::EINVAL)?;
                self.linger = (number.ok_or(Errno::EINVAL)? != 0).then_some(seconds);
                return Ok(());
            }
            (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF | SO_SNDBUFFORCE | SO_RCVBUFFORCE) => {
                let plain = match name {
                    SO_SNDBUFFORCE => SO_SNDBUF,
                    SO_RCVBUFFORCE => SO_RCVBUF,
                    name => name,
                };
                // Linux answers double what was asked: its own bookkeeping counts too.
                let size = number.ok_or(Errno::EINVAL)?.saturating_mul(2);
                let size = size.clamp(*BUFFER_SIZES.start(), *BUFFER_SIZES.end());
                self.values.insert((SOL_SOCKET, plain), size);
                return Ok(());
            }
            (level::TCP, tcp::CONGESTION) => return Ok(()),
            key if ACCEPTED.contains(&key) => return Ok(()),
            _ => {}
        }
        if !KNOWN
            .iter()
            .any(|known| (known.0, known.1) == (level, name))
        {
            return Err(Errno::ENOPROTOOPT);
        }
        // Flags of the IP level may be given as a single byte.
        let number = number.or(value
            .first()
            .filter(|_| level == level::IP)
            .map(|byte| i32::from(*byte)));
        self.values
            .insert((level, name), number.ok_or(Errno::EINVAL)?);
        Ok(())
    }
    /// getsockopt for everything that the socket itself does not know better.
    pub fn get(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        match (level, name) {
            (SOL_SOCKET, SO_LINGER) => {
                let mut value = Vec::from(i32::from(self.linger.is_some()).to_le_bytes());
                value.extend_from_slice(&self.linger.unwrap_or(0).to_le_bytes());
                Ok(value)
            }
            (level::TCP, tcp::CONGESTION) => Ok(Vec::from(*b"cubic\0\0\0\0\0\0\0\0\0\0\0")),
            _ => Ok(Vec::from(
                self.value(level, name)
                    .ok_or(Errno::ENOPROTOOPT)?
                    .to_le_bytes(),
            )),
        }
    }
    fn value(&self, level: i32, name: i32) -> Option<i32> {
        if let Some(value) = self.values.get(&(level, name)) {
            return Some(*value);
        }
        match (level, name) {
            (SOL_SOCKET, SO_SNDBUF) => Some(87_040),
            (SOL_SOCKET, SO_RCVBUF) => Some(131_072),
            (SOL_SOCKET, SO_SNDLOWAT) => Some(1),
            _ => KNOWN
                .iter()
                .find(|known| (known.0, known.1) == (level, name))
                .map(|known| known.2),
        }
    }
    fn is_on(&self, level: i32, name: i32) -> bool {
        self.value(level, name).is_some_and(|value| value != 0)
    }
    /// What matters to binding.
    pub fn sharing(&self) -> Sharing {
        Sharing {
            address: self.is_on(SOL_SOCKET, SO_REUSEADDR),
            port: self.is_on(SOL_SOCKET, SO_REUSEPORT),
            v6_only: self.v6_only(),
        }
    }
    /// IPV6_V6ONLY.
    pub fn v6_only(&self) -> bool {
        self.is_on(level::IPV6, V6ONLY)
    }
    /// Closing is to reset the connection (SO_LINGER with 0 seconds).
    pub fn resets_on_close(&self) -> bool {
        self.linger == Some(0)
    }
    /// SO_KEEPALIVE, and idle seconds, interval seconds, probes.
    pub fn keepalive(&self) -> (bool, [u16; 3]) {
        let time =
            |name| u16::try_from(self.value(level::TCP, name).unwrap_or(0)).unwrap_or(u16::MAX);
        let times = [
            time(tcp::KEEPIDLE),
            time(tcp::KEEPINTVL),
            time(tcp::KEEPCNT),
        ];
        (self.is_on(SOL_SOCKET, SO_KEEPALIVE), times)
    }
}

/// Whether an option is about keep-alive, which the host socket has to know.
pub fn is_keepalive(level: i32, name: i32) -> bool {
    matches!(
        (level, name),
        (SOL_SOCKET, SO_KEEPALIVE) | (level::TCP, tcp::KEEPIDLE | tcp::KEEPINTVL | tcp::KEEPCNT)
    )
}

/// A `struct tcp_info` that says only in which state the connection is.
pub fn tcp_info(state: u8) -> Vec<u8> {
    let mut info = alloc::vec![0; TCP_INFO_LEN];
    info[0] = state;
    info
}

fn number(value: &[u8]) -> Option<i32> {
    match value {
        [a, b, c, d, ..] => Some(i32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_answered() {
        let mut options = Options::default();
        assert_eq!(
            options.get(level::TCP, tcp::NODELAY),
            Ok(Vec::from([0, 0, 0, 0]))
        );
        options
            .set(level::TCP, tcp::NODELAY, &1i32.to_le_bytes())
            .unwrap();
        assert_eq!(
            options.get(level::TCP, tcp::NODELAY),
            Ok(Vec::from([1, 0, 0, 0]))
        );
        options
            .set(SOL_SOCKET, SO_RCVBUF, &65_536i32.to_le_bytes())
            .unwrap();
        assert_eq!(
            options.get(SOL_SOCKET, SO_RCVBUF),
            Ok(Vec::from(131_072i32.to_le_bytes()))
        );
    }

    #[test]
    fn unknown_options_and_short_values_are_refused() {
        let mut options = Options::default();
        assert_eq!(
            options.set(SOL_SOCKET, 9999, &[0; 4]),
            Err(Errno::ENOPROTOOPT)
        );
        assert_eq!(
            options.set(SOL_SOCKET, SO_KEEPALIVE, &[1]),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            options.set(SOL_SOCKET, SO_LINGER, &[1, 0, 0, 0]),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn linger_zero_resets() {
        let mut options = Options::default();
        options
            .set(SOL_SOCKET, SO_LINGER, &[1, 0, 0, 0, 0, 0, 0, 0])
            .unwrap();
        assert!(options.resets_on_close());
        options.set(SOL_SOCKET, SO_LINGER, &[0; 8]).unwrap();
        assert!(!options.resets_on_close());
    }
}
