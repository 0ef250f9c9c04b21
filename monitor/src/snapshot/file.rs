//! Snapshot files on disk: written whole or not at all, checked before use.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spore_abi::layout::PAGE;

use super::checksum::crc32c;
use super::format::{
    self, Extent, Frame, HEADER, Header, LINE, Origin, PageRecord, Refusal, SECTIONS, Section, Use,
};
use super::origins::{Buffers, Origins};
use super::pack::Packed;
use super::replace::replace;
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
/// `base`: name of the snapshot in the same folder that pages are made of.
/// Answers its length.
pub fn write(path: &Path, mut contents: Contents, packed: &Packed, base: &str) -> Result<u64> {
    let mut table = Vec::new();
    for frame in &packed.frames {
        frame.write(&mut table);
    }
    let mut pages = Vec::new();
    for record in &packed.records {
        record.write(&mut pages);
    }
    let sections: [&[u8]; SECTIONS] = [
        &contents.about,
        &contents.features,
        &contents.devices,
        &table,
        &contents.working_set,
        &pages,
        base.as_bytes(),
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
    contents.header.data_length = packed.lines.len() as u64;
    contents.header.content = packed.records.len() as u64 * PAGE;
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
    replace(path, &[&head, &packed.lines, &tail]).map_err(|error| {
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
    let mut lines = Vec::with_capacity(snapshot.header.data_length as usize);
    for frame in &snapshot.frames {
        lines.extend(snapshot.checked(frame)?);
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
    let base = snapshot.base_name()?.unwrap_or("").to_owned();
    let packed = Packed {
        on_base: !base.is_empty(),
        frames: snapshot.frames,
        records: snapshot.records,
        lines,
    };
    write(path, contents, &packed, &base)?;
    Ok(())
}

/// A snapshot that was opened and of which everything but the pages was checked.
pub struct Snapshot {
    path: PathBuf,
    file: File,
    /// The header.
    pub header: Header,
    /// Which pages it holds.
    pub frames: Vec<Frame>,
    /// What each page is made of.
    records: Vec<PageRecord>,
    /// Everything before the lines.
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
            records: Vec::new(),
            head,
        };
        snapshot.check_head()?;
        snapshot.check_tail()?;
        let tables = [Section::Frames, Section::Pages].map(|part| snapshot.section(part));
        (snapshot.frames, snapshot.records) =
            format::frames(tables[0], tables[1], &snapshot.header)
                .map_err(|refusal| refused(path, &refusal))?;
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

    /// What the pages of a frame are made of.
    pub fn records(&self, frame: &Frame) -> &[PageRecord] {
        frame.records(&self.records).unwrap_or_default()
    }

    /// The lines of a frame that are in the file, unchecked.
    pub fn stored(&self, frame: &Frame, bytes: &mut Vec<u8>) -> Result<()> {
        let lines = format::lines(self.records(frame));
        bytes.resize(lines as usize * LINE, 0);
        let offset = self.header.data_offset + frame.line * LINE as u64;
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| self.damaged(&format!("it cannot be read: {error}")))
    }

    /// The same, checked.
    fn checked(&self, frame: &Frame) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stored(frame, &mut bytes)?;
        match crc32c(&bytes) == frame.stored {
            true => Ok(bytes),
            false => Err(self.damaged("its pages have changed")),
        }
    }

    /// Makes the pages of a frame, checked, in `buffers`.
    pub fn read_frame(
        &self,
        frame: &Frame,
        origins: &Origins,
        buffers: &mut Buffers,
    ) -> Result<()> {
        origins.compose(self, frame, buffers)?;
        if crc32c(&buffers.pages) == frame.checksum {
            return Ok(());
        }
        self.checked(frame)?;
        Err(self.damaged("what its pages are made of beside it has changed"))
    }

    /// The snapshot that pages are made of, in the same folder.
    pub fn base_name(&self) -> Result<Option<&str>> {
        match std::str::from_utf8(self.section(Section::Base)) {
            Ok("") => Ok(None),
            Ok(name) if Path::new(name).file_name() == Some(name.as_ref()) => Ok(Some(name)),
            _ => Err(self.damaged("the name of its base makes no sense")),
        }
    }

    /// Opens it.
    pub fn base(&self) -> Result<Option<Box<Self>>> {
        let Some(name) = self.base_name()? else {
            return Ok(None);
        };
        let path = self.path.with_file_name(name);
        if !path.exists() {
            return Err(self.foreign(&format!("its base {name} is not there")));
        }
        let base = Self::open(&path)?;
        match base.header.id == self.header.base {
            true => Ok(Some(Box::new(base))),
            false => Err(self.foreign(&format!("{name} is not the base that it was made on"))),
        }
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

/// Reads every line of a file.
fn whole(snapshot: &Snapshot) -> Result<()> {
    for frame in &snapshot.frames {
        snapshot.checked(frame)?;
    }
    Ok(())
}

/// What a file holds, for people and programs; with `verify` every page is read.
pub fn inspect(path: &Path, verify: bool) -> Result<Value> {
    let snapshot = Snapshot::open(path)?;
    let json = |section| serde_json::from_slice(snapshot.section(section)).unwrap_or(Value::Null);
    let (about, devices) = (json(Section::About), json(Section::Devices));
    if verify {
        whole(&snapshot)?;
        // What a base holds is part of it.
        if let Some(base) = snapshot.base()? {
            whole(&base)?;
        }
    }
    let header = &snapshot.header;
    let pages: u64 = snapshot.frames.iter().map(Frame::count).sum();
    let of = |is: fn(Origin) -> bool| {
        let records = snapshot.records.iter();
        records.filter(|record| is(record.origin)).count()
    };
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
        "imagePages": of(|origin| matches!(origin, Origin::Image { .. })),
        "basePages": of(|origin| origin == Origin::Base),
        "base": snapshot.base_name()?,
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
    use super::super::capture::Pages;
    use super::super::pack;
    use super::*;
    use kvm_bindings::kvm_regs;
    use std::fs;

    /// A snapshot of two pages; the golden file in `docs/internals` has the same bytes.
    fn small() -> (Contents, Packed) {
        let header = Header {
            file_length: 0,
            data_offset: 0,
            data_length: 0,
            content: 0,
            ram_size: 64 << 20,
            generation: 1,
            monotonic: 1_000_000_007,
            realtime: 1_700_000_000_000_000_001,
            kernel: [7; 32],
            image: [9; 32],
            id: [5; 16],
            base: [0; 16],
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
        // The last page is the second of a layer; the one before it has a line of zeros.
        let mut page = [0xcd; PAGE as usize];
        page[128..192].fill(0);
        let layer = [[0x11; PAGE as usize], [0x22; PAGE as usize]].concat();
        let pages = Pages {
            frames: vec![Frame {
                gpa: 0x80_0000,
                pages: [1 | 1 << 5 | 1 << 6, 0, 0, 0, 0, 0, 0, 0],
                ..Frame::default()
            }],
            data: [[0xab; PAGE as usize], page, [0x22; PAGE as usize]].concat(),
        };
        let packed = pack::pack(&pages, &[&layer], None).unwrap();
        (contents, packed)
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
        let (contents, packed) = small();
        write(&path, contents, &packed, "").unwrap();
        let bytes = fs::read(&path).unwrap();
        let facts = inspect(&path, true).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            (facts["pages"].as_u64(), facts["frames"].as_u64()),
            (Some(3), Some(1))
        );
        assert_eq!(facts["imagePages"], 1);
        let golden = include_bytes!("golden/version-3.snap");
        assert!(
            bytes == golden,
            "the format has changed: give it another version"
        );
    }

    #[test]
    fn any_flipped_byte_and_any_cut_is_refused() {
        let path = place("flipped");
        let (contents, packed) = small();
        write(&path, contents, &packed, "").unwrap();
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
        let (mut contents, packed) = small();
        let golden = std::mem::take(&mut contents.working_set);
        write(&path, contents, &packed, "").unwrap();
        let used = format::working_set(&golden, 1).unwrap();
        add_working_set(&path, |_| used.clone()).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(bytes == include_bytes!("golden/version-3.snap"));
    }

    /// Page 0 of the first snapshot with a line changed, on the base of it.
    fn on_base(name: &str) -> (PathBuf, PathBuf) {
        let (path, other) = (place(name), place(&format!("{name}-other")));
        let (contents, packed) = small();
        write(&path, contents, &packed, "").unwrap();
        let base = Snapshot::open(&path).unwrap();
        let mut page = [0xab; PAGE as usize];
        page[64] = 1;
        let pages = Pages {
            frames: vec![Frame {
                gpa: 0x80_0000,
                pages: [1, 0, 0, 0, 0, 0, 0, 0],
                ..Frame::default()
            }],
            data: page.to_vec(),
        };
        let packed = pack::pack(&pages, &[], Some(&base)).unwrap();
        assert!(packed.on_base);
        assert_eq!(packed.lines.len(), LINE);
        let (mut contents, _) = small();
        contents.working_set.clear();
        contents.header.base = base.header.id;
        contents.header.id = [6; 16];
        let name = path.file_name().unwrap().to_str().unwrap();
        write(&other, contents, &packed, name).unwrap();
        (path, other)
    }

    #[test]
    fn what_stands_in_another_snapshot_is_taken_from_there() {
        let (path, other) = on_base("base");
        let snapshot = Snapshot::open(&other).unwrap();
        let origins = Origins::on(snapshot.base().unwrap());
        let mut buffers = Buffers::default();
        snapshot
            .read_frame(&snapshot.frames[0], &origins, &mut buffers)
            .unwrap();
        let mut page = [0xab; PAGE as usize];
        page[64] = 1;
        assert_eq!(buffers.pages, page);
        assert_eq!(inspect(&other, true).unwrap()["basePages"], 1);
        // The base has changed, is another one, or is gone.
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        let at = Snapshot::open(&path).unwrap().header.data_offset as usize;
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(code(&other), Some("SPORE_SNAPSHOT_DAMAGED"));
        let origins = Origins::on(snapshot.base().unwrap());
        snapshot
            .read_frame(&snapshot.frames[0], &origins, &mut buffers)
            .unwrap_err();
        let (mut contents, packed) = small();
        contents.header.id = [1; 16];
        write(&path, contents, &packed, "").unwrap();
        assert_eq!(code(&other), Some("SPORE_SNAPSHOT_FOREIGN"));
        fs::remove_file(&path).unwrap();
        assert_eq!(code(&other), Some("SPORE_SNAPSHOT_FOREIGN"));
        fs::remove_file(&other).unwrap();
    }

    #[test]
    fn another_version_is_foreign_not_damaged() {
        let path = place("version");
        let (contents, packed) = small();
        write(&path, contents, &packed, "").unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = 9;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(code(&path), Some("SPORE_SNAPSHOT_FOREIGN"));
        fs::remove_file(&path).unwrap();
    }
}
