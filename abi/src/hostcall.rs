//! Synchronous host calls: the kernel fills the block and stores to the
//! doorbell; the monitor answers in `result` before the guest goes on.

/// At [`crate::layout::HOSTCALL_GPA`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HostCall {
    /// One of [`number`].
    pub number: u64,
    /// Arguments; guest-physical addresses where memory is meant.
    pub args: [u64; 6],
    /// Answer: a value, or a negated errno.
    pub result: i64,
}

/// Host-call numbers.
pub mod number {
    /// The program ended. args: 0 = exit code, 1 = signal that ended it or 0,
    /// 2 = GPA of a [`super::CrashRecord`] or 0. Does not return.
    pub const EXIT: u64 = 1;
    /// Nothing can run. args: 0 = CLOCK_MONOTONIC deadline in ns, `u64::MAX` for
    /// none, 0 to serve the rings once without waiting; 1 = [`crate::net::STARVED`]
    /// or 0. Returns when the rings
    /// have news, the deadline has passed or attention is wanted.
    pub const IDLE: u64 = 2;
    /// The kernel cannot go on (a bug of ours). args: 0 = GPA of a message, 1 = its length.
    pub const PANIC: u64 = 3;
    /// ioctl on a standard stream (terminal). args: 0 = stream (0..2), 1 = request,
    /// 2 = GPA of the argument (at most 256 bytes). Only the terminal requests that
    /// the monitor lists are carried out.
    pub const TERMINAL_IOCTL: u64 = 4;
    /// The program stopped for the debugger: at its first instruction if
    /// [`crate::boot::option::DEBUG_STOP`] is set, at [`crate::vcpu::attention::DEBUG`],
    /// after a step (TF) or a breakpoint (rip behind the int3), and before a signal
    /// with a fault is delivered. args: 0 = signal (SIGTRAP except for faults),
    /// 1 = GPA of a [`super::DebugRegisters`]. The monitor may change the registers;
    /// the kernel continues with them. Answer: the signal that the program gets, or 0.
    pub const DEBUG_STOP: u64 = 5;
    /// The guest is at rest, as [`crate::vcpu::attention::FREEZE`] asked for. args:
    /// 0 = GPA of a buffer, 1 = its length ([`crate::restore`]). Answer: 0 in this
    /// machine, the generation in a machine made from a copy of it. With 1 = 0 there is
    /// no copy to take; 2 = one of [`super::refused`].
    pub const FROZEN: u64 = 6;
    /// The program says something about itself. args: 0 = one of [`super::note`], 1 = its value.
    pub const NOTE: u64 = 7;
    /// What the program uses is counted from now on. args: 0 = GPA of a
    /// [`super::UseRecord`], which the monitor reads when the run ends.
    pub const RECORD: u64 = 8;
    /// More of the guest's memory is wanted. args: 0 = how much there has to be in all,
    /// in bytes, a multiple of 2 MiB ([`crate::boot::BootInfo::ram_present`]). Answer: 0,
    /// or -ENOMEM. Memory that was never asked for costs the host no tables.
    pub const GROW: u64 = 9;
    /// First number that belongs to sockets ([`crate::net`]).
    pub const NET_FIRST: u64 = 64;
}

/// Why there is no copy, see [`number::FROZEN`].
pub mod refused {
    /// The program holds the machine awake.
    pub const HELD: u64 = 0;
    /// This kernel was linked without the piece that freezes.
    pub const ABSENT: u64 = 1;
}

/// What [`number::NOTE`] may say.
pub mod note {
    /// The program is ready: warm enough to be frozen. Value: 0.
    pub const READY: u64 = 1;
    /// Value: how many times the program holds the machine awake.
    pub const HOLDS: u64 = 2;
}

/// What is known about the program's crash; the monitor prints it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CrashRecord {
    /// Signal number.
    pub signal: u32,
    /// si_code.
    pub code: i32,
    /// Fault address (si_addr).
    pub address: u64,
    /// Registers at the fault.
    pub registers: DebugRegisters,
    /// Thread id.
    pub tid: u32,
    /// Number of valid entries in `calls`.
    pub call_count: u32,
    /// The last system calls, newest last.
    pub calls: [CallRecord; 16],
    /// Number of valid entries in `modules`.
    pub module_count: u32,
    /// Number of valid entries in `stack`.
    pub stack_count: u32,
    /// File-backed executable mappings.
    pub modules: [ModuleRecord; 32],
    /// Return addresses found by following frame pointers, innermost first.
    pub stack: [u64; 16],
}

/// What the program used.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UseRecord {
    /// Calls by number; the last entry counts all numbers above.
    pub calls: [u64; 512],
    /// Bit n: it asked for a socket of family n.
    pub families: u64,
    /// 1 if there was no room for another name.
    pub files_full: u64,
    /// Number of valid bytes in `files`.
    pub files_len: u64,
    /// Names below /proc, /sys and /dev that it gave to calls, each ended by a NUL.
    pub files: [u8; 8192],
}

impl UseRecord {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        calls: [0; 512],
        families: 0,
        files_full: 0,
        files_len: 0,
        files: [0; 8192],
    };
}

/// One finished or interrupted system call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CallRecord {
    /// System-call number.
    pub number: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// Result, or a negated errno.
    pub result: i64,
    /// Thread that made it.
    pub tid: u32,
    /// 1 if it has not returned.
    pub unfinished: u32,
}

/// One executable mapping.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ModuleRecord {
    /// First address.
    pub start: u64,
    /// End, exclusive.
    pub end: u64,
    /// Offset in the file.
    pub file_offset: u64,
    /// Path, NUL-padded, cut if longer.
    pub path: [u8; 104],
}

/// User registers in the order of gdb's amd64 core set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DebugRegisters {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 to r15.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// FS base.
    pub fs_base: u64,
    /// Thread id.
    pub tid: u64,
}
