//! Sockets of the internet families.

use alloc::sync::Arc;

use spore_abi::boot::BootInfo;

use crate::errno::{Errno, Result};
use crate::fs::file::File;
use crate::net::families::{self, Family};
use crate::net::socket::{family, kind};
use crate::net::tcp::Tcp;
use crate::net::udp::Udp;

const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// IPv4.
pub fn initialise_4(_info: &BootInfo) {
    families::register(Family {
        number: family::INET,
        create: |kind, protocol| create(family::INET, kind, protocol),
        pair: families::no_pair,
    });
}

/// IPv6.
pub fn initialise_6(_info: &BootInfo) {
    families::register(Family {
        number: family::INET6,
        create: |kind, protocol| create(family::INET6, kind, protocol),
        pair: families::no_pair,
    });
}

fn create(family: u16, kind: u32, protocol: u32) -> Result<Arc<dyn File>> {
    match (kind, protocol) {
        (kind::STREAM, 0 | IPPROTO_TCP) => Ok(Tcp::new(family)),
        (kind::DGRAM, 0 | IPPROTO_UDP) => Ok(Udp::new(family)),
        (kind::STREAM | kind::DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
        (kind::RAW, _) => Err(Errno::EPERM),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}
