//! The part of rtnetlink that programs use to list interfaces and addresses
//! (`getifaddrs`, `getaddrinfo` with AI_ADDRCONFIG): `lo` and `eth0`.
//! Layouts: `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use spore_hal::Lock;

use spore_abi::boot::BootInfo;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::mm::io::{Reader, Writer};
use crate::net::address::{OWN_V4, OWN_V6};
use crate::net::families::{self, Family};
use crate::net::inode;
use crate::net::socket::{
    Received, SendParameters, Socket, SocketAddress, Timeouts, family, kind, message_flag,
};
use crate::sched::notify::Notifier;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Attributes of links and addresses.
const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_F_PERMANENT: u8 = 0x80;
/// Largest request that is looked at.
const REQUEST_MAX: usize = 4096;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_HOST: u8 = 254;

struct Interface {
    index: u32,
    name: &'static str,
    /// ARPHRD_*.
    kind: u16,
    /// IFF_*.
    flags: u32,
    mac: [u8; 6],
    mtu: u32,
}

/// IFF_UP, LOOPBACK, RUNNING, LOWER_UP; IFF_UP, BROADCAST, RUNNING, MULTICAST, LOWER_UP.
const INTERFACES: [Interface; 2] = [
    Interface {
        index: 1,
        name: "lo",
        kind: 772,
        flags: 0x1_0049,
        mac: [0; 6],
        mtu: 65_536,
    },
    Interface {
        index: 2,
        name: "eth0",
        kind: 1,
        flags: 0x1_1043,
        mac: [0x52, 0x54, 0, 0x53, 0x50, 0x52],
        mtu: 1500,
    },
];

/// One rtnetlink socket.
pub struct Netlink {
    kind: u32,
    port: Lock<u32>,
    queue: Lock<VecDeque<Vec<u8>>>,
    notifier: Notifier,
    timeouts: Timeouts,
    inode: u64,
}

const NETLINK_ROUTE: u32 = 0;

