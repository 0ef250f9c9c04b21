//! Which destinations the guest may reach. By default everything but link-local
//! and metadata addresses, in whatever notation they are written.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Policy;

/// Cloud metadata services.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Destinations that are named in the log, at most.
const NAMED: usize = 64;

/// The policy with its memory of what was named already.
pub struct Gate {
    policy: Policy,
    named: HashSet<IpAddr>,
}

impl Gate {
    /// A gate for one guest.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            named: HashSet::new(),
        }
    }
    /// Whether `to` may be reached. A refusal is written to the log once per address.
    pub fn permits(&mut self, to: &SocketAddr) -> bool {
        if !self.denies(to.ip()) {
            return true;
        }
        if self.named.len() < NAMED && self.named.insert(to.ip()) {
            crate::finish::eprintln_quietly(&format!(
                "spore: refused to let the program reach {to} (link-local and metadata addresses are denied)"
            ));
        }
        false
    }
    fn denies(&self, ip: IpAddr) -> bool {
        let link_local = self.policy.deny_link_local;
        let metadata = self.policy.deny_metadata;
        match ip {
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
        Gate::new(Policy::default()).permits(&to)
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

    #[test]
    fn each_rule_can_be_lifted() {
        let policy = Policy {
            deny_link_local: false,
            deny_metadata: true,
        };
        let mut gate = Gate::new(policy);
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 80);
        assert!(gate.permits(&at("169.254.0.1")));
        assert!(!gate.permits(&at("169.254.169.254")));
    }
}
