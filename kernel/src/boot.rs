//! From the boot record to the first instruction of the program.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_abi::boot::{BootInfo, FileRecord, LayerRecord, Span, VmaRecord};
use spore_abi::layout::{PAGE, SPARSE_END};
use spore_hal::paging::{self, Mapping};
use spore_hal::trap::{self, TrapFrame, USER_CS, USER_SS};
use spore_hal::{Hook, Lock, direct};

use crate::mm::AddressSpace;
use crate::mm::frames;
use crate::mm::user::{self, UserAddr};
use crate::mm::vma::{Backing, Content, Vma, prot};
use crate::process::{APP_PID, Process};
use crate::sched;

/// Size of the main thread's stack.
pub const STACK_SIZE: u64 = 8 << 20;
/// Part of the stack that is there from the start.
const STACK_READY: u64 = 128 << 10;
/// End of the main stack; a gap lies above it.
pub const STACK_TOP: u64 = SPARSE_END - (16 << 20);

static AUXILIARY: Lock<Vec<u8>> = Lock::new(Vec::new());

/// The auxiliary vector as the program got it, for /proc/self/auxv.
pub fn auxiliary_vector() -> Vec<u8> {
    AUXILIARY.lock().clone()
}

static STARTED: AtomicU64 = AtomicU64::new(0);

/// CLOCK_MONOTONIC at boot, ns.
pub fn started() -> u64 {
    STARTED.load(Ordering::Relaxed)
}

static ID: Lock<[u8; 16]> = Lock::new([0; 16]);

/// Sixteen random bytes that name this life of the machine.
pub fn id() -> [u8; 16] {
    *ID.lock()
}

/// Names another life of the machine.
pub fn set_id(id: [u8; 16]) {
    *ID.lock() = id;
}

/// The bytes of a span of the launch data; empty if it lies outside.
pub fn bytes(span: Span) -> &'static [u8] {
    let start = span.offset as usize;
    direct::launch_blob()
        .get(start..start + span.len as usize)
        .unwrap_or(&[])
}

/// Told of a new host name: files say it too.
pub static RENAMED: Hook<fn(&str)> = Hook::new();
/// The host name of a restored machine.
static HOSTNAME: Lock<Option<Vec<u8>>> = Lock::new(None);

/// Host name.
pub fn hostname() -> Vec<u8> {
    let given = HOSTNAME.lock().clone();
    given.unwrap_or_else(|| bytes(direct::boot_info().hostname).to_vec())
}

/// Gives the machine another name.
pub fn set_hostname(name: Vec<u8>) {
    if let Some(renamed) = RENAMED.get() {
        renamed(&String::from_utf8_lossy(&name));
    }
    *HOSTNAME.lock() = Some(name);
}

/// Absolute path of the program.
pub fn exec_path() -> &'static [u8] {
    bytes(direct::boot_info().exec_path)
}

/// NUL-ended strings, one after another.
pub fn strings(span: Span) -> impl Iterator<Item = &'static [u8]> {
    let text = bytes(span);
    text.split_inclusive(|byte| *byte == 0)
}

macro_rules! records {
    ($name:ident, $type:ty) => {
        /// Copies of the records in a span.
        pub fn $name(span: Span) -> Vec<$type> {
            direct::records::<$type>(span.offset, span.len)
        }
    };
}

records!(layer_records, LayerRecord);
records!(vma_records, VmaRecord);
records!(file_records, FileRecord);

fn map_program(info: &BootInfo, space: &mut AddressSpace) {
    for record in vma_records(info.vmas) {
        let path = String::from_utf8_lossy(bytes(record.path)).into_owned();
        let content = if path.is_empty() {
            Content::Anonymous
        } else {
            Content::Program {
                path: Arc::from(path.as_str()),
                offset: record.file_offset,
            }
        };
        // String literals and code of the program itself fault when written, as on Linux.
        if record.prot & prot::WRITE == 0 && bytes(record.path) == exec_path() {
            protect_segment(record.start, record.end);
        }
        space.vmas.insert(Vma {
            start: record.start,
            end: record.end,
            prot: record.prot,
            backing: Backing::Static,
            content,
            shared: false,
            exact: false,
            scanty: false,
        });
    }
    space.brk_start = info.brk_start;
    space.brk = info.brk_start;
    // The arena's addresses below the first free frame belong to nobody.
    let vdso = trap::vdso_address();
    space.vmas.insert(Vma {
        start: vdso,
        end: vdso + PAGE,
        prot: prot::READ | prot::EXEC,
        backing: Backing::Static,
        content: Content::Named("[vdso]"),
        shared: false,
        exact: false,
        scanty: false,
    });
}

/// Takes the right to write from the pages of a segment. Frames that the image shares
/// are read-only already; private ones, which hold data too, fall apart into pages.
fn protect_segment(start: u64, end: u64) {
    for va in (start..end).step_by(PAGE as usize) {
        if let Mapping::Huge { writable: true, .. } = paging::lookup(va)
            && paging::split(va, &mut frames::table_page).is_err()
        {
            return;
        }
        paging::set_writable(va, false);
    }
}

fn map_stack(space: &mut AddressSpace) {
    space.vmas.insert(Vma {
        start: STACK_TOP - STACK_SIZE,
        end: STACK_TOP,
        prot: prot::READ | prot::WRITE,
        backing: Backing::Sparse,
        content: Content::Named("[stack]"),
        shared: false,
        exact: true,
        scanty: true,
    });
    space.populate_range(STACK_TOP - STACK_READY, STACK_TOP);
}

