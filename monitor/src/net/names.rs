//! Reads answers of a name server (RFC 1035): which addresses the name that was
//! asked for has. Answers come from the network: nothing in them is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Records of an answer that are looked at.
const RECORDS: u16 = 256;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;

/// The name that was asked for, in lower case, and the addresses it has, aliases
/// followed. `None`: no answer, or none that makes sense.
pub fn answer(message: &[u8]) -> Option<(String, Vec<IpAddr>)> {
    let word = |at: usize| {
        let bytes = message.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    // A response to a standard query, not cut short, without an error.
    if word(2)? & 0xfa0f != 0x8000 || word(4)? != 1 {
        return None;
    }
    let (asked, end) = name(message, HEADER)?;
    let mut at = end + 4;
    let mut meant = asked.clone();
    let mut addresses = Vec::new();
    for _ in 0..word(6)?.min(RECORDS) {
        let (owner, end) = name(message, at)?;
        let (kind, class, length) = (word(end)?, word(end + 2)?, usize::from(word(end + 8)?));
        let data = message.get(end + 10..end + 10 + length)?;
        at = end + 10 + length;
        if owner != meant || class != CLASS_IN {
            continue;
        }
        match (kind, length) {
            (TYPE_A, 4) => {
                let octets: [u8; 4] = data.try_into().ok()?;
                addresses.push(IpAddr::V4(Ipv4Addr::from(octets)));
            }
            (TYPE_AAAA, 16) => {
                let octets: [u8; 16] = data.try_into().ok()?;
                addresses.push(IpAddr::V6(Ipv6Addr::from(octets)));
            }
            (TYPE_CNAME, _) => meant = name(message, end + 10)?.0,
            _ => {}
        }
    }
    Some((asked, addresses))
}

/// What a standard query asks for: the name in lower case, the type, and the offset
/// behind the question. `None`: not one, or for another class.
pub fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let word = |at: usize| {
        let bytes = message.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    if word(2)? & 0xf800 != 0 || word(4)? != 1 {
        return None;
    }
    let (asked, end) = name(message, HEADER)?;
    (word(end + 2)? == CLASS_IN).then_some((asked, word(end)?, end + 4))
}

/// The name at an offset in lower case, and the offset behind it. Pointers lead
/// backwards only, so that none can go in circles.
fn name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let (mut at, mut end, mut lowest) = (start, None, start);
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + length)?;
                if text.len() + length > 253 || !label.is_ascii() {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(label.iter().map(|byte| byte.to_ascii_lowercase() as char));
                at += 1 + length;
            }
            0xc0.. => {
                let target = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                end = end.or(Some(at + 2));
                if target >= lowest {
                    return None;
                }
                (at, lowest) = (target, target);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response: db.example.com is an alias of a.example.com, which has two addresses.
    fn response() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 4, 0, 0, 0, 0];
        message.extend(b"\x02DB\x07example\x03com\x00\x00\x01\x00\x01");
        let fixed = |kind: u8, length: u8| [0, kind, 0, 1, 0, 0, 0, 60, 0, length];
        message.extend([0xc0, 12]);
        message.extend(fixed(5, 4));
        message.extend(b"\x01a\xc0\x0f");
        message.extend(b"\x01a\xc0\x0f");
        message.extend(fixed(1, 4));
        message.extend([10, 0, 0, 7]);
        message.extend(b"\x01a\xc0\x0f");
        message.extend(fixed(28, 16));
        message.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        // Somebody else's, slipped in.
        message.extend(b"\x01x\x00");
        message.extend(fixed(1, 4));
        message.extend([6, 6, 6, 6]);
        message
    }

    #[test]
    fn addresses_are_those_of_the_name_that_was_asked_for() {
        let (asked, addresses) = answer(&response()).unwrap();
        assert_eq!(asked, "db.example.com");
        let expected: Vec<IpAddr> = ["10.0.0.7", "fd00::7"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(addresses, expected);
    }

    #[test]
    fn queries_errors_and_cut_answers_say_nothing() {
        for (at, byte) in [(2, 0x01), (2, 0x83), (3, 0x83), (5, 2)] {
            let mut message = response();
            message[at] = byte;
            assert_eq!(answer(&message), None, "byte {at} is {byte:#x}");
        }
    }

    #[test]
    fn no_bytes_make_it_loop_or_read_outside() {
        let whole = response();
        for end in 0..whole.len() {
            answer(&whole[..end]);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 63, 64, 0xc0, 0xff] {
                let mut message = whole.clone();
                message[at] = byte;
                answer(&message);
            }
        }
        // A pointer to itself, and two to each other.
        for pointers in [[0xc0, 12, 0, 0], [0xc0, 14, 0xc0, 12]] {
            let mut message = whole[..HEADER].to_vec();
            message.extend(pointers);
            message.extend([0; 16]);
            assert_eq!(answer(&message), None);
        }
    }
}
