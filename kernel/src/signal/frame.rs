//! The frame that a handler runs on (`asm/sigcontext.h`, `asm/ucontext.h`) and
//! the way back (rt_sigreturn(2)).

use spore_hal::trap::{TrapFrame, USER_CS, USER_SS};
use spore_hal::xstate::{AREA_SIZE, ExtendedState};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::Result;
use crate::mm::user::{self, UserAddr};
use crate::sched::{self, thread::Thread};
use crate::signal::{Action, AltStack, SigInfo, UNBLOCKABLE, flag};

/// `struct rt_sigframe` without the floating-point state, which lies above.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SignalFrame {
    restorer: u64,
    uc_flags: u64,
    uc_link: u64,
    stack_base: u64,
    stack_flags: u64,
    stack_size: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    /// cs, gs, fs, ss as 16-bit fields.
    segments: u64,
    error: u64,
    trap: u64,
    old_mask: u64,
    cr2: u64,
    extended: u64,
    reserved: [u64; 8],
    mask: u64,
    info: [u64; 16],
}

/// uc_flags: extended state present, ss valid, strict restore of ss.
const UC_FLAGS: u64 = 1 | 2 | 4;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// Offset of `struct _fpx_sw_bytes` inside the legacy area.
const SOFTWARE_BYTES: usize = 464;
/// RFLAGS that a program may set: the arithmetic flags, DF, TF, AC, ID.
const FLAGS: u64 = 0x24_0dd5;
const RED_ZONE: u64 = 128;

fn on_alt_stack(alt: &AltStack, rsp: u64) -> bool {
    alt.size != 0 && rsp > alt.base && rsp - alt.base <= alt.size
}

/// Bytes of extended state in a frame (without MAGIC2).
fn area_len() -> usize {
    AREA_SIZE.min(2688)
}

/// Error code and vector of the last exception, for the context.
fn exception_of(info: &SigInfo) -> (u64, u64, u64) {
    let address = info.value0;
    match info.signal {
        super::number::SEGV | super::number::BUS
            if info.code > 0 && info.code != super::code::KERNEL =>
        {
            (u64::from(info.errno as u32), 14, address)
        }
        super::number::SEGV => (0, 13, 0),
        super::number::ILL => (0, 6, 0),
        super::number::FPE => (0, 0, 0),
        super::number::TRAP => (0, 3, 0),
        _ => (0, 0, 0),
    }
}

/// Builds the frame and points the registers at the handler. EFAULT if the stack
/// cannot be written.
pub fn push(
    thread: &'static Thread,
    trap: &mut TrapFrame,
    info: &SigInfo,
    action: &Action,
) -> Result<()> {
    let (alt, mask) = {
        let mut signals = thread.signals.lock();
        // The mask to go back to is the one before a temporary mask.
        let mask = signals.saved_mask.take().unwrap_or(signals.mask);
        (signals.alt, mask)
    };
    let mut top = trap.rsp - RED_ZONE;
    if action.flags & flag::ONSTACK != 0 && alt.size != 0 && !on_alt_stack(&alt, trap.rsp) {
        top = alt.base + alt.size;
    }
    let len = area_len();
    let extended = (top - len as u64 - 4) & !63;
    let base = ((extended - size_of::<SignalFrame>() as u64) & !15) - 8;
    write_extended(thread, extended, len)?;
    let (error, vector, cr2) = exception_of(info);
    let mut siginfo = [0u64; 16];
    siginfo[0] = u64::from(info.signal) | (info.errno_field() << 32);
    siginfo[1] = info.code as u32 as u64;
    siginfo[2] = info.value0;
    siginfo[3] = info.value1;
    let frame = SignalFrame {
        restorer: action.restorer,
        uc_flags: UC_FLAGS,
        uc_link: 0,
        stack_base: alt.base,
        stack_flags: if alt.size == 0 {
            2
        } else {
            u64::from(on_alt_stack(&alt, trap.rsp))
        },
        stack_size: alt.size,
        r8: trap.r8,
        r9: trap.r9,
        r10: trap.r10,
        r11: trap.r11,
        r12: trap.r12,
        r13: trap.r13,
        r14: trap.r14,
        r15: trap.r15,
        rdi: trap.rdi,
        rsi: trap.rsi,
        rbp: trap.rbp,
        rbx: trap.rbx,
        rdx: trap.rdx,
        rax: trap.rax,
        rcx: trap.rcx,
        rsp: trap.rsp,
        rip: trap.rip,
        rflags: trap.rflags,
        segments: USER_CS | USER_SS << 48,
        error,
        trap: vector,
        old_mask: mask,
        cr2,
        extended,
        reserved: [0; 8],
        mask,
        info: siginfo,
    };
    user::write(UserAddr::new(base), &frame)?;
    trap.rdi = u64::from(info.signal);
    trap.rsi = base + core::mem::offset_of!(SignalFrame, info) as u64;
    trap.rdx = base + core::mem::offset_of!(SignalFrame, uc_flags) as u64;
    trap.rax = 0;
    trap.rip = action.handler;
    trap.rsp = base;
    trap.rflags &= !0x10500; // TF, DF and RF are clear in a handler.
    Ok(())
}

