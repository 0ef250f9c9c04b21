//! Datagrams: records in the rings, one system call each.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use spore_abi::net::{DATAGRAM_HEADER, DatagramHeader, MAX_DATAGRAM, host_flag};

use crate::net::address;
use crate::net::entry::Entry;
use crate::net::policy::Gate;
use crate::net::rings::Rings;
use crate::net::sys;

/// What one datagram passes through on its way.
pub struct Bounce(Vec<u8>);

impl Bounce {
    /// Room for the largest datagram.
    pub fn new() -> Self {
        Self(vec![0; MAX_DATAGRAM as usize + 1])
    }
}

/// A socket of the family of `like`, connected to `peer` if there is one.
pub fn open(like: &SocketAddr, peer: Option<SocketAddr>) -> std::io::Result<OwnedFd> {
    let fd = sys::socket(like, libc::SOCK_DGRAM)?;
    if like.is_ipv6() {
        sys::dual_stack(fd.as_raw_fd());
    }
    if let Some(peer) = peer {
        sys::connect(fd.as_raw_fd(), &peer)?;
    }
    sys::broadcast(fd.as_raw_fd());
    Ok(fd)
}

/// Receives datagrams as long as they fit. Answers whether the guest has news.
pub fn receive(entry: &mut Entry, rings: &Rings, gate: &mut Gate, bounce: &mut Bounce) -> bool {
    let published = entry.published.as_ref().map(|published| published.raw());
    let mut news = false;
    for fd in published.into_iter().chain([entry.fd.raw()]) {
        news |= receive_from(fd, entry, rings, gate, bounce);
        if entry.rx_stalled {
            break;
        }
    }
    news
}

fn receive_from(
    fd: RawFd,
    entry: &mut Entry,
    rings: &Rings,
    gate: &mut Gate,
    bounce: &mut Bounce,
) -> bool {
    let slot = rings.slot(entry.slot);
    let mut news = false;
    while !entry.has(host_flag::ERROR) {
        let Ok(room) = entry.rx_room(rings, slot) else {
            entry.fail(slot, libc::EPROTO);
            return true;
        };
        let (header, data) = match sys::next_datagram(fd) {
            Ok(len) => {
                if DatagramHeader::record_len(len.min(MAX_DATAGRAM)) > room {
                    if entry.stall(rings, slot) && fits(entry, rings, len) {
                        continue;
                    }
                    return news;
                }
                match sys::receive_datagram(fd, &mut bounce.0) {
                    Ok((len, from)) => {
                        let len = len.min(MAX_DATAGRAM);
                        if !admits(entry, fd, from.as_ref()) {
                            continue;
                        }
                        if let Some(from) = &from {
                            gate.heard(from, &bounce.0[..len as usize]);
                        }
                        let address = from
                            .map(|from| address::to_guest(&from))
                            .unwrap_or_default();
                        (
                            DatagramHeader {
                                len,
                                error: 0,
                                address,
                            },
                            &bounce.0[..len as usize],
                        )
                    }
                    Err(_) => continue,
                }
            }
            Err(error) => match error.raw_os_error().unwrap_or(libc::EIO) {
                libc::EINTR => continue,
                libc::EAGAIN => break,
                error if DATAGRAM_HEADER <= room => (failure(error), &[][..]),
                _ => break,
            },
        };
        put(entry, rings, header, data);
        news = true;
    }
    entry.rx_stalled = false;
    news
}

/// Whether what came at a published port is for the guest.
fn admits(entry: &mut Entry, fd: RawFd, from: Option<&SocketAddr>) -> bool {
    match &mut entry.published {
        Some(published) if published.raw() == fd => from.is_some_and(|from| published.admits(from)),
        _ => true,
    }
}

fn fits(entry: &mut Entry, rings: &Rings, len: u32) -> bool {
    let slot = rings.slot(entry.slot);
    let need = DatagramHeader::record_len(len.min(MAX_DATAGRAM));
    entry.rx_room(rings, slot).is_ok_and(|room| room >= need)
}

fn failure(error: i32) -> DatagramHeader {
    DatagramHeader {
        len: 0,
        error: error as u32,
        ..DatagramHeader::default()
    }
}

fn put(entry: &mut Entry, rings: &Rings, header: DatagramHeader, data: &[u8]) {
    if let Some(ring) = entry.rx {
        rings.put(ring, entry.rx_tail, &header.to_bytes());
        rings.put(ring, entry.rx_tail.wrapping_add(DATAGRAM_HEADER), data);
        entry.received(
            rings.slot(entry.slot),
            DatagramHeader::record_len(header.len),
        );
    }
}

