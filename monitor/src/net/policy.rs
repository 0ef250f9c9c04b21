//! Which destinations the guest may reach: those that its image declares (all, if
//! it declares none), and never link-local and metadata addresses, in whatever
//! notation they are written.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Policy, Rights};
use crate::net::destination::Destination;
use crate::net::internal::{self, Internal};
use crate::net::names;

/// Cloud metadata services.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Destinations that are named in the log, at most.
const NAMED: usize = 64;

/// The policy with its memory of what was named already.
pub struct Gate {
    policy: Policy,
    network: bool,
    /// `None`: everywhere.
    destinations: Option<Vec<Destination>>,
    /// Name servers that may be asked, and whose answers say what a name stands for.
    resolvers: Vec<IpAddr>,
    named: HashSet<IpAddr>,
    internal: Option<Internal>,
}

/// Port of name servers.
const DNS: u16 = 53;

impl Gate {
    /// A gate for one guest.
    pub fn new(policy: Policy, rights: &Rights, internal: Option<Internal>) -> Self {
        let destinations = rights.destinations.clone();
        // Only who has to find out what a name stands for needs a name server.
        let asks = destinations
            .as_ref()
            .is_none_or(|all| all.iter().any(Destination::is_name));
        Self {
            policy,
            network: rights.network,
            destinations,
            resolvers: match asks {
                true => rights.resolvers.clone(),
                false => Vec::new(),
            },
            named: HashSet::new(),
            internal,
        }
    }
    /// The way to an app, if the address is that of one.
    pub fn internal(&self, to: &SocketAddr) -> Option<&Internal> {
        self.internal
            .as_ref()
            .filter(|_| internal::is_internal(to.ip()))
    }
    /// The answer to a question for an app, if a name server is asked.
    pub fn answer(
        &self,
        question: &[u8],
        to: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        self.internal.as_ref()?;
        let answer = internal::answer(question)?;
        let to = to().filter(|to| self.is_resolver(to))?;
        Some((to, answer))
    }
    /// Whether the guest may have sockets of the host at all.
    pub fn opens(&self) -> bool {
        self.network
    }
    /// Whether `to` may be reached. A refusal is written to the log once per address.
    pub fn permits(&mut self, to: &SocketAddr) -> bool {
        let why = if !self.network {
            "its image declares no network"
        } else if self.denies(to.ip()) && !self.is_resolver(to) {
            "link-local, metadata and the host's own addresses are denied"
        } else if !self.declares(to) {
            "it is not among the destinations that it may reach"
        } else {
            return true;
        };
        if self.named.len() < NAMED && self.named.insert(to.ip()) {
            crate::finish::eprintln_quietly(&format!(
                "spore: refused to let the program reach {to} ({why})"
            ));
        }
        false
    }
    /// The same for a peer that may be none.
    pub fn permits_peer(&mut self, peer: Option<&SocketAddr>) -> bool {
        peer.is_none_or(|peer| self.permits(peer))
    }
    /// A datagram has come in: an answer of a name server says what names stand for.
    pub fn heard(&mut self, from: &SocketAddr, data: &[u8]) {
        if !self.is_resolver(from) {
            return;
        }
        if let Some((asked, addresses)) = names::answer(data) {
            for destination in self.destinations.iter_mut().flatten() {
                destination.learn(&asked, &addresses);
            }
        }
    }
    fn is_resolver(&self, at: &SocketAddr) -> bool {
        at.port() == DNS && self.resolvers.contains(&at.ip().to_canonical())
    }
    fn declares(&self, to: &SocketAddr) -> bool {
        match &self.destinations {
            None => true,
            Some(all) => all.iter().any(|each| each.covers(to)) || self.is_resolver(to),
        }
    }
    fn denies(&self, ip: IpAddr) -> bool {
        let link_local = self.policy.deny_link_local;
        let metadata = self.policy.deny_metadata;
        // Linux takes the unspecified address for its loopback.
        let loopback = self.policy.deny_loopback && (ip.is_loopback() || ip.is_unspecified());
        match ip {
            _ if loopback => true,
            IpAddr::V4(ip) => link_local && ip.is_link_local() || metadata && ip == METADATA_V4,
            IpAddr::V6(ip) => {
                link_local && ip.is_unicast_link_local()
                    || metadata && ip == METADATA_V6
                    || embedded(ip).is_some_and(|ip| self.denies(ip.into()))
            }
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (::ffff:0:0/96),
/// compatible (::/96), translated (64:ff9b::/96) or 6to4 (2002::/16).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |s: [u16; 8]| Ipv4Addr::from(u32::from(s[6]) << 16 | u32::from(s[7]));
    match ip.segments() {
        s @ [0, 0, 0, 0, 0, 0 | 0xffff, _, _] => Some(low(s)),
        s @ [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(low(s)),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(text: &str) -> bool {
        let to = SocketAddr::new(text.parse().unwrap(), 80);
        Gate::new(Policy::default(), &Rights::default(), None).permits(&to)
    }

    #[test]
    fn ordinary_addresses_pass() {
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "1.1.1.1",
            "::1",
            "2606:4700::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(permits(text), "{text}");
        }
    }

    #[test]
    fn link_local_and_metadata_are_denied_in_every_notation() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
        ] {
            assert!(!permits(text), "{text}");
        }
    }

    fn declared(destinations: &[&str]) -> Gate {
        let parsed = destinations.iter().map(|text| text.parse().unwrap());
        let rights = Rights {
            destinations: Some(parsed.collect()),
            resolvers: vec!["127.0.0.53".parse().unwrap()],
            ..Rights::default()
        };
        Gate::new(Policy::default(), &rights, None)
    }

    #[test]
    fn what_an_image_does_not_declare_is_refused() {
        let at = |text: &str| text.parse().unwrap();
        let mut gate = declared(&["10.0.0.0/8:5432"]);
        assert!(gate.permits(&at("10.0.0.1:5432")));
        assert!(!gate.permits(&at("10.0.0.1:80")));
        assert!(!gate.permits(&at("1.1.1.1:5432")));
        // Without a name among the destinations nobody has to be asked.
        assert!(!gate.permits(&at("127.0.0.53:53")));
        assert!(!declared(&[]).permits(&at("127.0.0.1:80")));
    }

    #[test]
    fn declaring_everything_does_not_open_what_the_host_denies() {
        let mut gate = declared(&["0.0.0.0/0", "169.254.169.254", "[::/0]"]);
        assert!(gate.permits(&"8.8.8.8:53".parse().unwrap()));
        for text in ["169.254.169.254:80", "[fd00:ec2::254]:80", "[fe80::1]:80"] {
            assert!(!gate.permits(&text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_name_opens_what_the_resolver_says_it_stands_for() {
        let mut answer = vec![0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        answer.extend(b"\x02db\x04test\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01");
        answer.extend([0, 0, 0, 60, 0, 4, 10, 0, 0, 7]);
        let at = |text: &str| text.parse().unwrap();
        let mut gate = declared(&["db.test:5432"]);
        assert!(gate.permits(&at("127.0.0.53:53")));
        assert!(!gate.permits(&at("127.0.0.53:80")));
        assert!(!gate.permits(&at("10.0.0.7:5432")));
        gate.heard(&at("127.0.0.54:53"), &answer);
        gate.heard(&at("127.0.0.53:54"), &answer);
        assert!(!gate.permits(&at("10.0.0.7:5432")));
        gate.heard(&at("127.0.0.53:53"), &answer);
        assert!(gate.permits(&at("10.0.0.7:5432")));
        assert!(!gate.permits(&at("10.0.0.7:80")));
    }

    #[test]
    fn without_a_network_nothing_is_reached() {
        let rights = Rights {
            network: false,
            ..Rights::default()
        };
        let mut gate = Gate::new(Policy::default(), &rights, None);
        assert!(!gate.opens());
        assert!(!gate.permits(&"10.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn each_rule_can_be_lifted() {
        let policy = Policy {
            deny_link_local: false,
            ..Policy::default()
        };
        let mut gate = Gate::new(policy, &Rights::default(), None);
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 80);
        assert!(gate.permits(&at("169.254.0.1")));
        assert!(!gate.permits(&at("169.254.169.254")));
    }

    #[test]
    fn the_hosts_own_services_can_be_denied_in_every_notation() {
        let policy = Policy {
            deny_loopback: true,
            ..Policy::default()
        };
        let mut gate = Gate::new(policy, &Rights::default(), None);
        for text in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(
                !gate.permits(&SocketAddr::new(text.parse().unwrap(), 80)),
                "{text}"
            );
        }
        assert!(gate.permits(&SocketAddr::new("10.0.0.1".parse().unwrap(), 80)));
    }
}
