//! Ports inside the guest: who is bound where, for streams and for datagrams.

use alloc::collections::BTreeMap;
use alloc::sync::Weak;
use alloc::vec::Vec;

use spore_abi::net::Address;
use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::net::address;

/// Ports that are handed out (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Conditions of a binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// SO_REUSEADDR.
    pub address: bool,
    /// SO_REUSEPORT.
    pub port: bool,
    /// An IPv6 socket that does not speak IPv4.
    pub v6_only: bool,
}

struct Binding<T> {
    id: u64,
    address: Address,
    sharing: Sharing,
    listening: bool,
    owner: Weak<T>,
}

struct Ports<T> {
    bound: BTreeMap<u16, Vec<Binding<T>>>,
    next_id: u64,
    next_port: u16,
}

/// The ports of one protocol.
pub struct PortTable<T> {
    ports: Lock<Ports<T>>,
}

/// A bound port; given back with [`PortTable::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    id: u64,
    /// The address with its port.
    pub address: Address,
}

impl<T> Default for PortTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PortTable<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            ports: Lock::new(Ports {
                bound: BTreeMap::new(),
                next_id: 1,
                next_port: *EPHEMERAL.start(),
            }),
        }
    }
    /// Binds `address`; port 0 takes a free one. EADDRINUSE.
    pub fn bind(&self, mut address: Address, sharing: Sharing, owner: Weak<T>) -> Result<Bound> {
        let mut ports = self.ports.lock();
        if address.port == 0 {
            address.port = ports.free_port()?;
        } else if ports.conflicts(&address, sharing) {
            return Err(Errno::EADDRINUSE);
        }
        let id = ports.next_id;
        ports.next_id += 1;
        let binding = Binding {
            id,
            address,
            sharing,
            listening: false,
            owner,
        };
        ports.bound.entry(address.port).or_default().push(binding);
        Ok(Bound { id, address })
    }
    /// Gives a port back.
    pub fn release(&self, bound: &Bound) {
        let mut ports = self.ports.lock();
        let port = bound.address.port;
        let Some(list) = ports.bound.get_mut(&port) else {
            return;
        };
        let place = list.iter().position(|binding| binding.id == bound.id);
        let removed = place.map(|place| list.swap_remove(place));
        if list.is_empty() {
            ports.bound.remove(&port);
        }
        drop(ports);
        drop(removed);
    }
    /// The binding accepts connections from now on. EADDRINUSE if another one at the
    /// same address does, and both do not share the port.
    pub fn listen(&self, bound: &Bound) -> Result<()> {
        let mut ports = self.ports.lock();
        let list = ports
            .bound
            .get_mut(&bound.address.port)
            .ok_or(Errno::EINVAL)?;
        let mine = list
            .iter()
            .position(|binding| binding.id == bound.id)
            .ok_or(Errno::EINVAL)?;
        let clash = list.iter().enumerate().any(|(at, other)| {
            at != mine
                && other.listening
                && !(other.sharing.port && list[mine].sharing.port)
                && overlap(
                    (&other.address, other.sharing),
                    (&list[mine].address, list[mine].sharing),
                )
        });
        if clash {
            return Err(Errno::EADDRINUSE);
        }
        list[mine].listening = true;
        Ok(())
    }
    /// The binding accepts no more connections.
    pub fn stop_listening(&self, bound: &Bound) {
        let mut ports = self.ports.lock();
        if let Some(list) = ports.bound.get_mut(&bound.address.port)
            && let Some(binding) = list.iter_mut().find(|binding| binding.id == bound.id)
        {
            binding.listening = false;
        }
    }
    /// Who is bound to `to` most exactly; with `listening`, only those who listen.
    pub fn find(&self, to: &Address, listening: bool) -> Option<Weak<T>> {
        let ports = self.ports.lock();
        let list = ports.bound.get(&to.port)?;
        let reaches = |binding: &&Binding<T>| {
            (binding.listening || !listening) && covers(&binding.address, binding.sharing, to)
        };
        let best = list
            .iter()
            .filter(reaches)
            .min_by_key(|binding| address::is_any(&binding.address))?;
        Some(best.owner.clone())
    }
}