/// Reports an error to the guest as a record, if there is room for it.
fn report(entry: &mut Entry, rings: &Rings, error: i32) -> bool {
    let slot = rings.slot(entry.slot);
    if entry
        .rx_room(rings, slot)
        .is_ok_and(|room| room >= DATAGRAM_HEADER)
    {
        put(entry, rings, failure(error), &[]);
        return true;
    }
    false
}

/// Sends all records of the transmit ring. Answers whether the guest has news.
pub fn send(entry: &mut Entry, rings: &Rings, gate: &mut Gate, bounce: &mut Bounce) -> bool {
    let slot = rings.slot(entry.slot);
    let mut news = false;
    while !entry.has(host_flag::ERROR) {
        let Ok((waiting, ring)) = entry.tx_waiting(rings, slot) else {
            entry.fail(slot, libc::EPROTO);
            return true;
        };
        if waiting == 0 {
            entry.tx_blocked = false;
            break;
        }
        let mut raw = [0; DATAGRAM_HEADER as usize];
        if waiting >= DATAGRAM_HEADER {
            rings.take(ring, entry.tx_head, &mut raw);
        }
        let header = DatagramHeader::from_bytes(&raw);
        let record = DatagramHeader::record_len(header.len.min(MAX_DATAGRAM));
        if waiting < DATAGRAM_HEADER || header.len > MAX_DATAGRAM || record > waiting {
            entry.fail(slot, libc::EPROTO);
            return true;
        }
        let data = &mut bounce.0[..header.len as usize];
        rings.take(ring, entry.tx_head.wrapping_add(DATAGRAM_HEADER), data);
        let to = || match header.address.family {
            0 => sys::peer_address(entry.fd.raw()),
            _ => address::from_guest(&header.address),
        };
        if let Some((from, answer)) = gate.answer(data, to) {
            news |= deliver(entry, rings, from, &answer);
            news |= entry.sent(slot, record, waiting, ring);
            continue;
        }
        match send_one(entry, gate, header, data) {
            Ok(()) => {}
            Err(libc::EINTR) => continue,
            Err(libc::EAGAIN) => {
                entry.tx_blocked = true;
                return news;
            }
            Err(error) => news |= report(entry, rings, error),
        }
        news |= entry.sent(slot, record, waiting, ring);
    }
    news
}

/// Gives the guest a datagram; without room it is lost, as datagrams are.
fn deliver(entry: &mut Entry, rings: &Rings, from: SocketAddr, data: &[u8]) -> bool {
    let header = DatagramHeader {
        len: data.len() as u32,
        error: 0,
        address: address::to_guest(&from),
    };
    let slot = rings.slot(entry.slot);
    let room = entry.rx_room(rings, slot);
    let fits = room.is_ok_and(|room| room >= DatagramHeader::record_len(header.len));
    if fits {
        put(entry, rings, header, data);
    }
    fits
}

fn send_one(
    entry: &Entry,
    gate: &mut Gate,
    header: DatagramHeader,
    data: &[u8],
) -> Result<(), i32> {
    let to = match header.address.family {
        0 => None,
        _ => Some(address::from_guest(&header.address).ok_or(libc::EAFNOSUPPORT)?),
    };
    let answer = entry.published.as_ref().and_then(|published| {
        let sender = published.answers(to.as_ref())?;
        Some((published.raw(), sender))
    });
    if let Some((fd, sender)) = answer {
        return sent(sys::send_datagram(fd, data, Some(&sender)));
    }
    if to.is_some_and(|to| !gate.permits(&to)) {
        return Err(libc::EACCES);
    }
    let fd = entry.fd.raw();
    let to = to.map(|to| fitting(fd, to));
    sent(sys::send_datagram(fd, data, to.as_ref()))
}

fn sent(result: std::io::Result<u32>) -> Result<(), i32> {
    result
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// The address in the notation of the socket's family.
fn fitting(fd: i32, to: SocketAddr) -> SocketAddr {
    match sys::local_address(fd) {
        Some(SocketAddr::V6(_)) => address::mapped(to),
        _ => to,
    }
}

/// Connects a datagram socket, or makes it forget its peer (`None`).
pub fn set_peer(fd: i32, peer: Option<SocketAddr>) -> Result<(), i32> {
    let Some(peer) = peer else {
        sys::disconnect(fd);
        return Ok(());
    };
    sys::connect(fd, &fitting(fd, peer)).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}
