//! Internet addresses: between `struct sockaddr_in`/`sockaddr_in6` and the
//! ring's notation. IPv4 in IPv6 notation is IPv4 inside.

use spore_abi::net::Address;

use crate::errno::{Errno, Result};
use crate::net::socket::{SocketAddress, family};

/// The guest's own address, as `getsockname` and the interface list show it. The
/// host's side of it is wherever the monitor connects from.
pub const OWN_V4: [u8; 4] = [10, 0, 2, 15];
const ANY_V4: [u8; 4] = [0; 4];
const ANY_V6: [u8; 16] = [0; 16];
const LOOPBACK_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Shortest `sockaddr_in` and `sockaddr_in6` (without the scope, RFC 2133).
const MIN_V4: usize = 16;
const MIN_V6: usize = 24;

/// Reads an address for a socket of family `own`. EINVAL if it is too short,
/// EAFNOSUPPORT for other families.
pub fn parse(raw: &SocketAddress, own: u16) -> Result<Address> {
    let bytes = raw.as_bytes();
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    match raw.family()? {
        // An AF_UNSPEC wildcard is accepted by bind, as Linux does.
        family::INET | family::UNSPEC if own == family::INET => {
            if bytes.len() < MIN_V4 {
                return Err(Errno::EINVAL);
            }
            Ok(Address::v4(
                [bytes[4], bytes[5], bytes[6], bytes[7]],
                port(bytes),
            ))
        }
        family::INET6 if own == family::INET6 => {
            if bytes.len() < MIN_V6 {
                return Err(Errno::EINVAL);
            }
            let mut address = [0; 16];
            address.copy_from_slice(&bytes[8..24]);
            let mut scope = [0; 4];
            if let Some(given) = bytes.get(24..28) {
                scope.copy_from_slice(given);
            }
            Ok(unmapped(Address::v6(
                address,
                port(bytes),
                u32::from_le_bytes(scope),
            )))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn unmapped(address: Address) -> Address {
    match address.bytes {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
            Address::v4([a, b, c, d], address.port)
        }
        _ => address,
    }
}

/// Shows an address to a socket of family `own`.
pub fn format(address: &Address, own: u16) -> SocketAddress {
    let mut bytes = [0; 28];
    let len = if own == family::INET { MIN_V4 } else { 28 };
    bytes[..2].copy_from_slice(&own.to_le_bytes());
    bytes[2..4].copy_from_slice(&address.port.to_be_bytes());
    let [a, b, c, d, ..] = address.bytes;
    match (own, address.family) {
        (family::INET, 4) => bytes[4..8].copy_from_slice(&[a, b, c, d]),
        (family::INET, _) => {}
        (_, 4) => bytes[18..24].copy_from_slice(&[0xff, 0xff, a, b, c, d]),
        _ => {
            bytes[8..24].copy_from_slice(&address.bytes);
            bytes[24..28].copy_from_slice(&address.scope.to_le_bytes());
        }
    }
    // 28 bytes always fit.
    SocketAddress::new(&bytes[..len]).unwrap_or_else(|_| unreachable!())
}

/// The wildcard address of a family.
pub fn any(own: u16) -> Address {
    if own == family::INET {
        Address::v4(ANY_V4, 0)
    } else {
        Address::v6(ANY_V6, 0, 0)
    }
}

/// 0.0.0.0 or ::.
pub fn is_any(address: &Address) -> bool {
    match address.family {
        4 => address.bytes[..4] == ANY_V4,
        _ => address.bytes == ANY_V6,
    }
}

/// 127.0.0.0/8 or ::1.
pub fn is_loopback(address: &Address) -> bool {
    match address.family {
        4 => address.bytes[0] == 127,
        _ => address.bytes == LOOPBACK_V6,
    }
}

/// The guest's address that is not loopback.
pub fn is_own(address: &Address) -> bool {
    address.family == 4 && address.bytes[..4] == OWN_V4
}

/// An address that a packet to itself would carry: wildcards mean loopback.
pub fn destination(address: Address) -> Address {
    match (is_any(&address), address.family) {
        (true, 4) => Address::v4([127, 0, 0, 1], address.port),
        (true, _) => Address::v6(LOOPBACK_V6, address.port, 0),
        _ => address,
    }
}

/// The local address of a connection to `peer`.
pub fn source_for(peer: &Address, port: u16) -> Address {
    match (is_loopback(peer), peer.family) {
        (true, 4) => Address::v4([127, 0, 0, 1], port),
        (true, _) => Address::v6(LOOPBACK_V6, port, 0),
        (false, 4) => Address::v4(OWN_V4, port),
        // Unique local, in step with the interface list.
        (false, _) => Address::v6(OWN_V6, port, 0),
    }
}

/// The guest's own IPv6 address (unique local, RFC 4193).
pub const OWN_V6: [u8; 16] = [
    0xfd, 0x53, 0x70, 0x6f, 0x72, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15,
];

/// Whether the guest may bind to the address. EADDRNOTAVAIL otherwise.
pub fn check_bindable(address: &Address) -> Result<()> {
    let multicast = match address.family {
        4 => address.bytes[0] & 0xf0 == 0xe0 || address.bytes[..4] == [255; 4],
        _ => address.bytes[0] == 0xff,
    };
    let own_v6 = address.family == 6 && address.bytes == OWN_V6;
    if is_any(address) || is_loopback(address) || is_own(address) || own_v6 || multicast {
        return Ok(());
    }
    Err(Errno::EADDRNOTAVAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: [u8; 16]) -> SocketAddress {
        format(&Address::v6(text, 80, 3), family::INET6)
    }

    #[test]
    fn addresses_survive_both_ways() {
        let v4 = Address::v4([1, 2, 3, 4], 8080);
        assert_eq!(parse(&format(&v4, family::INET), family::INET), Ok(v4));
        assert_eq!(format(&v4, family::INET).as_bytes().len(), 16);
        let own = Address::v6(OWN_V6, 80, 3);
        assert_eq!(parse(&v6(OWN_V6), family::INET6), Ok(own));
    }

    #[test]
    fn mapped_addresses_are_ipv4_inside() {
        let v4 = Address::v4([127, 0, 0, 1], 80);
        let shown = format(&v4, family::INET6);
        assert_eq!(&shown.as_bytes()[18..24], &[0xff, 0xff, 127, 0, 0, 1]);
        assert_eq!(parse(&shown, family::INET6), Ok(v4));
    }

    #[test]
    fn wrong_addresses_are_refused() {
        let short = SocketAddress::new(&[2, 0, 0, 80]).unwrap();
        assert_eq!(parse(&short, family::INET), Err(Errno::EINVAL));
        assert_eq!(parse(&v6(OWN_V6), family::INET), Err(Errno::EAFNOSUPPORT));
        assert_eq!(
            parse(&SocketAddress::new(&[2]).unwrap(), family::INET),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            check_bindable(&Address::v4([8, 8, 8, 8], 0)),
            Err(Errno::EADDRNOTAVAIL)
        );
    }
}