/// Makes the family known.
pub fn initialise(_info: &BootInfo) {
    families::register(Family {
        number: family::NETLINK,
        create: |kind, protocol| match (kind, protocol) {
            (kind::RAW | kind::DGRAM, NETLINK_ROUTE) => Ok(Netlink::new(kind)),
            (kind::RAW | kind::DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        },
        pair: families::no_pair,
    });
}

impl Netlink {
    /// A new socket.
    pub fn new(kind: u32) -> Arc<Self> {
        Arc::new(Self {
            kind,
            port: Lock::new(0),
            queue: Lock::new(VecDeque::new()),
            notifier: Notifier::new(),
            timeouts: Timeouts::default(),
            inode: inode::next(),
        })
    }
    /// The port number, given at first use.
    fn port(&self) -> u32 {
        let mut port = self.port.lock();
        if *port == 0 {
            *port = self.inode as u32;
        }
        *port
    }
    fn answer(&self, request: &[u8]) {
        let port = self.port();
        let mut rest = request;
        while rest.len() >= HEADER {
            let len = u32_at(rest, 0) as usize;
            if len < HEADER || len > rest.len() {
                break;
            }
            let replies = reply(&rest[..len], port);
            self.queue.lock().extend(replies);
            rest = rest.get((len + 3) & !3..).unwrap_or_default();
        }
        self.notifier.notify(events::IN | events::RDNORM);
    }
    fn take(&self, out: &mut Writer<'_>, peek: bool) -> Result<Received> {
        let mut queue = self.queue.lock();
        let message = queue.front().ok_or(Errno::EAGAIN)?;
        let full = message.len();
        let copied = out.put(&message[..full.min(out.remaining())])?;
        if !peek {
            queue.pop_front();
        }
        Ok(Received {
            copied,
            full,
            from: Some(name(0)?),
            ..Received::default()
        })
    }
}

/// `struct sockaddr_nl`; port 0 is the kernel.
fn name(port: u32) -> Result<SocketAddress> {
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&family::NETLINK.to_le_bytes());
    bytes[4..8].copy_from_slice(&port.to_le_bytes());
    SocketAddress::new(&bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The datagrams that answer one request.
fn reply(request: &[u8], port: u32) -> Vec<Vec<u8>> {
    let (kind, flags, sequence) = (u16_at(request, 4), u16_at(request, 6), u32_at(request, 8));
    let wanted = request.get(HEADER).copied().unwrap_or(0);
    let dump = flags & NLM_F_DUMP == NLM_F_DUMP;
    let mut parts = Vec::new();
    match kind {
        RTM_GETLINK => {
            for interface in &INTERFACES {
                // A single link is asked for by index, or by name (not looked at: all match).
                let index = if request.len() >= HEADER + 8 {
                    u32_at(request, HEADER + 4)
                } else {
                    0
                };
                if dump || index == 0 || index == interface.index {
                    parts.push((RTM_NEWLINK, link(interface)));
                }
            }
        }
        RTM_GETADDR => parts.extend(
            addresses(wanted)
                .into_iter()
                .map(|body| (RTM_NEWADDR, body)),
        ),
        _ => {
            let error = -i32::from(Errno::EOPNOTSUPP.0);
            return alloc::vec![acknowledgement(request, error, port)];
        }
    }
    if !dump {
        parts.truncate(1);
        let mut answers: Vec<Vec<u8>> = parts
            .iter()
            .map(|(kind, body)| message(*kind, 0, sequence, port, body))
            .collect();
        if flags & NLM_F_ACK != 0 {
            answers.push(acknowledgement(request, 0, port));
        }
        return answers;
    }
    let mut list = Vec::new();
    for (kind, body) in &parts {
        list.extend_from_slice(&message(*kind, NLM_F_MULTI, sequence, port, body));
    }
    alloc::vec![
        list,
        message(NLMSG_DONE, NLM_F_MULTI, sequence, port, &[0; 4])
    ]
}

fn acknowledgement(request: &[u8], error: i32, port: u32) -> Vec<u8> {
    let mut body = Vec::from(error.to_le_bytes());
    body.extend_from_slice(&request[..HEADER]);
    message(NLMSG_ERROR, 0, u32_at(request, 8), port, &body)
}

fn message(kind: u16, flags: u16, sequence: u32, port: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len() + 3);
    bytes.extend_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&port.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend_from_slice(&((4 + value.len()) as u16).to_le_bytes());
    body.extend_from_slice(&kind.to_le_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn text(name: &str) -> Vec<u8> {
    let mut bytes = Vec::from(name.as_bytes());
    bytes.push(0);
    bytes
}

/// `struct ifinfomsg` with attributes.
fn link(interface: &Interface) -> Vec<u8> {
    let mut body = Vec::from([0, 0]);
    body.extend_from_slice(&interface.kind.to_le_bytes());
    body.extend_from_slice(&interface.index.to_le_bytes());
    body.extend_from_slice(&interface.flags.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    attribute(&mut body, IFLA_IFNAME, &text(interface.name));
    attribute(&mut body, IFLA_MTU, &interface.mtu.to_le_bytes());
    attribute(&mut body, IFLA_ADDRESS, &interface.mac);
    let broadcast = if interface.index == 1 {
        [0; 6]
    } else {
        [255; 6]
    };
    attribute(&mut body, IFLA_BROADCAST, &broadcast);
    body
}

/// `struct ifaddrmsg` with attributes, for every address of a family (0: all).
fn addresses(wanted: u8) -> Vec<Vec<u8>> {
    const V4: u8 = family::INET as u8;
    const V6: u8 = family::INET6 as u8;
    let mut loopback_v6 = [0; 16];
    loopback_v6[15] = 1;
    let all: [(u8, u8, u8, usize, &[u8]); 4] = [
        (V4, 8, SCOPE_HOST, 0, &[127, 0, 0, 1]),
        (V4, 24, SCOPE_UNIVERSE, 1, &OWN_V4),
        (V6, 128, SCOPE_HOST, 0, &loopback_v6),
        (V6, 64, SCOPE_UNIVERSE, 1, &OWN_V6),
    ];
    let matching = all
        .iter()
        .filter(|(family, ..)| wanted == 0 || wanted == *family);
    matching
        .map(|(family, prefix, scope, place, bytes)| {
            let interface = &INTERFACES[*place];
            let mut body = Vec::from([*family, *prefix, IFA_F_PERMANENT, *scope]);
            body.extend_from_slice(&interface.index.to_le_bytes());
            attribute(&mut body, IFA_ADDRESS, bytes);
            if *family == V4 {
                attribute(&mut body, IFA_LOCAL, bytes);
                if *place == 1 {
                    attribute(
                        &mut body,
                        IFA_BROADCAST,
                        &[OWN_V4[0], OWN_V4[1], OWN_V4[2], 255],
                    );
                }
                attribute(&mut body, IFA_LABEL, &text(interface.name));
            }
            body
        })
        .collect()
}

impl File for Netlink {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        self.take(out, false).map(|received| received.copied)
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        self.send(data, &SendParameters::default())
    }
    fn poll(&self) -> u32 {
        let ready = if self.queue.lock().is_empty() {
            0
        } else {
            events::IN | events::RDNORM
        };
        ready | events::OUT | events::WRNORM
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(inode::stat(self.inode))
    }
    fn patience(&self, writing: bool) -> Option<u64> {
        self.timeouts.patience(writing)
    }
    fn path(&self) -> String {
        alloc::format!("socket:[{}]", self.inode)
    }
    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Socket for Netlink {
    fn family(&self) -> u16 {
        family::NETLINK
    }
    fn kind(&self) -> u32 {
        self.kind
    }
    fn bind(&self, address: &SocketAddress) -> Result<()> {
        let bytes = address.as_bytes();
        if bytes.len() < 12 || address.family()? != family::NETLINK {
            return Err(Errno::EINVAL);
        }
        *self.port.lock() = u32_at(bytes, 4);
        self.port();
        Ok(())
    }
    fn connect(&self, _address: &SocketAddress) -> Result<()> {
        Ok(())
    }
    fn local_address(&self) -> Result<SocketAddress> {
        name(*self.port.lock())
    }
    fn peer_address(&self) -> Result<SocketAddress> {
        name(0)
    }
    fn send(&self, data: &mut Reader<'_>, _parameters: &SendParameters) -> Result<usize> {
        let mut request = [0; REQUEST_MAX];
        if data.remaining() > REQUEST_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let len = data.take(&mut request)?;
        self.answer(&request[..len]);
        Ok(len)
    }
    fn receive(&self, out: &mut Writer<'_>, flags: u32) -> Result<Received> {
        self.take(out, flags & message_flag::PEEK != 0)
    }
    fn set_option(&self, _level: i32, _name: i32, _value: &[u8]) -> Result<()> {
        Ok(())
    }
    fn option(&self, _level: i32, _name: i32) -> Result<Vec<u8>> {
        Ok(Vec::from(212_992i32.to_le_bytes()))
    }
    fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(kind: u16, family: u8) -> Vec<u8> {
        let mut request = message(kind, 1 | NLM_F_DUMP, 7, 0, &[family; 1]);
        let len = request.len() as u32;
        request[..4].copy_from_slice(&len.to_le_bytes());
        let replies = reply(&request, 42);
        assert_eq!(u16_at(&replies[1], 4), NLMSG_DONE);
        replies[0].clone()
    }

    /// Types of the messages in a datagram; checks sequence and port of each.
    fn kinds(mut bytes: &[u8]) -> Vec<u16> {
        let mut kinds = Vec::new();
        while !bytes.is_empty() {
            assert_eq!((u32_at(bytes, 8), u32_at(bytes, 12)), (7, 42));
            kinds.push(u16_at(bytes, 4));
            bytes = &bytes[(u32_at(bytes, 0) as usize).next_multiple_of(4)..];
        }
        kinds
    }

    #[test]
    fn links_and_addresses_are_listed() {
        assert_eq!(kinds(&dump(RTM_GETLINK, 0)), [RTM_NEWLINK; 2]);
        assert_eq!(kinds(&dump(RTM_GETADDR, 0)), [RTM_NEWADDR; 4]);
        assert_eq!(kinds(&dump(RTM_GETADDR, 2)), [RTM_NEWADDR; 2]);
    }

    #[test]
    fn other_requests_are_refused_by_a_message() {
        let request = message(26, 1, 7, 0, &[0; 12]);
        let replies = reply(&request, 42);
        assert_eq!(u16_at(&replies[0], 4), NLMSG_ERROR);
        assert_eq!(u32_at(&replies[0], 16) as i32, -95);
    }
}
