//! What the monitor hands over at the first instruction.

/// First bytes of the kernel image, at [`crate::layout::KERNEL_VA`]. Offsets are
/// absolute guest-virtual addresses. Written by the kernel's linker script.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KernelHeader {
    /// [`KERNEL_MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub abi_version: u32,
    /// Zero.
    pub reserved: u32,
    /// First instruction; rdi = direct-map address of [`BootInfo`], rsp = `boot_stack`.
    pub start: u64,
    /// Target of LSTAR; works at CPL0 and at CPL3.
    pub syscall_entry: u64,
    /// Where the gate goes with an exception, at CPL3.
    pub exception_entry: u64,
    /// Scratch stack of the exception entry.
    pub exception_stack: u64,
    /// Where the monitor redirects an interrupted vCPU (see [`crate::vcpu`]).
    pub upcall_entry: u64,
    /// Stack at the first instruction.
    pub boot_stack: u64,
    /// Ring-0 gate code: one page of the image, mapped again at `GATE_VA`.
    /// Vector v (0..32) enters at page + 64 * v. int3 (vector 3) is the flush gate.
    pub gate_page: u64,
    /// Kernel code occupies `[text_start, text_end)`; never upcall inside it.
    pub text_start: u64,
    /// See `text_start`.
    pub text_end: u64,
    /// End of the image in memory, bss included.
    pub image_end: u64,
}

/// "SPOREKRN", little endian.
pub const KERNEL_MAGIC: u64 = u64::from_le_bytes(*b"SPOREKRN");
/// "SPOREBOT", little endian.
pub const BOOT_MAGIC: u64 = u64::from_le_bytes(*b"SPOREBOT");

/// A byte range inside the launch data, counted from [`crate::layout::BLOB_GPA`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub offset: u32,
    /// Length in bytes (for record lists: number of records).
    pub len: u32,
}

/// Everything the kernel needs to know at boot, at [`crate::layout::BOOT_GPA`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// [`BOOT_MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub abi_version: u32,
    /// Bits of [`option`].
    pub options: u32,
    /// Bytes of guest memory, a multiple of 2 MiB.
    pub ram_size: u64,
    /// How much of it there is already, from 0 up, a multiple of 2 MiB; the monitor
    /// brings the rest when [`crate::hostcall::number::GROW`] asks for it, and counts here.
    pub ram_present: u64,
    /// First guest-physical address that is free (above program segments).
    pub free_start: u64,
    /// First unused page of the page-table pool.
    pub pt_next: u64,
    /// Seed of the random generator, new for every boot.
    pub seed: [u8; 32],
    /// Arguments: strings, each ended by NUL, one after another.
    pub argv: Span,
    /// Environment, `KEY=VALUE` strings, each ended by NUL.
    pub envp: Span,
    /// Working directory (absolute path, no NUL).
    pub cwd: Span,
    /// Host name (no NUL).
    pub hostname: Span,
    /// [`LayerRecord`]s, bottom layer first.
    pub layers: Span,
    /// [`VmaRecord`]s of the program as mapped, ascending.
    pub vmas: Span,
    /// [`FileRecord`]s: small files that lie over the layers.
    pub files: Span,
    /// Absolute guest path of the program (no NUL).
    pub exec_path: Span,
    /// First instruction of the program, or of its interpreter.
    pub start_rip: u64,
    /// AT_ENTRY: the program's own entry.
    pub entry: u64,
    /// AT_PHDR.
    pub phdr: u64,
    /// AT_PHNUM.
    pub phnum: u64,
    /// AT_BASE: load address of the interpreter, 0 without one.
    pub interp_base: u64,
    /// Lowest address of the heap that `brk` moves.
    pub brk_start: u64,
    /// What the standard streams are, see [`StreamKind`]; index = descriptor.
    pub streams: [u32; 3],
    /// Number of vCPUs.
    pub vcpus: u32,
    /// AT_HWCAP (CPUID.1:EDX) and other values stay with the kernel; this is AT_UID.
    pub uid: u32,
    /// AT_GID.
    pub gid: u32,
}

/// Bits of [`BootInfo::options`].
pub mod option {
    /// Print every system call as strace does.
    pub const TRACE: u32 = 1;
    /// Another thread on another core serves the rings; the guest may spin.
    pub const IO_THREAD: u32 = 2;
    /// A debugger is attached: report traps to the monitor first.
    pub const DEBUGGER: u32 = 4;
    /// Stop before the first user instruction and report it to the debugger.
    pub const DEBUG_STOP: u32 = 8;
    /// The machine may be frozen: the program finds /dev/spore.
    pub const FREEZABLE: u32 = 16;
    /// Count what the program uses ([`crate::hostcall::number::RECORD`]).
    pub const RECORD: u32 = 32;
}

/// What a standard stream is on the host.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Not open.
    Closed = 0,
    /// A pipe.
    Pipe = 1,
    /// A terminal.
    Terminal = 2,
    /// A regular file.
    File = 3,
    /// A socket.
    Socket = 4,
    /// A character device that is no terminal, such as /dev/null.
    Device = 5,
}

/// One image layer, mapped read-only in guest-physical memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LayerRecord {
    /// Guest-physical address of the EROFS image.
    pub gpa: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// One mapping of the program that exists at the first instruction.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VmaRecord {
    /// First address.
    pub start: u64,
    /// End, exclusive; both are multiples of 4096.
    pub end: u64,
    /// PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4.
    pub prot: u32,
    /// Zero.
    pub reserved: u32,
    /// Offset in the file it shows, for /proc/self/maps.
    pub file_offset: u64,
    /// Path of that file; empty for anonymous memory (bss).
    pub path: Span,
}

/// A small file placed over the layers (resolv.conf, hosts, hostname).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FileRecord {
    /// Absolute path (no NUL).
    pub path: Span,
    /// Its bytes.
    pub data: Span,
    /// Permission bits.
    pub mode: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(core::mem::size_of::<BootInfo>() <= 4096);
