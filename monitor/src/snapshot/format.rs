//! The file format: header, sections, table of frames. See
//! `docs/internals/snapshot.md`.
//!
//! A file is an allegation like everything else from outside: every offset and
//! length is checked here, and every byte is covered by a checksum.

use std::mem::offset_of;

use kvm_bindings::kvm_regs;
use spore_abi::layout::{HUGE, MAX_RAM, MIN_RAM, PAGE};

use super::checksum::crc32c;

/// "SPORSNAP".
pub const MAGIC: [u8; 8] = *b"SPORSNAP";
/// Version of the format.
pub const VERSION: u32 = 3;
/// Bytes of the header.
pub const HEADER: usize = 4096;
/// Largest section that is not data: the table of pages of the largest guest.
const SECTION_LIMIT: u64 = MAX_RAM / PAGE * PAGE_ENTRY as u64;
/// Pages of a frame.
pub const FRAME_PAGES: usize = (HUGE / PAGE) as usize;
/// Bytes of one entry of the table of frames.
const FRAME_ENTRY: usize = 96;
/// Bytes of one entry of the table of pages.
const PAGE_ENTRY: usize = 16;
/// Pages are stored in lines of so many bytes: those that differ from what is known.
pub const LINE: usize = 64;
/// Bytes of one entry of the working set.
const USE_ENTRY: usize = 128;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Section {
    /// JSON of whoever started the run: how to start it again.
    About = 0,
    /// CPUID entries that the guest has seen.
    Features = 1,
    /// JSON: sockets of the guest.
    Devices = 2,
    /// Which frames and pages follow.
    Frames = 3,
    /// What the first request after a restore touches.
    WorkingSet = 4,
    /// What each page is made of.
    Pages = 5,
    /// Name of the snapshot in the same folder that some pages are made of.
    Base = 6,
}

/// Number of sections.
pub const SECTIONS: usize = 7;

/// Where a section lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32C of its bytes.
    pub checksum: u32,
}

/// Everything of fixed size.
#[derive(Clone, Debug)]
pub struct Header {
    /// Length of the whole file.
    pub file_length: u64,
    /// First byte of the lines.
    pub data_offset: u64,
    /// Bytes of all lines.
    pub data_length: u64,
    /// Bytes of all pages that are not zero.
    pub content: u64,
    /// Bytes of guest memory.
    pub ram_size: u64,
    /// How many freezes lie between the boot and this snapshot.
    pub generation: u64,
    /// The guest's CLOCK_MONOTONIC at the freeze, ns.
    pub monotonic: u64,
    /// The host's CLOCK_REALTIME at the freeze, ns.
    pub realtime: u64,
    /// SHA-256 of the library OS.
    pub kernel: [u8; 32],
    /// Digest of the image.
    pub image: [u8; 32],
    /// What tells its memory from that of any other.
    pub id: [u8; 16],
    /// That of the snapshot that some pages are made of, or zero.
    pub base: [u8; 16],
    /// General registers of the vCPU.
    pub registers: kvm_regs,
    /// The sections, by number.
    pub sections: [Extent; SECTIONS],
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no snapshot, or bytes of it have changed or are missing.
    Damaged(&'static str),
    /// It is of another version of the format.
    Version(u32),
}

/// Reads little-endian words one after another.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(Refusal::Damaged("its header is too short"))?;
        self.0 = rest;
        Ok(*head)
    }
    fn u32(&mut self) -> Result<u32, Refusal> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    fn u64(&mut self) -> Result<u64, Refusal> {
        Ok(u64::from_le_bytes(self.take()?))
    }
}

/// General registers as words, in the order of `struct kvm_regs`.
const REGISTER_WORDS: usize = 18;
const _: () = assert!(size_of::<kvm_regs>() == REGISTER_WORDS * 8);
const _: () = assert!(offset_of!(kvm_regs, rflags) == 17 * 8);

fn register_words(regs: &kvm_regs) -> [u64; REGISTER_WORDS] {
    [
        regs.rax,
        regs.rbx,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        regs.rsp,
        regs.rbp,
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15,
        regs.rip,
        regs.rflags,
    ]
}

fn registers_from(words: [u64; REGISTER_WORDS]) -> kvm_regs {
    let [
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    ] = words;
    kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    }
}

