//! Signals: queues, masks, actions, and who gets what (signal(7)).

pub mod crash;
pub mod frame;
pub mod stub;

use alloc::collections::VecDeque;
use core::sync::atomic::Ordering;

use spore_hal::trap::TrapFrame;
use spore_hal::{Hook, host};

use crate::errno::{Errno, Result};
use crate::process::Process;
use crate::sched::notify::Notifier;
use crate::sched::{self, thread::Thread};

/// Signal numbers of x86-64.
pub mod number {
    #![allow(missing_docs, reason = "named and documented as in signal(7)")]
    pub const HUP: u32 = 1;
    pub const INT: u32 = 2;
    pub const QUIT: u32 = 3;
    pub const ILL: u32 = 4;
    pub const TRAP: u32 = 5;
    pub const ABRT: u32 = 6;
    pub const BUS: u32 = 7;
    pub const FPE: u32 = 8;
    pub const KILL: u32 = 9;
    pub const USR1: u32 = 10;
    pub const SEGV: u32 = 11;
    pub const USR2: u32 = 12;
    pub const PIPE: u32 = 13;
    pub const ALRM: u32 = 14;
    pub const TERM: u32 = 15;
    pub const CHLD: u32 = 17;
    pub const CONT: u32 = 18;
    pub const STOP: u32 = 19;
    pub const TSTP: u32 = 20;
    pub const TTIN: u32 = 21;
    pub const TTOU: u32 = 22;
    pub const URG: u32 = 23;
    pub const XCPU: u32 = 24;
    pub const XFSZ: u32 = 25;
    pub const VTALRM: u32 = 26;
    pub const PROF: u32 = 27;
    pub const WINCH: u32 = 28;
    pub const IO: u32 = 29;
    pub const SYS: u32 = 31;
    pub const MAX: u32 = 64;
}

/// A set of signals; bit n-1 is signal n.
pub type Set = u64;

/// The bit of one signal.
pub const fn bit(signal: u32) -> Set {
    1 << (signal - 1)
}

/// SIGKILL and SIGSTOP can be neither blocked nor handled.
pub const UNBLOCKABLE: Set = bit(number::KILL) | bit(number::STOP);

/// What a signal carries (the parts of `siginfo_t` that are used).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigInfo {
    /// Signal number.
    pub signal: u32,
    /// si_code.
    pub code: i32,
    /// si_pid and si_uid, or si_addr, or timer id and overrun: bytes 16..24.
    pub value0: u64,
    /// si_value and what follows: bytes 24..32.
    pub value1: u64,
    /// si_errno.
    pub errno: i32,
}

/// si_code values (`asm-generic/siginfo.h`).
pub mod code {
    #![allow(missing_docs, reason = "named and documented as in sigaction(2)")]
    pub const USER: i32 = 0;
    pub const KERNEL: i32 = 0x80;
    pub const QUEUE: i32 = -1;
    pub const TIMER: i32 = -2;
    pub const TKILL: i32 = -6;
    pub const SEGV_MAPERR: i32 = 1;
    pub const SEGV_ACCERR: i32 = 2;
    pub const BUS_ADRALN: i32 = 1;
    pub const BUS_ADRERR: i32 = 2;
    pub const FPE_INTDIV: i32 = 1;
    pub const FPE_FLTINV: i32 = 7;
    pub const ILL_ILLOPN: i32 = 2;
    pub const TRAP_BRKPT: i32 = 1;
    pub const TRAP_TRACE: i32 = 2;
}

impl SigInfo {
    /// A signal from the kernel or by kill-like calls of `pid`.
    pub fn from_process(signal: u32, code: i32, pid: i32) -> Self {
        Self {
            signal,
            code,
            value0: pid as u32 as u64,
            value1: 0,
            errno: 0,
        }
    }
    /// A fault at `address`.
    pub fn fault(signal: u32, code: i32, address: u64) -> Self {
        Self {
            signal,
            code,
            value0: address,
            value1: 0,
            errno: 0,
        }
    }
}

/// `struct sigaction` as rt_sigaction passes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// 0 SIG_DFL, 1 SIG_IGN, or the handler.
    pub handler: u64,
    /// SA_* flags.
    pub flags: u64,
    /// SA_RESTORER's function.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: Set,
}