/// Auxiliary vector (`linux/auxvec.h`, `asm/auxvec.h`).
fn auxiliary(info: &BootInfo, platform: u64, random: u64, exec_name: u64) -> Vec<[u64; 2]> {
    let (_, _, _, capabilities) = spore_hal::cpu::cpuid(1, 0);
    alloc::vec![
        [33, trap::vdso_address()],
        [16, u64::from(capabilities)],
        [6, PAGE],
        [17, 100],
        [3, info.phdr],
        [4, 56],
        [5, info.phnum],
        [7, info.interp_base],
        [8, 0],
        [9, info.entry],
        [11, u64::from(info.uid)],
        [12, u64::from(info.uid)],
        [13, u64::from(info.gid)],
        [14, u64::from(info.gid)],
        [23, 0],
        [25, random],
        [26, 2],
        [31, exec_name],
        [15, platform],
        [51, 3632],
        [0, 0],
    ]
}

struct StackBuilder {
    at: u64,
}

impl StackBuilder {
    fn push(&mut self, bytes: &[u8], align: u64) -> u64 {
        self.at = (self.at - bytes.len() as u64) & !(align - 1);
        if user::write_bytes(UserAddr::new(self.at), bytes).is_err() {
            fail("the initial stack cannot be written");
        }
        self.at
    }
    /// The first lies lowest and each begins where the one before ends: programs write
    /// their title over them (setproctitle, `process.title`).
    fn push_strings(&mut self, span: Span) -> Vec<u64> {
        let texts: Vec<_> = strings(span).collect();
        let pushed = texts.into_iter().rev().map(|text| self.push(text, 1));
        let mut places: Vec<u64> = pushed.collect();
        places.reverse();
        places
    }
}

/// Builds the initial stack (System V ABI, 3.4.1); answers the stack pointer.
fn build_stack(info: &BootInfo) -> u64 {
    let mut stack = StackBuilder { at: STACK_TOP - 16 };
    let mut path = exec_path().to_vec();
    path.push(0);
    let exec_name = stack.push(&path, 1);
    let environment = stack.push_strings(info.envp);
    let arguments = stack.push_strings(info.argv);
    let platform = stack.push(b"x86_64\0", 16);
    let mut seed = [0; 16];
    crate::random::fill(&mut seed);
    let random = stack.push(&seed, 16);
    let mut words: Vec<u64> = Vec::new();
    words.push(arguments.len() as u64);
    words.extend(&arguments);
    words.push(0);
    words.extend(&environment);
    words.push(0);
    let vector: Vec<u64> = auxiliary(info, platform, random, exec_name)
        .into_iter()
        .flatten()
        .collect();
    *AUXILIARY.lock() = vector.iter().flat_map(|word| word.to_le_bytes()).collect();
    words.extend(&vector);
    if words.len() % 2 == 1 {
        stack.at -= 8;
    }
    stack.at &= !15;
    if words.len() % 2 == 1 {
        stack.at -= 8;
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let top = stack.push(&bytes, 8);
    if !top.is_multiple_of(16) {
        fail("the initial stack is not aligned");
    }
    top
}

fn fail(reason: &str) -> ! {
    crate::panic::fatal(reason)
}

/// The kernel's main function.
pub fn start() -> ! {
    let info = direct::boot_info();
    if info.magic != spore_abi::boot::BOOT_MAGIC || info.abi_version != spore_abi::ABI_VERSION {
        fail("the boot record is of another version");
    }
    direct::set_ram_size(info.ram_size);
    trap::initialise();
    spore_hal::cpu::use_answers();
    crate::random::seed(&info.seed);
    // The frame allocator's own tables need a heap before there are frames.
    let tables = info.ram_size / PAGE / 2 + (512 << 10);
    let free = spore_hal::heap::add_first(info.free_start, tables);
    frames::initialise(free, info.ram_present, info.ram_size, info.pt_next);
    spore_hal::heap::set_frame_source(frames::heap_blocks);
    sched::initialise();
    let mut id = [0; 16];
    crate::random::fill(&mut id);
    set_id(id);
    STARTED.store(spore_hal::time::monotonic(), Ordering::Relaxed);
    crate::net::initialise(&info);
    for service in crate::pieces::services() {
        service(&info);
    }
    let context = crate::fs::first_context(&info);
    let mut space = AddressSpace::new();
    map_program(&info, &mut space);
    map_stack(&mut space);
    let process = Process::new(space, context);
    let thread = sched::create(APP_PID, process);
    process.threads.lock().push(thread);
    sched::adopt(thread);
    name_thread(thread);
    crate::net::stream::open_standard(&info, process);
    let rsp = build_stack(&info);
    let mut frame = TrapFrame {
        rip: info.start_rip,
        cs: USER_CS,
        ss: USER_SS,
        rflags: 0x202,
        rsp,
        ..TrapFrame::default()
    };
    thread.saved.lock().extended.load(sched::components());
    if let Some(debugger) = crate::debug::debugger() {
        debugger.begin(&mut frame);
    }
    sched::leave(&mut frame);
    trap::enter_user(&frame)
}

fn name_thread(thread: &'static sched::thread::Thread) {
    let path = exec_path();
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let mut name = [0; 16];
    let len = base.len().min(15);
    name[..len].copy_from_slice(&base[..len]);
    *thread.name.lock() = name;
}
