//! What is read from `/dev/spore`: one JSON object a line.

use alloc::format;
use alloc::string::String;

use crate::freeze;

/// The first line of every open file: where things stand.
pub fn state() -> String {
    format!("{{\"event\":\"state\",{}}}\n", identity())
}

/// A freeze is coming.
pub fn suspend(patience_ns: u64) -> String {
    let ms = patience_ns / 1_000_000;
    format!("{{\"event\":\"suspend\",\"deadlineMs\":{ms}}}\n")
}

/// The time to come to rest.
pub fn park() -> String {
    String::from("{\"event\":\"park\"}\n")
}

/// The same machine runs on, whether it was copied or not.
pub fn resumed() -> String {
    String::from("{\"event\":\"resume\"}\n")
}

/// This machine was made from a copy. `seed` is new in every line.
pub fn restored() -> String {
    format!("{{\"event\":\"restore\",{}}}\n", identity())
}

fn identity() -> String {
    let last = freeze::last();
    let hostname = quoted(&String::from_utf8_lossy(&crate::boot::hostname()));
    let slept_ms = last.slept_ns / 1_000_000;
    format!(
        "\"generation\":{},\"sleptMs\":{slept_ms},\"instance\":{},\"hostname\":{hostname},\
         \"seed\":\"{}\",\"env\":{}",
        last.generation,
        quoted(&last.instance),
        seed(),
        environment(&last.env),
    )
}

/// 32 random bytes in hexadecimal digits.
fn seed() -> String {
    let mut bytes = [0; 32];
    crate::random::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `KEY=VALUE` strings, each ended by NUL, as an object.
fn environment(strings: &[u8]) -> String {
    let mut text = String::from("{");
    for entry in strings.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        let Some((key, value)) = entry.split_once('=') else {
            continue;
        };
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&quoted(key));
        text.push(':');
        text.push_str(&quoted(value));
    }
    text.push('}');
    text
}

/// A JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\0'..='\u{1f}' => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_escaping_in_json_is_escaped() {
        assert_eq!(
            quoted("a\"b\\c\nd\u{1}é"),
            "\"a\\\"b\\\\c\\u000ad\\u0001é\""
        );
        assert_eq!(
            environment(b"A=1\0B=x=\"y\"\0C=\0broken\0"),
            r#"{"A":"1","B":"x=\"y\"","C":""}"#
        );
        assert_eq!(environment(b""), "{}");
    }
}