/// sa_flags (`asm/signal.h`).
pub mod flag {
    #![allow(missing_docs, reason = "named and documented as in sigaction(2)")]
    pub const NOCLDSTOP: u64 = 1;
    pub const SIGINFO: u64 = 4;
    pub const RESTORER: u64 = 0x0400_0000;
    pub const ONSTACK: u64 = 0x0800_0000;
    pub const RESTART: u64 = 0x1000_0000;
    pub const NODEFER: u64 = 0x4000_0000;
    pub const RESETHAND: u64 = 0x8000_0000;
}

/// Pending signals of a thread or of the process.
#[derive(Default)]
pub struct Queue {
    set: Set,
    entries: VecDeque<SigInfo>,
}

/// First real-time signal: these queue, others do not.
const FIRST_REALTIME: u32 = 32;
/// Most queued signals (RLIMIT_SIGPENDING).
const MAX_QUEUED: usize = 4096;

impl Queue {
    const fn new() -> Self {
        Self {
            set: 0,
            entries: VecDeque::new(),
        }
    }
    fn push(&mut self, info: SigInfo) -> bool {
        if info.signal < FIRST_REALTIME && self.set & bit(info.signal) != 0 {
            return true;
        }
        if self.entries.len() >= MAX_QUEUED {
            return false;
        }
        self.set |= bit(info.signal);
        self.entries.push_back(info);
        true
    }
    /// Takes the first pending signal of `wanted`; faults first, then by number.
    fn take(&mut self, wanted: Set) -> Option<SigInfo> {
        const SYNCHRONOUS: Set = bit(number::SEGV)
            | bit(number::BUS)
            | bit(number::ILL)
            | bit(number::TRAP)
            | bit(number::FPE)
            | bit(number::SYS);
        let ready = self.set & wanted;
        if ready == 0 {
            return None;
        }
        let choice = if ready & SYNCHRONOUS != 0 {
            ready & SYNCHRONOUS
        } else {
            ready
        };
        let signal = choice.trailing_zeros() + 1;
        let position = self.entries.iter().position(|info| info.signal == signal)?;
        let info = self.entries.remove(position)?;
        if !self.entries.iter().any(|other| other.signal == signal) {
            self.set &= !bit(signal);
        }
        Some(info)
    }
    fn discard(&mut self, signals: Set) {
        self.set &= !signals;
        self.entries.retain(|info| bit(info.signal) & signals == 0);
    }
}

/// Alternate signal stack (sigaltstack(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// Bytes; 0: disabled.
    pub size: u64,
    /// SS_AUTODISARM and the like.
    pub flags: u32,
}

/// Signal state of one thread.
pub struct ThreadSignals {
    /// Blocked signals.
    pub mask: Set,
    /// Mask to restore after the handler (sigsuspend, ppoll, epoll_pwait).
    pub saved_mask: Option<Set>,
    /// Signals for this thread alone.
    pub queue: Queue,
    /// Alternate stack.
    pub alt: AltStack,
}

impl ThreadSignals {
    /// Nothing blocked, nothing pending.
    pub const fn new() -> Self {
        Self {
            mask: 0,
            saved_mask: None,
            queue: Queue::new(),
            alt: AltStack {
                base: 0,
                size: 0,
                flags: 0,
            },
        }
    }
}

impl Default for ThreadSignals {
    fn default() -> Self {
        Self::new()
    }
}

/// Signal state of the process.
pub struct ProcessSignals {
    /// Actions; index = signal - 1.
    pub actions: [Action; 64],
    /// Signals that any thread may take.
    pub queue: Queue,
}

impl ProcessSignals {
    /// All default.
    pub const fn new() -> Self {
        const DEFAULT: Action = Action {
            handler: 0,
            flags: 0,
            restorer: 0,
            mask: 0,
        };
        Self {
            actions: [DEFAULT; 64],
            queue: Queue::new(),
        }
    }
}

impl Default for ProcessSignals {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens to a signal without a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Default_ {
    End,
    Crash,
    Ignore,
    Stop,
}

fn default_of(signal: u32) -> Default_ {
    match signal {
        number::CHLD | number::URG | number::WINCH | number::CONT => Default_::Ignore,
        number::STOP | number::TSTP | number::TTIN | number::TTOU => Default_::Stop,
        number::QUIT
        | number::ILL
        | number::TRAP
        | number::ABRT
        | number::BUS
        | number::FPE
        | number::SEGV
        | number::SYS
        | number::XCPU
        | number::XFSZ => Default_::Crash,
        _ => Default_::End,
    }
}

static PENDING: Notifier = Notifier::new();

/// Told whenever a signal becomes pending (signalfd).
pub fn pending_notifier() -> &'static Notifier {
    &PENDING
}

