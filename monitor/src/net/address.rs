//! Addresses between three notations: the guest's words, `struct sockaddr_*`,
//! and Rust's.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use spore_abi::net::Address;

/// A `struct sockaddr_storage` with its length.
#[derive(Clone, Copy)]
pub struct RawAddress {
    /// The structure.
    pub storage: libc::sockaddr_storage,
    /// Bytes of it that count.
    pub len: libc::socklen_t,
}

impl RawAddress {
    /// Room for an answer of the host kernel.
    pub fn empty() -> Self {
        Self {
            // SAFETY: sockaddr_storage is plain data, zero is a valid value.
            storage: unsafe { zeroed() },
            len: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }
    /// Pointer for system calls that read it.
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
    /// Pointer for system calls that fill it.
    pub fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }
    /// From a checked address.
    pub fn new(address: &SocketAddr) -> Self {
        let mut raw = Self::empty();
        match address {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as u16,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                raw.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                // SAFETY: sockaddr_storage is larger and at least as aligned.
                unsafe {
                    (&raw mut raw.storage)
                        .cast::<libc::sockaddr_in>()
                        .write(name)
                };
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as u16,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                raw.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                // SAFETY: as above.
                unsafe {
                    (&raw mut raw.storage)
                        .cast::<libc::sockaddr_in6>()
                        .write(name)
                };
            }
        }
        raw
    }
    /// What the host kernel has filled in; `None` for other families.
    pub fn to_rust(self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which structure the storage holds.
                let name = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::new(ip.into(), u16::from_be(name.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let name = unsafe {
                    (&raw const self.storage)
                        .cast::<libc::sockaddr_in6>()
                        .read()
                };
                let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                let port = u16::from_be(name.sin6_port);
                Some(std::net::SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// Checks an address that the guest gave; `None`: its family is neither 4 nor 6.
pub fn from_guest(address: &Address) -> Option<SocketAddr> {
    match address.family {
        4 => {
            let [a, b, c, d, ..] = address.bytes;
            Some(SocketAddr::new(
                Ipv4Addr::new(a, b, c, d).into(),
                address.port,
            ))
        }
        6 => {
            let ip = Ipv6Addr::from(address.bytes);
            Some(std::net::SocketAddrV6::new(ip, address.port, 0, address.scope).into())
        }
        _ => None,
    }
}

/// As the guest sees it; IPv4 in IPv6 notation becomes IPv4.
pub fn to_guest(address: &SocketAddr) -> Address {
    match address {
        SocketAddr::V4(v4) => Address::v4(v4.ip().octets(), v4.port()),
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => Address::v4(ip.octets(), v6.port()),
            None => Address::v6(v6.ip().octets(), v6.port(), v6.scope_id()),
        },
    }
}

/// IPv4 in IPv6 notation, for a socket of the family AF_INET6.
pub fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_says_the_same() {
        for text in ["127.0.0.1:8080", "[2001:db8::1]:53", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::new(&address).to_rust(), Some(address));
            let words = to_guest(&address).to_words();
            assert_eq!(from_guest(&Address::from_words(words)), Some(address));
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4_for_the_guest() {
        let address: SocketAddr = "[::ffff:10.0.0.1]:7".parse().unwrap();
        assert_eq!(to_guest(&address), Address::v4([10, 0, 0, 1], 7));
        assert_eq!(mapped("10.0.0.1:7".parse().unwrap()), address);
    }

    #[test]
    fn other_families_are_refused() {
        assert_eq!(
            from_guest(&Address {
                family: 5,
                ..Address::default()
            }),
            None
        );
    }
}
