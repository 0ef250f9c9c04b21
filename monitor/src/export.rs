//! `--export FORMAT OUT FILE`: writes the memory of a machine as it stands at its
//! first instruction, for hypervisors that this monitor knows nothing of. Runs
//! nothing and needs no KVM. docs/internals/image.md describes both formats.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::json;
use spore_abi::boot::{BootInfo, KernelHeader};
use spore_abi::layout::{BOOT_GPA, DIRECT_VA, HUGE, KERNEL_GPA, PAGE, PML4_GPA, VCPU_GPA};

use crate::boot;
use crate::config::Config;
use crate::descriptors as gdt;
use crate::error::{MonitorError, Result, SPORE_INTERNAL, SPORE_LAUNCH_CONFIG, SPORE_OUTPUT_WRITE};
use crate::image;
use crate::machine;
use crate::memory::GuestMemory;

/// Zero pages between two pieces that are written all the same: a program header
/// costs more than they do.
const BRIDGE: u64 = 16 * PAGE;
const ELF_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const READ_EXECUTE: u32 = 5;
const READ_WRITE_EXECUTE: u32 = 7;
const NOTE_NAME: &[u8] = b"Spore\0";
const NOTE_TYPE: u32 = 1;

/// A run of guest-physical memory that is written.
struct Piece<'a> {
    gpa: u64,
    flags: u32,
    bytes: Bytes<'a>,
}

enum Bytes<'a> {
    Ram(Vec<u8>),
    Layer(&'a [u8]),
}

impl Piece<'_> {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Ram(bytes) => bytes,
            Bytes::Layer(bytes) => bytes,
        }
    }
}

/// Writes the file, whole or not at all.
pub fn export(format: &OsStr, output: &Path, config: Config) -> Result<()> {
    let elf = match format.to_str() {
        Some("elf") => true,
        Some("raw") => false,
        _ => {
            let problem = "launch configuration: only elf and raw can be exported";
            return Err(MonitorError::new(SPORE_LAUNCH_CONFIG, problem));
        }
    };
    let memory = image::map(&config)?;
    let header = image::load_kernel(&memory, &config.kernel)?;
    boot::prepare(&memory, &config, &header, false, [-1; 3])?;
    let state = first_state(&memory, &header)?;
    let pieces = pieces(&memory)?;
    let unwritable = |error: io::Error| {
        let problem = format!("cannot write {}: {error}", output.display());
        MonitorError::new(SPORE_OUTPUT_WRITE, problem)
    };
    let mut unfinished = output.as_os_str().to_owned();
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let unfinished = Path::new(&unfinished);
    let written = File::create_new(unfinished).and_then(|file| {
        match elf {
            true => write_elf(&file, &pieces, &header, &state)?,
            false => write_raw(&file, &pieces, memory.ram_size())?,
        }
        file.sync_all()?;
        std::fs::rename(unfinished, output)
    });
    written.map_err(|error| {
        // It may be that it was never created.
        let _ = std::fs::remove_file(unfinished);
        unwritable(error)
    })
}

/// What a loader has to set besides memory; without the seed, which it provides.
fn first_state(memory: &GuestMemory, header: &KernelHeader) -> Result<String> {
    let small = |_| MonitorError::new(SPORE_INTERNAL, "guest memory is too small");
    let mut info: BootInfo = memory.read(BOOT_GPA).map_err(small)?;
    info.seed = [0; 32];
    // Nobody answers a wish for more.
    info.ram_present = info.ram_size;
    memory.write(BOOT_GPA, &info).map_err(small)?;
    let hex = |value: u64| format!("{value:#x}");
    let [(_, star), (_, lstar), (_, sfmask)] = machine::system_call_registers(header);
    Ok(json!({
        "version": 1,
        "abi": spore_abi::ABI_VERSION,
        "ramSize": info.ram_size,
        "seed": { "gpa": hex(BOOT_GPA + std::mem::offset_of!(BootInfo, seed) as u64), "length": 32 },
        "rip": hex(header.start), "rsp": hex(header.boot_stack),
        "rdi": hex(DIRECT_VA + BOOT_GPA), "rflags": "0x2",
        "cr0": hex(machine::CR0), "cr3": hex(PML4_GPA), "cr4": hex(machine::CR4),
        "efer": hex(machine::EFER), "xcr0": hex(machine::XCR0_WANTED),
        "cs": gdt::USER_CODE, "ss": gdt::USER_DATA, "gsBase": hex(DIRECT_VA + VCPU_GPA),
        "gdt": { "base": hex(gdt::GDT_VA), "limit": gdt::GDT_LIMIT },
        "idt": { "base": hex(gdt::IDT_VA), "limit": gdt::IDT_LIMIT },
        "tr": { "selector": gdt::TASK, "base": hex(gdt::TASK_VA), "limit": gdt::TASK_LIMIT },
        "star": hex(star), "lstar": hex(lstar), "sfmask": hex(sfmask),
    })
    .to_string())
}