/// Recomputes whether `thread` has something to handle. Call after any change of
/// its mask or queues.
pub fn refresh(thread: &'static Thread) {
    let process = thread.process();
    let shared = process.signals.lock().queue.set;
    let signals = thread.signals.lock();
    let ready = (signals.queue.set | shared) & !(signals.mask & !UNBLOCKABLE) != 0;
    thread.signal_ready.store(ready, Ordering::Relaxed);
}

fn is_ignored(process: &Process, signal: u32) -> bool {
    let action = process.signals.lock().actions[signal as usize - 1];
    action.handler == 1 || action.handler == 0 && default_of(signal) == Default_::Ignore
}

/// Sends to one thread. Ignored signals vanish unless they are blocked.
pub fn send_to_thread(thread: &'static Thread, info: SigInfo) {
    let process = thread.process();
    let blocked = thread.signals.lock().mask & bit(info.signal) != 0;
    if !blocked && is_ignored(process, info.signal) {
        return;
    }
    thread.signals.lock().queue.push(info);
    refresh(thread);
    if thread.interrupted() {
        sched::make_runnable(thread);
    }
    PENDING.notify(crate::fs::file::events::IN);
}

/// Sends to the process: some thread that does not block it takes it.
pub fn send_to_process(process: &Process, info: SigInfo) {
    let threads = process.threads.lock().clone();
    let open = threads
        .iter()
        .copied()
        .find(|thread| thread.signals.lock().mask & bit(info.signal) == 0);
    if open.is_some() && is_ignored(process, info.signal) {
        return;
    }
    process.signals.lock().queue.push(info);
    for thread in &threads {
        refresh(thread);
    }
    // One thread is enough: prefer the first (main) one, as Linux does.
    if let Some(thread) = open {
        sched::make_runnable(thread);
    }
    PENDING.notify(crate::fs::file::events::IN);
}

/// Sends a signal of the kernel to the current thread (SIGPIPE).
pub fn send_to_current(signal: u32) {
    let thread = sched::current();
    send_to_thread(
        thread,
        SigInfo::from_process(signal, code::USER, thread.process().pid()),
    );
}

/// A fault of the current thread: cannot be blocked or ignored.
pub fn send_fault(thread: &'static Thread, info: SigInfo) {
    let process = thread.process();
    {
        let mut shared = process.signals.lock();
        let action = &mut shared.actions[info.signal as usize - 1];
        let mut signals = thread.signals.lock();
        if signals.mask & bit(info.signal) != 0 || action.handler == 1 {
            *action = Action::default();
            signals.mask &= !bit(info.signal);
        }
        signals.queue.push(info);
    }
    refresh(thread);
}

/// Takes signals that the monitor passed on from the host.
pub fn take_host_signals() {
    let bits = host::vcpu().signals.swap(0, Ordering::SeqCst);
    let process = sched::current().process();
    for signal in 1..=number::MAX {
        if bits & bit(signal) != 0 {
            send_to_process(process, SigInfo::from_process(signal, code::USER, 0));
        }
    }
}

/// Takes a pending signal of `mask` for the current thread (sigtimedwait, signalfd).
pub fn take_pending(mask: Set) -> Option<SigInfo> {
    let thread = sched::current();
    let process = thread.process();
    let own = thread.signals.lock().queue.take(mask);
    let taken = own.or_else(|| process.signals.lock().queue.take(mask));
    refresh_all(process);
    taken
}

/// Signals pending for the current thread, blocked ones included (sigpending).
pub fn pending() -> Set {
    let thread = sched::current();
    let process = thread.process();
    let shared = process.signals.lock().queue.set;
    thread.signals.lock().queue.set | shared
}

/// Sets the mask of the current thread.
pub fn set_mask(mask: Set) {
    let thread = sched::current();
    thread.signals.lock().mask = mask & !UNBLOCKABLE;
    refresh(thread);
}

