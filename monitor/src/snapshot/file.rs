//! Snapshot files on disk: written whole or not at all, checked before use.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spore_abi::layout::PAGE;

use super::capture::Pages;
use super::checksum::crc32c;
use super::format::{self, Extent, Frame, HEADER, Header, Refusal, SECTIONS, Section};
use crate::error::{
    MonitorError, Result, SPORE_OUTPUT_WRITE, SPORE_SNAPSHOT_DAMAGED, SPORE_SNAPSHOT_FOREIGN,
};

/// Everything but the pages.
pub struct Contents {
    /// The header; extents and lengths are filled in by [`write`].
    pub header: Header,
    /// The sections before the table of frames, by number.
    pub about: Vec<u8>,
    /// CPUID entries.
    pub features: Vec<u8>,
    /// Sockets.
    pub devices: Vec<u8>,
}

/// Writes a snapshot: into a file beside `path` that takes its place at the end.
/// Answers its length.
pub fn write(path: &Path, mut contents: Contents, pages: &Pages) -> Result<u64> {
    let mut table = Vec::new();
    for frame in &pages.frames {
        frame.write(&mut table);
    }
    let sections: [&[u8]; SECTIONS] = [
        &contents.about,
        &contents.features,
        &contents.devices,
        &table,
        &[],
    ];
    let mut at = HEADER as u64;
    for (place, bytes) in contents.header.sections.iter_mut().zip(sections) {
        *place = Extent {
            offset: at,
            length: bytes.len() as u64,
            checksum: crc32c(bytes),
        };
        at += bytes.len() as u64;
    }
    contents.header.data_offset = at.next_multiple_of(PAGE);
    let length = contents.header.data_offset + pages.data.len() as u64;
    contents.header.file_length = length;
    let mut head = contents.header.to_bytes();
    for bytes in sections {
        head.extend(bytes);
    }
    head.resize(contents.header.data_offset as usize, 0);
    replace(path, &[&head, &pages.data]).map_err(|error| {
        MonitorError::new(
            SPORE_OUTPUT_WRITE,
            format!("cannot write {}: {error}", path.display()),
        )
    })?;
    Ok(length)
}

/// Replaces a file: after a crash there is the old one or the new one.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::IsADirectory)?
        .to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = write_all(&temporary, parts).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
        return result;
    }
    // The name is safe too once its directory is.
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn write_all(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// A snapshot that was opened and whose head was checked.
pub struct Snapshot {
    path: PathBuf,
    file: File,
    /// The header.
    pub header: Header,
    /// Which pages it holds.
    pub frames: Vec<Frame>,
}

impl Snapshot {
    /// Opens a file and checks everything but its pages.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |error: io::Error| damaged(path, &format!("it cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut first = vec![0; HEADER.min(length as usize)];
        file.read_exact_at(&mut first, 0).map_err(unreadable)?;
        let header =
            Header::from_bytes(&first, length).map_err(|refusal| refused(path, &refusal))?;
        let mut snapshot = Self {
            path: path.to_owned(),
            file,
            header,
            frames: Vec::new(),
        };
        let table = snapshot.section(Section::Frames)?;
        snapshot.frames =
            format::frames(&table, &snapshot.header).map_err(|refusal| refused(path, &refusal))?;
        Ok(snapshot)
    }

    /// The bytes of a section, checked.
    pub fn section(&self, section: Section) -> Result<Vec<u8>> {
        let Extent {
            offset,
            length,
            checksum,
        } = self.header.section(section);
        // `Header::from_bytes` has bounded the length.
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| self.damaged(&format!("it cannot be read: {error}")))?;
        if crc32c(&bytes) != checksum {
            return Err(self.damaged("its tables have changed"));
        }
        Ok(bytes)
    }

    /// Reads the pages of a frame, checked, into `bytes`.
    pub fn read_frame(&self, frame: &Frame, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize((frame.count() * PAGE) as usize, 0);
        let offset = self.header.data_offset + frame.first * PAGE;
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| self.damaged(&format!("it cannot be read: {error}")))?;
        if crc32c(bytes) != frame.checksum {
            return Err(self.damaged("its pages have changed"));
        }
        Ok(())
    }

    /// The error for bytes that are not what they should be.
    pub fn damaged(&self, problem: &str) -> MonitorError {
        damaged(&self.path, problem)
    }

    /// The error for a snapshot of something else.
    pub fn foreign(&self, problem: &str) -> MonitorError {
        foreign(&self.path, problem)
    }
}

fn refused(path: &Path, refusal: &Refusal) -> MonitorError {
    match refusal {
        Refusal::Damaged(problem) => damaged(path, problem),
        Refusal::Version(version) => foreign(
            path,
            &format!(
                "it has format version {version}, this monitor reads {}",
                format::VERSION
            ),
        ),
    }
}

fn damaged(path: &Path, problem: &str) -> MonitorError {
    MonitorError::new(
        SPORE_SNAPSHOT_DAMAGED,
        format!("snapshot {} is damaged: {problem}", path.display()),
    )
}

fn foreign(path: &Path, problem: &str) -> MonitorError {
    MonitorError::new(
        SPORE_SNAPSHOT_FOREIGN,
        format!("snapshot {} does not fit: {problem}", path.display()),
    )
}

/// What a file holds, for people and programs; with `verify` every page is read.
pub fn inspect(path: &Path, verify: bool) -> Result<Value> {
    let snapshot = Snapshot::open(path)?;
    let about = snapshot.section(Section::About)?;
    let about: Value = serde_json::from_slice(&about).unwrap_or(Value::Null);
    let devices: Value =
        serde_json::from_slice(&snapshot.section(Section::Devices)?).unwrap_or(Value::Null);
    if verify {
        for section in [Section::Features, Section::WorkingSet] {
            snapshot.section(section)?;
        }
        let mut bytes = Vec::new();
        for frame in &snapshot.frames {
            snapshot.read_frame(frame, &mut bytes)?;
        }
    }
    let header = &snapshot.header;
    let pages: u64 = snapshot.frames.iter().map(Frame::count).sum();
    Ok(json!({
        "version": format::VERSION,
        "generation": header.generation,
        "image": hex(&header.image),
        "kernel": hex(&header.kernel),
        "memory": header.ram_size,
        "bytes": header.file_length,
        "pages": pages,
        "frames": snapshot.frames.len(),
        "frozenAt": header.realtime / 1_000_000,
        "workingSetBytes": header.section(Section::WorkingSet).length,
        "cpuFeaturesChecksum": format!("{:08x}", header.section(Section::Features).checksum),
        "devices": devices,
        "about": about,
        "verified": verify,
    }))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads 64 hexadecimal digits; anything else is all zero, which fits nothing else.
pub fn digest(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return bytes;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        match u8::from_str_radix(&text[index * 2..index * 2 + 2], 16) {
            Ok(value) => *byte = value,
            Err(_) => return [0; 32],
        }
    }
    bytes
}
