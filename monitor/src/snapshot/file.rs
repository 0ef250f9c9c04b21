//! Snapshot files on disk: written whole or not at all, checked before use.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spore_abi::layout::PAGE;

use super::capture::Pages;
use super::checksum::crc32c;
use super::format::{self, Extent, Frame, HEADER, Header, Refusal, SECTIONS, Section, Use};
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
    /// What a request uses of each frame, or nothing.
    pub working_set: Vec<u8>,
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
        &contents.working_set,
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
    contents.header.data_length = pages.data.len() as u64;
    let mut tail = contents.about.clone();
    tail.resize(tail.len().next_multiple_of(PAGE as usize), 0);
    let tail_length = (tail.len() + HEADER) as u64;
    let length = contents.header.data_offset + contents.header.data_length + tail_length;
    contents.header.file_length = length;
    tail.extend(contents.header.to_bytes());
    let mut head = contents.header.to_bytes();
    for bytes in sections {
        head.extend(bytes);
    }
    head.resize(contents.header.data_offset as usize, 0);
    replace(path, &[&head, &pages.data, &tail]).map_err(|error| {
        MonitorError::new(
            SPORE_OUTPUT_WRITE,
            format!("cannot write {}: {error}", path.display()),
        )
    })?;
    Ok(length)
}

/// Puts a working set into a snapshot that was written before; everything else stays.
pub fn add_working_set(path: &Path, see: impl FnOnce(&[Frame]) -> Vec<Use>) -> Result<()> {
    let snapshot = Snapshot::open(path)?;
    let mut data = Vec::with_capacity(snapshot.header.data_length as usize);
    let mut bytes = Vec::new();
    for frame in &snapshot.frames {
        snapshot.read_frame(frame, &mut bytes)?;
        data.extend_from_slice(&bytes);
    }
    let mut working_set = Vec::new();
    for entry in see(&snapshot.frames) {
        entry.write(&mut working_set);
    }
    let section = |section| snapshot.section(section).to_vec();
    let contents = Contents {
        about: section(Section::About),
        features: section(Section::Features),
        devices: section(Section::Devices),
        working_set,
        header: snapshot.header.clone(),
    };
    let frames = snapshot.frames;
    write(path, contents, &Pages { frames, data })?;
    Ok(())
}

/// Replaces a file: after a crash there is the old one or the new one, and nothing else.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::IsADirectory)?
        .to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let result = write_all(directory, &temporary, parts)
        .and_then(|()| fs::rename(&temporary, path))
        // The name is safe too once its directory is.
        .and_then(|()| File::open(directory)?.sync_all());
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Writes a file that has no name until it is whole, where the file system can do that:
/// whatever ends the process before leaves nothing.
fn write_all(directory: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).mode(0o600);
    let nameless = options
        .clone()
        .custom_flags(libc::O_TMPFILE)
        .open(directory);
    let (mut file, named) = match nameless {
        Ok(file) => (file, false),
        Err(_) => (options.create_new(true).open(path)?, true),
    };
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    match named {
        true => Ok(()),
        false => give_name(&file, path),
    }
}

fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let own = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both are live strings that end with 0.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            own.as_ptr(),
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A snapshot that was opened and of which everything but the pages was checked.
pub struct Snapshot {
    path: PathBuf,
    file: File,
    /// The header.
    pub header: Header,
    /// Which pages it holds.
    pub frames: Vec<Frame>,
    /// Everything before the pages.
    head: Vec<u8>,
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
        // `Header::from_bytes` has bounded it.
        let mut head = vec![0; header.data_offset as usize];
        file.read_exact_at(&mut head, 0).map_err(unreadable)?;
        let mut snapshot = Self {
            path: path.to_owned(),
            file,
            header,
            frames: Vec::new(),
            head,
        };
        snapshot.check_head()?;
        snapshot.check_tail()?;
        let table = snapshot.section(Section::Frames);
        snapshot.frames =
            format::frames(table, &snapshot.header).map_err(|refusal| refused(path, &refusal))?;
        Ok(snapshot)
    }

    /// The sections are whole, one behind another, and nothing is between them.
    fn check_head(&self) -> Result<()> {
        let mut end = HEADER;
        for section in &self.header.sections {
            let bytes = &self.head[end..];
            let whole = section.offset == end as u64
                && bytes
                    .get(..section.length as usize)
                    .is_some_and(|bytes| crc32c(bytes) == section.checksum);
            if !whole {
                return Err(self.damaged("its tables have changed"));
            }
            end += section.length as usize;
        }
        match self.head[end..].iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(self.damaged("its tables have changed")),
        }
    }

    /// The second copy of notes and header is the same as the first.
    fn check_tail(&self) -> Result<()> {
        let mut expected = self.section(Section::About).to_vec();
        expected.resize(expected.len().next_multiple_of(PAGE as usize), 0);
        expected.extend(&self.head[..HEADER]);
        let start = self.header.data_offset + self.header.data_length;
        let mut tail = vec![0; (self.header.file_length - start) as usize];
        self.file
            .read_exact_at(&mut tail, start)
            .map_err(|error| self.damaged(&format!("it cannot be read: {error}")))?;
        match tail == expected {
            true => Ok(()),
            false => Err(self.damaged("the second copy of its notes has changed")),
        }
    }

    /// The bytes of a section.
    pub fn section(&self, section: Section) -> &[u8] {
        let Extent { offset, length, .. } = self.header.section(section);
        // `check_head` comes before anybody asks.
        &self.head[offset as usize..(offset + length) as usize]
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

    /// What a request uses of each frame; empty: not recorded.
    pub fn working_set(&self) -> Result<Vec<Use>> {
        format::working_set(self.section(Section::WorkingSet), self.frames.len())
            .map_err(|refusal| refused(&self.path, &refusal))
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

/// How to start again what a snapshot was taken of, even if the snapshot is damaged:
/// the notes stand in the file twice.
pub fn about(path: &Path) -> Result<Value> {
    let file =
        File::open(path).map_err(|error| damaged(path, &format!("it cannot be read: {error}")))?;
    let length = file.metadata().map_or(0, |data| data.len());
    let last = length.saturating_sub(HEADER as u64);
    let mut refusal = Refusal::Damaged("its notes have changed");
    for at in [0, last] {
        match notes(&file, at, length) {
            Ok(notes) => {
                return serde_json::from_slice(&notes)
                    .map_err(|_| damaged(path, "its notes make no sense"));
            }
            Err(version @ Refusal::Version(_)) => refusal = version,
            Err(_) => {}
        }
    }
    Err(refused(path, &refusal))
}

/// The notes beside the header at `at`: behind it at the start, before it at the end.
fn notes(file: &File, at: u64, length: u64) -> std::result::Result<Vec<u8>, Refusal> {
    let unreadable = |_| Refusal::Damaged("its notes cannot be read");
    let mut bytes = vec![0; HEADER];
    file.read_exact_at(&mut bytes, at).map_err(unreadable)?;
    // A file that was cut short has a first header that says so, and is whole itself.
    let header = Header::from_bytes(&bytes, length).or_else(|refusal| match at {
        0 => Header::of_any_length(&bytes),
        _ => Err(refusal),
    })?;
    let about = header.section(Section::About);
    let start = match at {
        0 => about.offset,
        _ => at.saturating_sub(about.length.next_multiple_of(PAGE)),
    };
    let mut notes = vec![0; about.length as usize];
    file.read_exact_at(&mut notes, start).map_err(unreadable)?;
    match crc32c(&notes) == about.checksum {
        true => Ok(notes),
        false => Err(Refusal::Damaged("its notes have changed")),
    }
}

/// What a file holds, for people and programs; with `verify` every page is read.
pub fn inspect(path: &Path, verify: bool) -> Result<Value> {
    let snapshot = Snapshot::open(path)?;
    let json = |section| serde_json::from_slice(snapshot.section(section)).unwrap_or(Value::Null);
    let (about, devices) = (json(Section::About), json(Section::Devices));
    if verify {
        let mut bytes = Vec::new();
        for frame in &snapshot.frames {
            snapshot.read_frame(frame, &mut bytes)?;
        }
    }
    let header = &snapshot.header;
    let pages: u64 = snapshot.frames.iter().map(Frame::count).sum();
    let uses = snapshot.working_set()?;
    let count = |of: fn(&Use) -> &[u64; 8]| -> u32 {
        let words = uses.iter().flat_map(of);
        words.map(|word| word.count_ones()).sum()
    };
    let (used, written) = (count(|use_| &use_.touched), count(|use_| &use_.written));
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
        "workingSet": {"used": used, "written": written},
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

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::kvm_regs;

    /// A snapshot of two pages; the golden file in `docs/internals` has the same bytes.
    fn small() -> (Contents, Pages) {
        let header = Header {
            file_length: 0,
            data_offset: 0,
            data_length: 0,
            ram_size: 64 << 20,
            generation: 1,
            monotonic: 1_000_000_007,
            realtime: 1_700_000_000_000_000_001,
            kernel: [7; 32],
            image: [9; 32],
            registers: kvm_regs {
                rip: 0x7f80_0020_1234,
                rflags: 2,
                ..kvm_regs::default()
            },
            sections: [Extent::default(); SECTIONS],
        };
        let mut working_set = Vec::new();
        let used = Use {
            touched: [1 | 1 << 5, 0, 0, 0, 0, 0, 0, 1 << 63],
            written: [1 << 5, 0, 0, 0, 0, 0, 0, 1 << 63],
        };
        used.write(&mut working_set);
        let contents = Contents {
            header,
            about: br#"{"format":1}"#.to_vec(),
            features: vec![1; 28],
            devices: br#"{"listeners":[],"streams":[],"datagrams":[]}"#.to_vec(),
            working_set,
        };
        let mut pages = Pages {
            frames: vec![Frame {
                gpa: 0x80_0000,
                pages: [1 | 1 << 5, 0, 0, 0, 0, 0, 0, 0],
                first: 0,
                checksum: 0,
            }],
            data: [[0xab; PAGE as usize], [0xcd; PAGE as usize]].concat(),
        };
        pages.seal();
        (contents, pages)
    }

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("spore-{name}-{}.snap", std::process::id()))
    }

    fn code(path: &Path) -> Option<&'static str> {
        inspect(path, true).err().map(|error| error.code.name)
    }

    #[test]
    fn what_was_written_is_read_and_looks_as_documented() {
        let path = place("golden");
        let (contents, pages) = small();
        write(&path, contents, &pages).unwrap();
        let bytes = fs::read(&path).unwrap();
        let facts = inspect(&path, true).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            (facts["pages"].as_u64(), facts["frames"].as_u64()),
            (Some(2), Some(1))
        );
        let golden = include_bytes!("golden/version-2.snap");
        assert!(
            bytes == golden,
            "the format has changed: give it another version"
        );
    }

    #[test]
    fn any_flipped_byte_and_any_cut_is_refused() {
        let path = place("flipped");
        let (contents, pages) = small();
        write(&path, contents, &pages).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(code(&path), None);
        let file = File::options().write(true).open(&path).unwrap();
        // Every byte that means something, and some of the others.
        let dense = |at: usize| whole[at] != 0 || at.is_multiple_of(61);
        for at in (0..whole.len()).filter(|at| dense(*at) && whole[*at] != 0xab) {
            file.write_all_at(&[whole[at] ^ 0x10], at as u64).unwrap();
            assert!(code(&path).is_some(), "byte {at} may change");
            // One of the two copies of the notes is always whole.
            assert!(
                about(&path).is_ok_and(|notes| notes["format"] == 1),
                "byte {at}"
            );
            file.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
        for length in [0, 7, 100, 4096, 5000, whole.len() - 4096, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(
                code(&path),
                Some("SPORE_SNAPSHOT_DAMAGED"),
                "{length} bytes"
            );
        }
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_a_request_uses_is_added_and_the_rest_stays() {
        let path = place("used");
        let (mut contents, pages) = small();
        let golden = std::mem::take(&mut contents.working_set);
        write(&path, contents, &pages).unwrap();
        let used = format::working_set(&golden, 1).unwrap();
        add_working_set(&path, |_| used.clone()).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(bytes == include_bytes!("golden/version-2.snap"));
    }

    #[test]
    fn another_version_is_foreign_not_damaged() {
        let path = place("version");
        let (contents, pages) = small();
        write(&path, contents, &pages).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = 9;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(code(&path), Some("SPORE_SNAPSHOT_FOREIGN"));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let folder = place("kept");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("a.snap");
        fs::write(&path, b"old").unwrap();
        let refuse: [&[u8]; 1] = [b"new"];
        replace(&folder.join("missing/a.snap"), &refuse).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace(&path, &refuse).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
