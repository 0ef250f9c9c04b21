//! The file of a launch record, written by `packages/cli/src/launch-record.ts`.
//!
//! Three lines: `spore-launch VERSION CRC32` over all that follows, the
//! [`Facts`] and the launch configuration, both JSON. A record that is not whole
//! or that someone else could have written is none.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::Deserialize;

use super::Doubt;
use crate::config::{self, Config};

/// Version of the file; changes with its meaning. Configurations have their own.
const VERSION: &str = "1";
/// No record is longer: a file that is, is not one.
const LONGEST: u64 = 16 << 20;

/// What a configuration was made from.
#[derive(Debug, Deserialize)]
pub struct Facts {
    /// The checkout whose command line wrote the record.
    pub root: String,
    /// The words after `spore`.
    pub words: Vec<String>,
    /// Working directory.
    pub directory: String,
    /// Standard input was a terminal.
    pub terminal: bool,
    /// Variables that count, and their values; null: not set. Every variable
    /// `SPORE_*` counts.
    pub environment: HashMap<String, Option<String>>,
    /// The command line's own modules are not newer: nanoseconds since 1970.
    #[serde(deserialize_with = "nanoseconds")]
    pub stamp: i128,
    /// Paths and their fingerprints, see [`super::freshness`].
    pub inputs: Vec<(String, String)>,
}

/// A whole record.
pub struct Record {
    /// What it was made from.
    pub facts: Facts,
    /// What to run.
    pub config: Config,
}

impl Record {
    /// Reads and checks a record.
    pub fn read(path: &Path) -> Result<Self, Doubt> {
        let bytes = read_own(path)?;
        let text = checked(&bytes)?;
        let mut lines = text.splitn(2, |byte| *byte == b'\n');
        let facts = lines.next().unwrap_or_default();
        let config = lines.next().unwrap_or_default();
        let facts = serde_json::from_slice(facts).map_err(|e| Doubt::about(e.to_string()))?;
        let config = config::parse(config).map_err(|e| Doubt::about(e.what))?;
        Ok(Self { facts, config })
    }
}

/// The bytes of a file that only this user can write.
fn read_own(path: &Path) -> Result<Vec<u8>, Doubt> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .and_then(|file: File| Ok((file.metadata()?, file)));
    let (about, mut file) = opened.map_err(|e| Doubt::about(format!("no record: {e}")))?;
    // SAFETY: has no preconditions.
    let own = about.uid() == unsafe { libc::geteuid() } && about.mode() & 0o022 == 0;
    if !own || !about.is_file() || about.len() > LONGEST {
        return Err(Doubt::about("the record is not a file of this user alone"));
    }
    let mut bytes = Vec::with_capacity(about.len() as usize + 1);
    file.read_to_end(&mut bytes)
        .map_err(|e| Doubt::about(format!("the record cannot be read: {e}")))?;
    Ok(bytes)
}

/// What follows the first line, if that fits it.
fn checked(bytes: &[u8]) -> Result<&[u8], Doubt> {
    let damaged = || Doubt::about("the record is damaged or of another version");
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (first, rest) = bytes.split_at(end.ok_or_else(damaged)?);
    let rest = &rest[1..];
    let first = std::str::from_utf8(first).map_err(|_| damaged())?;
    let mut words = first.split(' ');
    let known = words.next() == Some("spore-launch") && words.next() == Some(VERSION);
    let crc = words
        .next()
        .and_then(|word| u32::from_str_radix(word, 16).ok());
    if known && words.next().is_none() && crc == Some(crc32(rest)) {
        Ok(rest)
    } else {
        Err(damaged())
    }
}

/// The CRC-32 of zlib (ISO 3309, reflected polynomial 0xedb88320).
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (0xedb8_8320 * (value & 1));
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (crc >> 8) ^ TABLE[(crc as u8 ^ byte) as usize]
    })
}

/// Larger than what JSON numbers hold exactly, so a string.
fn nanoseconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i128, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}