impl<T> Ports<T> {
    fn free_port(&mut self) -> Result<u16> {
        let count = EPHEMERAL.end() - EPHEMERAL.start() + 1;
        for _ in 0..count {
            let port = self.next_port;
            self.next_port = if port == *EPHEMERAL.end() {
                *EPHEMERAL.start()
            } else {
                port + 1
            };
            if !self.bound.contains_key(&port) {
                return Ok(port);
            }
        }
        Err(Errno::EADDRINUSE)
    }
    fn conflicts(&self, address: &Address, sharing: Sharing) -> bool {
        let Some(list) = self.bound.get(&address.port) else {
            return false;
        };
        list.iter().any(|other| {
            let shared = sharing.port && other.sharing.port
                || sharing.address && other.sharing.address && !other.listening;
            !shared && overlap((&other.address, other.sharing), (address, sharing))
        })
    }
}

/// Whether two bindings at the same port could get the same packet.
fn overlap(a: (&Address, Sharing), b: (&Address, Sharing)) -> bool {
    covers(a.0, a.1, b.0) || covers(b.0, b.1, a.0)
}

/// Whether a socket bound to `bound` gets what is sent to `to` (same port).
fn covers(bound: &Address, sharing: Sharing, to: &Address) -> bool {
    let same_family = bound.family == to.family;
    if address::is_any(bound) {
        return same_family || bound.family == 6 && !sharing.v6_only;
    }
    same_family && bound.bytes == to.bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const V4: fn([u8; 4], u16) -> Address = Address::v4;

    fn table() -> (PortTable<u8>, Weak<u8>) {
        (PortTable::new(), Arc::downgrade(&Arc::new(0)))
    }

    #[test]
    fn a_port_is_taken_once() {
        let (table, owner) = table();
        let free = Sharing::default();
        let first = table.bind(V4([0; 4], 80), free, owner.clone()).unwrap();
        assert_eq!(
            table.bind(V4([127, 0, 0, 1], 80), free, owner.clone()),
            Err(Errno::EADDRINUSE)
        );
        let any6 = Address::v6([0; 16], 80, 0);
        assert_eq!(
            table.bind(any6, free, owner.clone()),
            Err(Errno::EADDRINUSE)
        );
        assert!(
            table
                .bind(
                    any6,
                    Sharing {
                        v6_only: true,
                        ..free
                    },
                    owner.clone()
                )
                .is_ok()
        );
        table.release(&first);
        assert!(table.bind(V4([127, 0, 0, 1], 80), free, owner).is_ok());
    }

    #[test]
    fn reused_addresses_bind_but_only_one_listens() {
        let (table, owner) = table();
        let reuse = Sharing {
            address: true,
            ..Sharing::default()
        };
        let first = table.bind(V4([0; 4], 80), reuse, owner.clone()).unwrap();
        let second = table.bind(V4([0; 4], 80), reuse, owner.clone()).unwrap();
        table.listen(&first).unwrap();
        assert_eq!(table.listen(&second), Err(Errno::EADDRINUSE));
        assert_eq!(
            table.bind(V4([0; 4], 80), reuse, owner),
            Err(Errno::EADDRINUSE)
        );
    }

    #[test]
    fn the_more_exact_binding_wins() {
        let (table, _) = table();
        let (any, exact) = (Arc::new(1), Arc::new(2));
        let share = Sharing {
            port: true,
            ..Sharing::default()
        };
        table
            .bind(Address::v6([0; 16], 80, 0), share, Arc::downgrade(&any))
            .unwrap();
        table
            .bind(V4([127, 0, 0, 1], 80), share, Arc::downgrade(&exact))
            .unwrap();
        let found = |to| {
            table
                .find(&to, false)
                .and_then(|weak| weak.upgrade())
                .map(|value| *value)
        };
        assert_eq!(found(V4([127, 0, 0, 1], 80)), Some(2));
        assert_eq!(found(V4([127, 0, 0, 2], 80)), Some(1));
        assert_eq!(found(V4([127, 0, 0, 2], 81)), None);
    }

    #[test]
    fn ephemeral_ports_are_distinct() {
        let (table, owner) = table();
        let bind = || {
            table
                .bind(V4([0; 4], 0), Sharing::default(), owner.clone())
                .unwrap()
                .address
                .port
        };
        let (a, b) = (bind(), bind());
        assert_ne!(a, b);
        assert!(EPHEMERAL.contains(&a) && EPHEMERAL.contains(&b));
    }
}