/// Sets a temporary mask until the call returns or a handler has run (ppoll and others).
pub fn set_temporary_mask(mask: Set) {
    let thread = sched::current();
    {
        let mut signals = thread.signals.lock();
        let old = signals.mask;
        signals.saved_mask.get_or_insert(old);
        signals.mask = mask & !UNBLOCKABLE;
    }
    refresh(thread);
}

/// Ends a temporary mask unless a signal is waiting to be handled under it.
pub fn restore_mask() {
    let thread = sched::current();
    if thread.interrupted() {
        return;
    }
    restore_saved(thread);
}

fn restore_saved(thread: &'static Thread) {
    {
        let mut signals = thread.signals.lock();
        if let Some(old) = signals.saved_mask.take() {
            signals.mask = old;
        }
    }
    refresh(thread);
}

fn refresh_all(process: &Process) {
    let threads = process.threads.lock().clone();
    for thread in threads {
        refresh(thread);
    }
}

/// Builds the frame of a handler and points the registers at it. EFAULT.
type HandlerEntry = fn(&'static Thread, &mut TrapFrame, &SigInfo, &Action) -> Result<()>;

/// Set with the first handler, so that programs without any do without the code.
static HANDLER_ENTRY: Hook<HandlerEntry> = Hook::new();

fn enter_handler(
    thread: &'static Thread,
    trap: &mut TrapFrame,
    info: &SigInfo,
    action: &Action,
) -> Result<()> {
    HANDLER_ENTRY.get().ok_or(Errno::EFAULT)?(thread, trap, info, action)
}

/// Changes an action; pending signals that become ignored are dropped.
pub fn set_action(process: &Process, signal: u32, action: Action) -> Action {
    HANDLER_ENTRY.set(frame::push);
    let old = core::mem::replace(
        &mut process.signals.lock().actions[signal as usize - 1],
        action,
    );
    if is_ignored(process, signal) {
        process.signals.lock().queue.discard(bit(signal));
        let threads = process.threads.lock().clone();
        for thread in threads {
            thread.signals.lock().queue.discard(bit(signal));
            refresh(thread);
        }
    }
    old
}

/// Delivers the next signal to `thread`, which is current and loaded. Answers
/// false if the thread cannot go on (it ended).
pub fn deliver(thread: &'static Thread, trap: &mut TrapFrame) -> bool {
    let process = thread.process();
    let mask = thread.signals.lock().mask & !UNBLOCKABLE;
    let own = thread.signals.lock().queue.take(!mask);
    let Some(info) = own.or_else(|| process.signals.lock().queue.take(!mask)) else {
        restore_saved(thread);
        crate::syscall::restart_without_handler(thread, trap);
        refresh(thread);
        return true;
    };
    refresh_all(process);
    let action = {
        let mut shared = process.signals.lock();
        let slot = &mut shared.actions[info.signal as usize - 1];
        let action = *slot;
        if action.flags & flag::RESETHAND != 0 && action.handler > 1 {
            slot.handler = 0;
        }
        action
    };
    match action.handler {
        1 => after_ignored(thread, trap),
        0 => match default_of(info.signal) {
            // There is no job control to continue a stopped process.
            Default_::Ignore | Default_::Stop if info.signal != number::STOP => {
                after_ignored(thread, trap)
            }
            Default_::Crash => crash::end_with_report(thread, trap, &info),
            _ => crate::syscall::process::end_by_signal(info.signal),
        },
        _ => {
            crate::syscall::restart_with_handler(thread, trap, action.flags & flag::RESTART != 0);
            if enter_handler(thread, trap, &info, &action).is_err() {
                crash::end_with_report(
                    thread,
                    trap,
                    &SigInfo::fault(number::SEGV, code::SEGV_MAPERR, trap.rsp),
                );
            }
            let mut signals = thread.signals.lock();
            signals.mask |= action.mask & !UNBLOCKABLE;
            if action.flags & flag::NODEFER == 0 {
                signals.mask |= bit(info.signal);
            }
            drop(signals);
            refresh(thread);
            true
        }
    }
}

fn after_ignored(thread: &'static Thread, trap: &mut TrapFrame) -> bool {
    refresh(thread);
    if !thread.interrupted() {
        restore_saved(thread);
        crate::syscall::restart_without_handler(thread, trap);
    }
    true
}