impl Header {
    /// As the first bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        for word in [
            self.file_length,
            self.data_offset,
            self.data_length,
            self.content,
            self.ram_size,
            self.generation,
            self.monotonic,
            self.realtime,
        ] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.kernel);
        bytes.extend(self.image);
        bytes.extend(self.id);
        bytes.extend(self.base);
        for word in register_words(&self.registers) {
            bytes.extend(word.to_le_bytes());
        }
        for section in &self.sections {
            bytes.extend(section.offset.to_le_bytes());
            bytes.extend(section.length.to_le_bytes());
            bytes.extend(section.checksum.to_le_bytes());
            bytes.extend(0_u32.to_le_bytes());
        }
        bytes.resize(HEADER - 4, 0);
        let checksum = crc32c(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Reads and checks the first bytes of a file that is `length` bytes long.
    pub fn from_bytes(bytes: &[u8], length: u64) -> Result<Self, Refusal> {
        let header = Self::of_any_length(bytes)?;
        match header.file_length == length {
            true => Ok(header),
            false => Err(Refusal::Damaged("it is cut short")),
        }
    }

    /// The same for a file that need not be whole.
    pub fn of_any_length(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC {
            return Err(Refusal::Damaged("it is not a snapshot"));
        }
        let mut reader = Reader(&bytes[8..HEADER]);
        let version = reader.u32()?;
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        let mut stated = [0; 4];
        stated.copy_from_slice(&bytes[HEADER - 4..HEADER]);
        if crc32c(&bytes[..HEADER - 4]) != u32::from_le_bytes(stated) {
            return Err(Refusal::Damaged("its header has changed"));
        }
        reader.u32()?;
        let mut header = Self {
            file_length: reader.u64()?,
            data_offset: reader.u64()?,
            data_length: reader.u64()?,
            content: reader.u64()?,
            ram_size: reader.u64()?,
            generation: reader.u64()?,
            monotonic: reader.u64()?,
            realtime: reader.u64()?,
            kernel: reader.take()?,
            image: reader.take()?,
            id: reader.take()?,
            base: reader.take()?,
            registers: kvm_regs::default(),
            sections: [Extent::default(); SECTIONS],
        };
        let mut words = [0; REGISTER_WORDS];
        for word in &mut words {
            *word = reader.u64()?;
        }
        header.registers = registers_from(words);
        for section in &mut header.sections {
            *section = Extent {
                offset: reader.u64()?,
                length: reader.u64()?,
                checksum: reader.u32()?,
            };
            reader.u32()?;
        }
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), Refusal> {
        let ram_possible = (MIN_RAM..=MAX_RAM).contains(&self.ram_size);
        if !ram_possible || !self.ram_size.is_multiple_of(HUGE) {
            return Err(Refusal::Damaged("its memory has an impossible size"));
        }
        let inside = |section: &Extent| {
            let end = section.offset.checked_add(section.length);
            section.length <= SECTION_LIMIT && end.is_some_and(|end| end <= self.data_offset)
        };
        let end = self.data_offset.checked_add(self.data_length);
        if end.is_none_or(|end| end > self.file_length) || !self.data_offset.is_multiple_of(PAGE) {
            return Err(Refusal::Damaged("its parts lie outside of it"));
        }
        if !self.sections.iter().all(inside) {
            return Err(Refusal::Damaged("its parts lie outside of it"));
        }
        Ok(())
    }

    /// The extent of a section.
    pub fn section(&self, section: Section) -> Extent {
        self.sections[section as usize]
    }
}

/// One 2 MiB frame of memory with those of its pages that are in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bit n: page n is not zero.
    pub pages: [u64; 8],
    /// Number of its first page in the table of pages.
    pub first: u64,
    /// Number of its first line in the data.
    pub line: u64,
    /// CRC-32C of its pages as they stand in memory.
    pub checksum: u32,
    /// CRC-32C of its lines.
    pub stored: u32,
}

/// What a page is made of, where no line of its own says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Zeros.
    #[default]
    Zero,
    /// A page of a file that comes with the image.
    Image {
        /// Number of the layer; the library OS comes behind the last.
        file: u32,
        /// Number of the page in it.
        page: u32,
    },
    /// The page at the same address in the base.
    Base,
}

/// A page that is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRecord {
    /// What it is made of.
    pub origin: Origin,
    /// Bit n: line n is in the file.
    pub lines: u64,
}

impl PageRecord {
    /// As an entry of the table.
    pub fn write(&self, table: &mut Vec<u8>) {
        let (kind, page) = match self.origin {
            Origin::Zero => (0, 0),
            Origin::Base => (1, 0),
            Origin::Image { file, page } => (2 + file, page),
        };
        table.extend(kind.to_le_bytes());
        table.extend(page.to_le_bytes());
        table.extend(self.lines.to_le_bytes());
    }
}

/// Reads the table of pages.
fn page_records(table: &[u8]) -> Result<Vec<PageRecord>, Refusal> {
    let mut records = Vec::with_capacity(table.len() / PAGE_ENTRY);
    let mut reader = Reader(table);
    while !reader.0.is_empty() {
        let (kind, page) = (reader.u32()?, reader.u32()?);
        let origin = match kind {
            0 => Origin::Zero,
            1 => Origin::Base,
            kind => Origin::Image {
                file: kind - 2,
                page,
            },
        };
        let lines = reader.u64()?;
        records.push(PageRecord { origin, lines });
    }
    Ok(records)
}

