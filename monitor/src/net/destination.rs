//! Destinations that an image declares: addresses, ranges and names, each perhaps
//! with a port.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::net::internal;

/// Whether an app's name, or all of them, are meant: their addresses need no resolver.
fn means_app(name: &str, ip: IpAddr) -> bool {
    internal::is_internal(ip)
        && (name == internal::DOMAIN || internal::resolve(name).is_some_and(|app| app == ip))
}

/// Addresses that one name is known by, at most.
const ADDRESSES: usize = 1024;

/// One declared destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    place: Place,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Network {
        address: IpAddr,
        prefix: u8,
    },
    /// What answers of the resolver have said that the name stands for.
    Name {
        /// In lower case; with a leading dot it stands for all below it.
        name: String,
        known: HashSet<IpAddr>,
    },
}

impl FromStr for Destination {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (place, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest.split_once(']').ok_or(())?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or(())?),
                };
                (network(inside).filter(|place| place.is_v6()), port)
            }
            None => {
                let (place, port) = match text.split_once(':') {
                    Some((place, port)) => (place, Some(port)),
                    None => (text, None),
                };
                (network(place).or_else(|| name(place)), port)
            }
        };
        let port = match port {
            Some(digits) => Some(digits.parse().ok().filter(|port| *port != 0).ok_or(())?),
            None => None,
        };
        let place = place.ok_or(())?;
        Ok(Self { place, port })
    }
}

impl Place {
    fn is_v6(&self) -> bool {
        matches!(self, Self::Network { address, .. } if address.is_ipv6())
    }
}

impl Destination {
    /// Whether `to` is one of the addresses that are meant.
    pub fn covers(&self, to: &SocketAddr) -> bool {
        let ip = to.ip().to_canonical();
        self.port.is_none_or(|port| port == to.port())
            && match &self.place {
                Place::Network { address, prefix } => within(ip, *address, *prefix),
                Place::Name { name, known } => known.contains(&ip) || means_app(name, ip),
            }
    }

    /// Whether a name is meant, which only a resolver can turn into addresses.
    pub fn is_name(&self) -> bool {
        matches!(self.place, Place::Name { .. })
    }

    /// The resolver has answered that `asked` has these addresses.
    pub fn learn(&mut self, asked: &str, addresses: &[IpAddr]) {
        let Place::Name { name, known } = &mut self.place else {
            return;
        };
        let meant = match name.starts_with('.') {
            true => asked.ends_with(name.as_str()),
            false => asked == name,
        };
        if meant {
            let room = ADDRESSES.saturating_sub(known.len());
            known.extend(addresses.iter().map(IpAddr::to_canonical).take(room));
        }
    }
}

/// `ADDRESS` or `ADDRESS/PREFIX`.
fn network(text: &str) -> Option<Place> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(bits);
    (prefix <= bits).then_some(Place::Network { address, prefix })
}

/// `db.example.com` or `*.example.com`.
fn name(text: &str) -> Option<Place> {
    let bare = text.strip_prefix('*').unwrap_or(text);
    let plain = bare.strip_prefix('.').unwrap_or(bare);
    let sound = !plain.is_empty()
        && plain.len() <= 253
        && plain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
        // What looks like an address and is none is a mistake.
        && !plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && bare.starts_with('.') == text.starts_with('*');
    sound.then(|| Place::Name {
        name: bare.to_ascii_lowercase(),
        known: HashSet::new(),
    })
}

fn within(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let masked = |bits: u128, width: u32| {
        let drop = width - u32::from(prefix).min(width);
        bits.checked_shr(drop).unwrap_or(0)
    };
    match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            masked(u128::from(a.to_bits()), 32) == masked(u128::from(b.to_bits()), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => masked(a.to_bits(), 128) == masked(b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(destination: &str, to: &str) -> bool {
        let destination: Destination = destination.parse().unwrap();
        destination.covers(&to.parse().unwrap())
    }

    #[test]
    fn addresses_and_ranges_with_and_without_a_port() {
        assert!(covers("10.0.0.1", "10.0.0.1:5432"));
        assert!(!covers("10.0.0.1", "10.0.0.2:5432"));
        assert!(covers("10.0.0.0/8", "10.255.0.1:1"));
        assert!(!covers("10.0.0.0/8", "11.0.0.1:1"));
        assert!(covers("10.0.0.0/8:5432", "10.1.2.3:5432"));
        assert!(!covers("10.0.0.0/8:5432", "10.1.2.3:5433"));
        assert!(covers("0.0.0.0/0", "1.2.3.4:5"));
        assert!(!covers("0.0.0.0/0", "[2001:db8::1]:5"));
        assert!(covers("[fd00::/8]:80", "[fd12::1]:80"));
        assert!(!covers("[fd00::/8]:80", "[fe80::1]:80"));
        assert!(covers("10.0.0.1", "[::ffff:10.0.0.1]:80"));
    }

    #[test]
    fn a_name_stands_for_what_the_resolver_said() {
        let mut exact: Destination = "DB.example.com:5432".parse().unwrap();
        let mut below: Destination = "*.example.com".parse().unwrap();
        let to: SocketAddr = "10.0.0.7:5432".parse().unwrap();
        for destination in [&mut exact, &mut below] {
            assert!(!destination.covers(&to));
            destination.learn("other.example.org", &[to.ip()]);
            destination.learn("example.com", &[to.ip()]);
            assert!(!destination.covers(&to));
            destination.learn("db.example.com", &[to.ip()]);
            assert!(destination.covers(&to));
        }
        assert!(!exact.covers(&"10.0.0.7:80".parse().unwrap()));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            ":80",
            "10.0.0.0/33",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0",
            "a..b",
            "*",
            "*.",
            "*a.b",
            ".a.b",
            "a b",
            "[10.0.0.1]",
            "[::1",
            "[::1]80",
            "::1",
            "http://a",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }
}
