//! The memory map, in address order. Mirrored in `docs/internals/memory-map.md`.
//!
//! "GPA" is a guest-physical, "VA" a guest-virtual address. Every window maps
//! with VA ≡ GPA ≡ host address (mod 2 MiB), so that all three levels can use
//! 2 MiB pages.

/// Size of a small page.
pub const PAGE: u64 = 4096;
/// Size of a large page; the unit in which windows are mapped.
pub const HUGE: u64 = 2 << 20;

// ---- guest-physical: the first 2 MiB frame holds all fixed structures ----

/// [`crate::boot::BootInfo`], one page.
pub const BOOT_GPA: u64 = 0x1000;
/// [`crate::vcpu::VcpuBlock`] of vCPU 0; one page, GS base points at it.
pub const VCPU_GPA: u64 = 0x2000;
/// [`crate::time::TimePage`], read by the vDSO.
pub const TIME_GPA: u64 = 0x3000;
/// [`crate::hostcall::HostCall`], the argument block of synchronous host calls.
pub const HOSTCALL_GPA: u64 = 0x4000;
/// Global descriptor table and TSS; supervisor pages, written by the monitor.
pub const GDT_GPA: u64 = 0x5000;
/// Interrupt descriptor table; supervisor page, written by the monitor.
pub const IDT_GPA: u64 = 0x6000;
/// Ring-0 stack of the gate: one user-accessible page, TSS.rsp0 points at its end.
/// The processor pushes the exception frame at its top; the gate adds error
/// code (if absent), rax, cr2 and the vector, so the CPL3 handler finds, from
/// `GATE_STACK_TOP` downwards: ss, rsp, rflags, cs, rip, error, rax, cr2, vector.
pub const GATE_STACK_GPA: u64 = 0x8000;
/// The constant `iretq` frame with which the gate enters the CPL3 exception
/// entry: rip, cs, rflags, rsp, ss.
pub const GATE_FRAME_GPA: u64 = 0x9000;
/// [`crate::cpuid::Table`]: what the CPUID instruction answers, one page.
pub const CPUID_GPA: u64 = 0xA000;
/// Top-level page table.
pub const PML4_GPA: u64 = 0x1_0000;
/// Pool from which the monitor builds page tables, then the kernel allocates.
pub const PT_POOL_GPA: u64 = 0x1_1000;
/// End of the page-table pool.
pub const PT_POOL_END: u64 = 0x10_0000;
/// Launch data: strings and records that [`crate::boot::BootInfo`] points into.
pub const BLOB_GPA: u64 = 0x10_0000;
/// End of the launch data.
pub const BLOB_END: u64 = 0x20_0000;
/// The kernel image: header page, text, rodata, data, bss, boot stack.
pub const KERNEL_GPA: u64 = 0x20_0000;
/// First address that the kernel image may not reach.
pub const KERNEL_END: u64 = 0x60_0000;
/// Header of the socket rings ([`crate::net`]); one 2 MiB frame.
pub const RINGS_GPA: u64 = 0x60_0000;
/// End of the ring header.
pub const RINGS_END: u64 = 0x80_0000;
/// First frame that is free for program segments (placed by the image builder,
/// upwards), then for the kernel's frame allocator.
pub const FREE_GPA: u64 = 0x80_0000;
/// Smallest guest memory that can boot.
pub const MIN_RAM: u64 = 24 << 20;
/// Largest guest memory.
pub const MAX_RAM: u64 = 32 << 30;

/// Doorbells: no memory slot lies here, so a store leaves the guest.
/// A 4-byte store here is a synchronous host call.
pub const DOORBELL_CALL_GPA: u64 = 0xF_0000_0000;
/// A 4-byte store here is an ioeventfd: it wakes the I/O thread.
pub const DOORBELL_KICK_GPA: u64 = 0xF_0000_1000;

/// First guest-physical address of image layers (read-only slots).
pub const LAYERS_GPA: u64 = 0x10_0000_0000;
/// End of the space for image layers.
pub const LAYERS_END: u64 = 0x18_0000_0000;

// ---- guest-virtual ----

/// Lowest address an application may map.
pub const USER_MIN: u64 = 0x1_0000;
/// Reservations and mappings that need exact pages are placed top-down from
/// `SPARSE_END` to `SPARSE_MIN`.
pub const SPARSE_MIN: u64 = 0x1000_0000_0000;
/// See [`SPARSE_MIN`].
pub const SPARSE_END: u64 = 0x7EFF_0000_0000;
/// Where position-independent programs are placed.
pub const PIE_BASE: u64 = 0x5555_5540_0000;
/// Where the interpreter (ld.so) is placed.
pub const INTERP_BASE: u64 = 0x7EFF_8000_0000;
/// The arena: all RAM, linearly, with 2 MiB pages (VA = `ARENA_VA` + GPA).
pub const ARENA_VA: u64 = 0x7F00_0000_0000;
/// First address of the kernel window; applications own everything below.
pub const KERNEL_WINDOW: u64 = 0x7F80_0000_0000;
/// First address an application may never use; bound of every user pointer.
pub const USER_END: u64 = KERNEL_WINDOW;
/// The kernel image: its first byte is [`crate::boot::KernelHeader`].
pub const KERNEL_VA: u64 = KERNEL_WINDOW + KERNEL_GPA;
/// Constant address of the fast system-call entry that patched code jumps to:
/// rcx holds the return address, every other register is as for `syscall`.
pub const FAST_ENTRY_VA: u64 = KERNEL_VA + 0x100;
/// Constant address that patched code jumps to instead of executing `cpuid`:
/// eax and ecx say what is asked for, rdx holds the return address, rbx is lost.
pub const CPUID_ENTRY_VA: u64 = KERNEL_VA + 0x140;
/// Direct map: VA = `DIRECT_VA` + GPA, for RAM, layers and doorbells.
pub const DIRECT_VA: u64 = 0x7FA0_0000_0000;
/// Supervisor pages: gate code, GDT and TSS, IDT, in this order.
pub const GATE_VA: u64 = 0x7FF0_0000_0000;

// Mirrored in packages/patch/src/patch.ts.
const _: () = assert!(FAST_ENTRY_VA == 0x7F80_0020_0100);
const _: () = assert!(CPUID_ENTRY_VA == 0x7F80_0020_0140);