impl Frame {
    /// How many pages it has in the file.
    pub fn count(&self) -> u64 {
        self.pages
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// What its pages are made of.
    pub fn records<'a>(&self, all: &'a [PageRecord]) -> Option<&'a [PageRecord]> {
        let first = usize::try_from(self.first).ok()?;
        all.get(first..first.checked_add(self.count() as usize)?)
    }

    /// Numbers of its pages, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.runs().flat_map(|(first, count)| first..first + count)
    }

    /// Runs of pages: (first page in the frame, number of pages).
    pub fn runs(&self) -> impl Iterator<Item = (usize, usize)> {
        let pages = self.pages;
        let has = move |page: usize| pages[page / 64] >> (page % 64) & 1 == 1;
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < FRAME_PAGES && !has(at) {
                at += 1;
            }
            let first = at;
            while at < FRAME_PAGES && has(at) {
                at += 1;
            }
            (at > first).then_some((first, at - first))
        })
    }

    /// As an entry of the table.
    pub fn write(&self, table: &mut Vec<u8>) {
        table.extend(self.gpa.to_le_bytes());
        for word in self.pages {
            table.extend(word.to_le_bytes());
        }
        table.extend(self.first.to_le_bytes());
        table.extend(self.line.to_le_bytes());
        table.extend(self.checksum.to_le_bytes());
        table.extend(self.stored.to_le_bytes());
    }
}

/// What the first request after a restore uses of a frame: bit n is page n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Pages that are read or written.
    pub touched: [u64; 8],
    /// Pages that are written.
    pub written: [u64; 8],
}

impl Use {
    /// As an entry of the working set.
    pub fn write(&self, section: &mut Vec<u8>) {
        let words = self.touched.iter().chain(&self.written);
        section.extend(words.flat_map(|word| word.to_le_bytes()));
    }
}

/// The working set, an entry for each frame; empty if nothing was recorded.
pub fn working_set(section: &[u8], frames: usize) -> Result<Vec<Use>, Refusal> {
    if section.is_empty() {
        return Ok(Vec::new());
    }
    if section.len() != frames * USE_ENTRY {
        return Err(Refusal::Damaged("its working set makes no sense"));
    }
    let mut uses = Vec::with_capacity(frames);
    for bytes in section.chunks_exact(USE_ENTRY) {
        let mut reader = Reader(bytes);
        let mut entry = Use::default();
        for word in entry.touched.iter_mut().chain(&mut entry.written) {
            *word = reader.u64()?;
        }
        uses.push(entry);
    }
    Ok(uses)
}

/// Reads and checks the tables of frames and pages: frames ascend and lie in memory, pages
/// and lines follow one another and are all there.
pub fn frames(
    table: &[u8],
    pages: &[u8],
    header: &Header,
) -> Result<(Vec<Frame>, Vec<PageRecord>), Refusal> {
    let wrong = Refusal::Damaged("its table of pages makes no sense");
    if !table.len().is_multiple_of(FRAME_ENTRY) {
        return Err(wrong);
    }
    let records = page_records(pages).map_err(|_| wrong.clone())?;
    let mut frames: Vec<Frame> = Vec::with_capacity(table.len() / FRAME_ENTRY);
    let (mut next, mut line) = (0, 0);
    for entry in table.chunks_exact(FRAME_ENTRY) {
        let mut reader = Reader(entry);
        let mut frame = Frame {
            gpa: reader.u64()?,
            ..Frame::default()
        };
        for word in &mut frame.pages {
            *word = reader.u64()?;
        }
        frame.first = reader.u64()?;
        frame.line = reader.u64()?;
        frame.checksum = reader.u32()?;
        frame.stored = reader.u32()?;
        let ascends = frames.last().is_none_or(|last| last.gpa < frame.gpa);
        let inside = frame.gpa.is_multiple_of(HUGE) && frame.gpa < header.ram_size;
        if !ascends || !inside || frame.first != next || frame.line != line {
            return Err(wrong);
        }
        next += frame.count();
        // At most 512 pages with 64 lines.
        line += lines(frame.records(&records).ok_or_else(|| wrong.clone())?);
        frames.push(frame);
    }
    let sound = next == records.len() as u64
        && next * PAGE == header.content
        && line * LINE as u64 == header.data_length;
    match sound {
        true => Ok((frames, records)),
        false => Err(wrong),
    }
}

/// How many lines of pages are in the file.
pub fn lines(records: &[PageRecord]) -> u64 {
    let count = |record: &PageRecord| u64::from(record.lines.count_ones());
    records.iter().map(count).sum()
}
