//! Builds the guest's first state in its memory: page tables, descriptors, boot
//! information.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use spore_abi::ABI_VERSION;
use spore_abi::boot::{
    BOOT_MAGIC, BootInfo, FileRecord, KernelHeader, LayerRecord, Span, StreamKind, VmaRecord,
    option,
};
use spore_abi::layout::{
    ARENA_VA, BOOT_GPA, DIRECT_VA, DOORBELL_CALL_GPA, DOORBELL_KICK_GPA, GATE_VA, GDT_GPA, HUGE,
    IDT_GPA, KERNEL_END, KERNEL_GPA, KERNEL_VA, PAGE, USER_END, VCPU_GPA,
};
use spore_abi::vcpu::VcpuBlock;

use crate::blob::{Blob, BlobError};
use crate::config::{Config, Program};
use crate::descriptors;
use crate::error::{MonitorError, Result, SPORE_KVM_FAILED, SPORE_LAUNCH_CONFIG};
use crate::image;
use crate::memory::{GuestMemory, OutOfRange};
use crate::pagetable::{Access, MapError, PageTables};

/// Free memory at first: enough for a small program, and little for KVM to keep tables of.
const FIRST_FREE: u64 = 24 << 20;

/// Everything the kernel finds at its first instruction, except the clock.
/// `io_thread`: a second core serves the rings; `streams`: host descriptors of
/// the program's standard streams.
pub fn prepare(
    memory: &GuestMemory,
    config: &Config,
    header: &KernelHeader,
    io_thread: bool,
    streams: [RawFd; 3],
) -> Result<()> {
    let pt_next = build_page_tables(memory, config, header)?;
    descriptors::write(memory, header).map_err(outside)?;
    let block: &VcpuBlock = memory.shared(VCPU_GPA).map_err(outside)?;
    block.this.store(DIRECT_VA + VCPU_GPA, Ordering::Relaxed);
    block.next_deadline.store(u64::MAX, Ordering::Relaxed);
    write_boot_info(memory, config, pt_next, io_thread, streams)
}

/// Returns the first unused page of the page-table pool.
fn build_page_tables(memory: &GuestMemory, config: &Config, header: &KernelHeader) -> Result<u64> {
    let mut tables = PageTables::new(memory);
    let ram = memory.ram_size();
    let kernel_space = KERNEL_END - KERNEL_GPA;
    let gate_gpa = header.gate_page - KERNEL_VA + KERNEL_GPA;
    let mut fixed = || {
        tables.map_large(DIRECT_VA, 0, ram, Access::Full)?;
        tables.map_large(ARENA_VA, 0, ram, Access::Full)?;
        tables.map_large(KERNEL_VA, KERNEL_GPA, kernel_space, Access::Full)?;
        for doorbell in [DOORBELL_CALL_GPA, DOORBELL_KICK_GPA] {
            tables.map_page(DIRECT_VA + doorbell, doorbell, Access::Full)?;
        }
        for (page, gpa) in [gate_gpa, GDT_GPA, IDT_GPA].into_iter().enumerate() {
            tables.map_page(GATE_VA + page as u64 * PAGE, gpa, Access::Supervisor)?;
        }
        for layer in memory.layers() {
            let len = layer.len.next_multiple_of(HUGE);
            tables.map_large(DIRECT_VA + layer.gpa, layer.gpa, len, Access::ReadOnly)?;
        }
        Ok(())
    };
    fixed().map_err(|e| unmappable("memory", e))?;
    for region in &config.shared {
        let layer = config.layers.get(region.layer);
        let inside = layer
            .and_then(|layer| Some(region.offset.checked_add(region.length)? <= layer.length))
            .unwrap_or(false);
        let (true, Some(layer)) = (inside, layer) else {
            return Err(wrong("shared frames lie outside their layer"));
        };
        check_program_range(region.va.0, region.length)?;
        tables
            .map_large(
                region.va.0,
                layer.gpa.0 + region.offset,
                region.length,
                Access::ReadOnly,
            )
            .map_err(|e| unmappable("shared frames", e))?;
    }
    for region in &config.private {
        check_program_range(region.va.0, region.length)?;
        tables
            .map_large(region.va.0, region.gpa.0, region.length, Access::Full)
            .map_err(|e| unmappable("private frames", e))?;
    }
    Ok(tables.next_free())
}

fn check_program_range(va: u64, len: u64) -> Result<()> {
    match va.checked_add(len) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(wrong("program frames lie where no program may")),
    }
}

