//! Apps that reach each other by name: `NAME.internal` has an address that follows
//! from the name, and a connection to such an address goes to a socket of the host,
//! which hears who connects and where to. Who may talk to whom is decided there.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::Deserialize;

use crate::net::{names, sys};

/// Where names of apps end.
pub const DOMAIN: &str = ".internal";
/// 240.0.0.0/5: nobody has such an address, and no router carries it.
const BASE: u32 = 0xf000_0000;
const ADDRESSES: u32 = 0x0800_0000;
/// Seconds that an answer holds.
const TTL: u32 = 60;
const TYPE_A: u16 = 1;
const HEADER: usize = 12;

/// The host's side.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Internal {
    /// The socket that takes the connections.
    pub socket: PathBuf,
    /// Says there whose they are.
    pub token: String,
}

impl Internal {
    /// A connection to the app behind an address. What is said first: a line with
    /// the token and the address.
    pub fn connect(&self, to: &SocketAddr) -> io::Result<OwnedFd> {
        let fd = sys::connect_unix(&self.socket)?;
        let mut stream = UnixStream::from(fd);
        // It fits into a new socket's buffer: this does not wait.
        stream.write_all(
            format!("{} {} {}\n", self.token, to.ip().to_canonical(), to.port()).as_bytes(),
        )?;
        Ok(stream.into())
    }
}

/// The address of an app, by the name before `.internal`: its FNV-1a hash.
fn address_of(app: &str) -> Ipv4Addr {
    let hash = app.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // Neither the first nor the last: they look like a network's own.
    Ipv4Addr::from(BASE + 1 + hash % (ADDRESSES - 2))
}

/// Whether an address is one of apps.
pub fn is_internal(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u32::from(ip) & !(ADDRESSES - 1) == BASE,
        IpAddr::V6(_) => false,
    }
}

/// The address that a name with its domain stands for.
pub fn resolve(name: &str) -> Option<Ipv4Addr> {
    let app = name.strip_suffix(DOMAIN)?;
    (!app.is_empty() && !app.contains('.')).then(|| address_of(app))
}

/// The answer to a question for such a name; `None`: it is somebody else's to answer.
pub fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let (name, kind, end) = names::question(question)?;
    if !name.ends_with(DOMAIN) {
        return None;
    }
    let address = resolve(&name);
    let found = address.filter(|_| kind == TYPE_A);
    // The same id; recursion was desired and is available; NXDOMAIN for what no app can be called.
    let code = if address.is_none() { 3 } else { 0 };
    let mut message = question.get(..2)?.to_vec();
    message.extend([
        0x85,
        0x80 | code,
        0,
        1,
        0,
        u8::from(found.is_some()),
        0,
        0,
        0,
        0,
    ]);
    message.extend(question.get(HEADER..end)?);
    if let Some(address) = found {
        // The name again, type A, class IN.
        message.extend([0xc0, HEADER as u8, 0, TYPE_A as u8, 0, 1]);
        message.extend(TTL.to_be_bytes());
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &[u8], kind: u8) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        message.extend(name);
        message.extend([0, kind, 0, 1]);
        // EDNS.
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        message
    }

    #[test]
    fn a_name_has_the_address_that_the_daemon_finds_it_by() {
        // packages/daemon/src/cloud/internal.test.ts says the same.
        assert_eq!(
            resolve("hello.internal").unwrap().to_string(),
            "247.159.44.190"
        );
        assert!(is_internal(resolve("hello.internal").unwrap().into()));
        assert_eq!(resolve("a.b.internal"), None);
        assert_eq!(resolve(".internal"), None);
        assert_eq!(resolve("hello.internal.example.com"), None);
    }

    #[test]
    fn questions_for_such_names_are_answered_and_no_others() {
        let asked = question(b"\x05Hello\x08internal\x00", 1);
        let said = names::answer(&answer(&asked).unwrap()).unwrap();
        let address = IpAddr::V4(resolve("hello.internal").unwrap());
        assert_eq!(said, ("hello.internal".to_owned(), vec![address]));
        let six = answer(&question(b"\x05hello\x08internal\x00", 28)).unwrap();
        assert_eq!(names::answer(&six).unwrap().1, Vec::<IpAddr>::new());
        assert_eq!(answer(&question(b"\x07example\x03com\x00", 1)), None);
        let deep = answer(&question(b"\x01a\x01b\x08internal\x00", 1)).unwrap();
        assert_eq!(deep[3] & 15, 3);
    }

    #[test]
    fn damaged_questions_are_left_alone() {
        let whole = question(b"\x05hello\x08internal\x00", 1);
        for length in 0..whole.len() - 15 {
            assert_eq!(answer(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let _ = answer(&damaged);
            }
        }
    }
}