/// Everything that is not zero: RAM in runs of pages, then the layers.
fn pieces(memory: &GuestMemory) -> Result<Vec<Piece<'_>>> {
    let mut pieces: Vec<Piece> = Vec::new();
    for frame in memory.resident_frames() {
        for gpa in (frame..frame + HUGE).step_by(PAGE as usize) {
            let mut page = Vec::new();
            if !memory.append_unless_zero(gpa, &mut page) {
                continue;
            }
            match pieces.last_mut() {
                Some(Piece {
                    gpa: start,
                    bytes: Bytes::Ram(bytes),
                    ..
                }) if gpa - (*start + bytes.len() as u64) <= BRIDGE => {
                    bytes.resize((gpa - *start) as usize, 0);
                    bytes.append(&mut page);
                }
                _ => pieces.push(Piece {
                    gpa,
                    flags: READ_WRITE_EXECUTE,
                    bytes: Bytes::Ram(page),
                }),
            }
        }
    }
    for layer in memory.layers() {
        pieces.push(Piece {
            gpa: layer.gpa,
            flags: READ_EXECUTE,
            bytes: Bytes::Layer(layer.bytes()),
        });
    }
    if !pieces.iter().any(|piece| piece.gpa <= KERNEL_GPA) {
        return Err(MonitorError::new(SPORE_INTERNAL, "nothing was laid out"));
    }
    Ok(pieces)
}

/// Guest-physical addresses are offsets in the file; what is zero is a hole.
fn write_raw(file: &File, pieces: &[Piece], ram_size: u64) -> io::Result<()> {
    let end = pieces
        .iter()
        .map(|piece| piece.gpa + piece.bytes().len() as u64);
    file.set_len(end.max().unwrap_or(0).max(ram_size))?;
    let mut file = file;
    for piece in pieces {
        file.seek(SeekFrom::Start(piece.gpa))?;
        file.write_all(piece.bytes())?;
    }
    Ok(())
}

/// An executable with a segment for each piece and a note with the first state.
fn write_elf(file: &File, pieces: &[Piece], header: &KernelHeader, state: &str) -> io::Result<()> {
    let note = note(state);
    let count = pieces.len() as u64 + 1;
    let notes_at = ELF_HEADER + PROGRAM_HEADER * count;
    let mut out = BufWriter::new(file);
    out.write_all(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0")?;
    // ET_EXEC, EM_X86_64, EV_CURRENT.
    out.write_all(&[2, 0, 62, 0, 1, 0, 0, 0])?;
    for word in [header.start, ELF_HEADER, 0] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(&[0; 4])?;
    for half in [ELF_HEADER, PROGRAM_HEADER, count, 0, 0, 0] {
        let half = u16::try_from(half).map_err(|_| io::Error::other("too many segments"))?;
        out.write_all(&half.to_le_bytes())?;
    }
    write_program_header(&mut out, PT_NOTE, 4, notes_at, 0, note.len() as u64)?;
    let mut at = (notes_at + note.len() as u64).next_multiple_of(PAGE);
    for piece in pieces {
        let length = piece.bytes().len() as u64;
        write_program_header(&mut out, PT_LOAD, piece.flags, at, piece.gpa, length)?;
        at = (at + length).next_multiple_of(PAGE);
    }
    out.write_all(&note)?;
    let mut at = (notes_at + note.len() as u64).next_multiple_of(PAGE);
    for piece in pieces {
        out.seek(SeekFrom::Start(at))?;
        out.write_all(piece.bytes())?;
        at = (at + piece.bytes().len() as u64).next_multiple_of(PAGE);
    }
    out.flush()
}

fn write_program_header(
    out: &mut impl Write,
    kind: u32,
    flags: u32,
    offset: u64,
    gpa: u64,
    length: u64,
) -> io::Result<()> {
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&flags.to_le_bytes())?;
    let (va, align) = match kind {
        PT_LOAD => (DIRECT_VA + gpa, PAGE),
        _ => (0, 4),
    };
    for word in [offset, va, gpa, length, length, align] {
        out.write_all(&word.to_le_bytes())?;
    }
    Ok(())
}

/// One ELF note: name, type, and the state as JSON.
fn note(state: &str) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [NOTE_NAME.len() as u32, state.len() as u32, NOTE_TYPE] {
        note.extend(word.to_le_bytes());
    }
    for part in [NOTE_NAME, state.as_bytes()] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}