fn write_boot_info(
    memory: &GuestMemory,
    config: &Config,
    pt_next: u64,
    io_thread: bool,
    streams: [RawFd; 3],
) -> Result<()> {
    let mut blob = Blob::default();
    let program = &config.program;
    let layers: Vec<LayerRecord> = memory
        .layers()
        .iter()
        .map(|layer| LayerRecord {
            gpa: layer.gpa,
            len: layer.len,
        })
        .collect();
    let build = |blob: &mut Blob| -> std::result::Result<BootInfo, BlobError> {
        Ok(BootInfo {
            magic: BOOT_MAGIC,
            abi_version: ABI_VERSION,
            options: options(config, io_thread),
            ram_size: memory.ram_size(),
            ram_present: 0,
            free_start: 0,
            pt_next,
            seed: seed(),
            argv: blob.strings(&config.argv)?,
            envp: blob.strings(&config.env)?,
            cwd: blob.bytes(config.cwd.as_bytes())?,
            hostname: blob.bytes(config.hostname.as_bytes())?,
            layers: blob.records(&layers)?,
            vmas: vmas(blob, program)?,
            files: files(blob, config)?,
            exec_path: blob.bytes(program.path.as_bytes())?,
            start_rip: program.start_rip.0,
            entry: program.entry.0,
            phdr: program.phdr.0,
            phnum: program.phnum,
            interp_base: program.interp_base.0,
            brk_start: program.brk_start.0,
            streams: streams.map(|stream| stream_kind(stream) as u32),
            vcpus: 1,
            uid: config.user.uid,
            gid: config.user.gid,
        })
    };
    let mut info = build(&mut blob).map_err(|e| match e {
        BlobError::TooLarge => wrong("arguments, environment and files take more than 1 MiB"),
        BlobError::Nul => wrong("an argument or environment variable holds a NUL"),
    })?;
    info.free_start = image::free_start(&config.private)?;
    info.ram_present = info.ram_size.min(info.free_start + FIRST_FREE);
    blob.write(memory)
        .map_err(|_| wrong("the launch data does not fit"))?;
    memory.write(BOOT_GPA, &info).map_err(outside)
}

/// Bits of [`option`] for a run.
pub fn options(config: &Config, io_thread: bool) -> u32 {
    let mut options = 0;
    if config.trace {
        options |= option::TRACE;
    }
    if config.record {
        options |= option::RECORD;
    }
    if io_thread {
        options |= option::IO_THREAD;
    }
    if config.gdb.is_some() {
        options |= option::DEBUGGER | option::DEBUG_STOP;
    }
    if config.orders.is_some() {
        options |= option::FREEZABLE;
    }
    options
}

fn vmas(blob: &mut Blob, program: &Program) -> std::result::Result<Span, BlobError> {
    let mut records = Vec::with_capacity(program.vmas.len());
    for vma in &program.vmas {
        records.push(VmaRecord {
            start: vma.start.0,
            end: vma.end.0,
            prot: vma.prot,
            reserved: 0,
            file_offset: vma.file_offset,
            path: blob.bytes(vma.path.as_bytes())?,
        });
    }
    blob.records(&records)
}

fn files(blob: &mut Blob, config: &Config) -> std::result::Result<Span, BlobError> {
    let mut records = Vec::with_capacity(config.files.len());
    for file in &config.files {
        records.push(FileRecord {
            path: blob.bytes(file.path.as_bytes())?,
            data: blob.bytes(file.data.as_bytes())?,
            mode: file.mode,
            reserved: 0,
        });
    }
    blob.records(&records)
}

/// Random bytes of the host, new for every boot.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    // SAFETY: getrandom fills at most the given 32 bytes; requests this small
    // are never cut short once the host's generator is initialised.
    unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    seed
}

/// What a standard stream is on the host.
pub fn stream_kind(fd: RawFd) -> StreamKind {
    // SAFETY: a zeroed stat is a value, fstat fills it; isatty
    // accepts any descriptor number of this process.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut status) != 0 {
            return StreamKind::Closed;
        }
        match status.st_mode & libc::S_IFMT {
            libc::S_IFIFO => StreamKind::Pipe,
            libc::S_IFSOCK => StreamKind::Socket,
            libc::S_IFCHR if libc::isatty(fd) == 1 => StreamKind::Terminal,
            libc::S_IFCHR => StreamKind::Device,
            _ => StreamKind::File,
        }
    }
}

fn wrong(problem: &str) -> MonitorError {
    MonitorError::new(
        SPORE_LAUNCH_CONFIG,
        format!("launch configuration: {problem}"),
    )
}

fn outside(_: OutOfRange) -> MonitorError {
    MonitorError::new(SPORE_KVM_FAILED, "KVM failed: guest memory is too small")
}

fn unmappable(what: &str, error: MapError) -> MonitorError {
    let why = match error {
        MapError::Misaligned => "are not aligned to 2 MiB",
        MapError::Taken => "overlap with others",
        MapError::PoolEmpty => "need more page tables than there are",
        MapError::NoSuchAddress => "have impossible addresses",
    };
    wrong(&format!("{what} {why}"))
}