fn write_extended(thread: &'static Thread, at: u64, len: usize) -> Result<()> {
    let mut saved = thread.saved.lock();
    saved.extended.save(sched::components());
    let mut bytes = *saved.extended.bytes();
    drop(saved);
    let software: [u32; 6] = [
        MAGIC1,
        len as u32 + 4,
        sched::components() as u32,
        (sched::components() >> 32) as u32,
        len as u32,
        0,
    ];
    bytes[SOFTWARE_BYTES..SOFTWARE_BYTES + 24].copy_from_slice(software.as_bytes());
    user::write_bytes(UserAddr::new(at), &bytes[..len])?;
    user::write(UserAddr::new(at + len as u64), &MAGIC2)
}

/// rt_sigreturn: everything as it was before the handler. EFAULT for a bad frame.
pub fn pop(thread: &'static Thread, trap: &mut TrapFrame) -> Result<()> {
    // The handler's `ret` has popped the restorer's address.
    let frame: SignalFrame = user::read(UserAddr::new(trap.rsp.wrapping_sub(8)))?;
    if frame.extended != 0 {
        read_extended(thread, frame.extended)?;
    }
    *trap = TrapFrame {
        r15: frame.r15,
        r14: frame.r14,
        r13: frame.r13,
        r12: frame.r12,
        rbp: frame.rbp,
        rbx: frame.rbx,
        r11: frame.r11,
        r10: frame.r10,
        r9: frame.r9,
        r8: frame.r8,
        rax: frame.rax,
        rcx: frame.rcx,
        rdx: frame.rdx,
        rsi: frame.rsi,
        rdi: frame.rdi,
        orig: u64::MAX,
        rip: frame.rip,
        cs: USER_CS,
        rflags: frame.rflags & FLAGS | 0x202,
        rsp: frame.rsp,
        ss: USER_SS,
    };
    {
        let mut signals = thread.signals.lock();
        signals.mask = frame.mask & !UNBLOCKABLE;
        signals.alt = match frame.stack_flags & 2 {
            0 => AltStack {
                base: frame.stack_base,
                size: frame.stack_size,
                flags: 0,
            },
            _ => AltStack::default(),
        };
    }
    super::refresh(thread);
    Ok(())
}

fn read_extended(thread: &'static Thread, at: u64) -> Result<()> {
    let mut bytes = [0; AREA_SIZE];
    user::read_bytes(UserAddr::new(at), &mut bytes[..area_len()])?;
    let magic = u32::from_le_bytes([
        bytes[SOFTWARE_BYTES],
        bytes[SOFTWARE_BYTES + 1],
        bytes[SOFTWARE_BYTES + 2],
        bytes[SOFTWARE_BYTES + 3],
    ]);
    if magic != MAGIC1 {
        // Only the legacy area is meant.
        bytes[512..520].copy_from_slice(&3u64.to_le_bytes());
    }
    let mut state = ExtendedState::new();
    state.set_bytes(&bytes, sched::components());
    state.load(sched::components());
    let mut saved = thread.saved.lock();
    *saved.extended = state;
    Ok(())
}

impl SigInfo {
    /// si_errno: faults keep the processor's error code there inside the kernel only.
    fn errno_field(&self) -> u64 {
        if self.code > 0 && matches!(self.signal, super::number::SEGV | super::number::BUS) {
            0
        } else {
            u64::from(self.errno as u32)
        }
    }
}
