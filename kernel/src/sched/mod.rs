//! The scheduler: one processor, threads as data.
//!
//! At most one thread is *loaded*: its registers are in the trap frame on the
//! kernel stack and its vector state in the processor. It stays loaded while
//! it waits, until another thread is to run.

pub mod block;
pub mod cpu_timers;
pub mod futex;
pub mod notify;
pub mod thread;
pub mod timers;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};

use spore_abi::hostcall::refused;
use spore_abi::vcpu::attention;
use spore_hal::trap::TrapFrame;
use spore_hal::{Hook, Lock, cpu, host, xstate};

use crate::debug::debugger;
use crate::errno::Result;
use crate::process::Process;
use crate::sched::block::BlockedCall;
use crate::sched::thread::{State, Thread};

struct Scheduler {
    queue: VecDeque<&'static Thread>,
    current: Option<&'static Thread>,
    loaded: Option<&'static Thread>,
    free: Vec<&'static Thread>,
}

static SCHEDULER: Lock<Scheduler> = Lock::new(Scheduler {
    queue: VecDeque::new(),
    current: None,
    loaded: None,
    free: Vec::new(),
});
/// Comes to rest for a snapshot, if the kernel was linked with that.
pub static FREEZE: Hook<fn()> = Hook::new();
/// It has to be called once no thread can run.
pub static REST_WANTED: AtomicBool = AtomicBool::new(false);
/// XSAVE components, found once.
static COMPONENTS: AtomicU64 = AtomicU64::new(0);

/// The thread on whose behalf the kernel works.
#[inline]
pub fn current() -> &'static Thread {
    match SCHEDULER.lock().current {
        Some(thread) => thread,
        None => panic!("no current thread"),
    }
}

/// The mask of vector state that is saved.
pub fn components() -> u64 {
    COMPONENTS.load(Ordering::Relaxed)
}

/// Prepares the scheduler; called once at boot.
pub fn initialise() {
    COMPONENTS.store(xstate::supported(), Ordering::Relaxed);
}

/// A fresh thread object with id `tid`; blocked until [`Thread::wake`] or [`start`].
pub fn create(tid: i32, process: &'static Arc<Process>) -> &'static Thread {
    let reused = SCHEDULER.lock().free.pop();
    let thread: &'static Thread = match reused {
        Some(thread) => thread,
        None => alloc::boxed::Box::leak(alloc::boxed::Box::new(Thread::new())),
    };
    thread.begin(tid, process);
    thread
}

/// Makes the first thread the current, loaded one.
pub fn adopt(thread: &'static Thread) {
    *thread.state.lock() = State::Runnable;
    let mut scheduler = SCHEDULER.lock();
    scheduler.current = Some(thread);
    scheduler.loaded = Some(thread);
}

/// Lets a new thread run.
pub fn start(thread: &'static Thread) {
    make_runnable(thread);
}

pub(crate) fn make_runnable(thread: &'static Thread) {
    let mut state = thread.state.lock();
    if *state != State::Blocked {
        return;
    }
    *state = State::Runnable;
    drop(state);
    SCHEDULER.lock().queue.push_back(thread);
    // Somebody waits while somebody runs: time slices are wanted.
    host::vcpu().tick_wanted.store(1, Ordering::Relaxed);
}

/// Stores the call that `thread` (current) waits in.
pub fn suspend(call: BlockedCall) {
    let thread = current();
    *thread.call.lock() = Some(call);
}

/// Polls the current thread's call once; its result when it is done.
pub fn poll_call(thread: &'static Thread) -> Option<Result<usize>> {
    let mut call = thread.call.lock().take()?;
    let mut context = Context::from_waker(Waker::noop());
    match call.as_mut().poll(&mut context) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => {
            *thread.call.lock() = Some(call);
            None
        }
    }
}

/// Takes a thread out of the run queue until it is woken; a wake-up or signal that
/// came meanwhile is not lost.
pub fn block(thread: &'static Thread) {
    *thread.state.lock() = State::Blocked;
    if thread.has_wake() || thread.interrupted() {
        make_runnable(thread);
    }
}

/// Ends the current thread: it is never loaded again.
pub fn retire_current() {
    let thread = current();
    *thread.state.lock() = State::Dead;
    *thread.call.lock() = None;
    timers::disarm(thread);
    let mut scheduler = SCHEDULER.lock();
    if scheduler
        .loaded
        .is_some_and(|loaded| core::ptr::eq(loaded, thread))
    {
        scheduler.loaded = None;
    }
    scheduler.free.push(thread);
}

/// Chooses the next thread, finishes its blocked call if it is in one, and loads it
/// into `frame`. The caller has made sure that the current thread is either still
/// runnable (`again`: it goes to the end of the queue), blocked, or dead.
pub fn switch(frame: &mut TrapFrame, again: bool) {
    if again {
        let thread = current();
        SCHEDULER.lock().queue.push_back(thread);
    }
    loop {
        crate::net::turn();
        let deadline = timers::run();
        let next = SCHEDULER.lock().queue.pop_front();
        let Some(thread) = next else {
            if REST_WANTED.load(Ordering::Relaxed)
                && let Some(freeze) = FREEZE.get()
            {
                freeze();
                continue;
            }
            host::vcpu().tick_wanted.store(0, Ordering::Relaxed);
            let since = spore_hal::time::monotonic();
            crate::net::idle(deadline);
            crate::stats::add_idle(spore_hal::time::monotonic().saturating_sub(since));
            timers::processor_changed();
            take_attention();
            stop_if_requested(frame);
            continue;
        };
        if thread.state() != State::Runnable {
            continue;
        }
        SCHEDULER.lock().current = Some(thread);
        if thread.is_in_call() {
            match poll_call(thread) {
                Some(result) => *thread.result.lock() = Some(crate::syscall::encode(result)),
                None => {
                    block(thread);
                    continue;
                }
            }
        }
        let waiting = !SCHEDULER.lock().queue.is_empty();
        host::vcpu()
            .tick_wanted
            .store(u32::from(waiting), Ordering::Relaxed);
        load(thread, frame);
        return;
    }
}

/// Brings `thread`'s registers into `frame` and the processor.
fn load(thread: &'static Thread, frame: &mut TrapFrame) {
    let loaded = SCHEDULER.lock().loaded;
    if !loaded.is_some_and(|loaded| core::ptr::eq(loaded, thread)) {
        let now = crate::stats::busy_nanoseconds();
        if let Some(old) = loaded {
            save(old, frame);
            old.stop_clock(now);
        }
        let saved = thread.saved.lock();
        *frame = saved.frame;
        saved.extended.load(components());
        cpu::set_fs_base(saved.fs_base);
        drop(saved);
        thread.loaded_at.store(now, Ordering::Relaxed);
        SCHEDULER.lock().loaded = Some(thread);
        timers::processor_changed();
    }
    if let Some(result) = thread.result.lock().take() {
        crate::syscall::finish(thread, frame, result);
    }
}

/// Whether the registers of `thread` are those of the processor.
fn is_loaded(thread: &'static Thread) -> bool {
    let loaded = SCHEDULER.lock().loaded;
    loaded.is_some_and(|loaded| core::ptr::eq(loaded, thread))
}

/// Processor time of a thread, ns.
pub fn thread_time(thread: &'static Thread) -> u64 {
    let before = thread.cpu_time.load(Ordering::Relaxed);
    if is_loaded(thread) {
        let since = thread.loaded_at.load(Ordering::Relaxed);
        before + crate::stats::busy_nanoseconds().saturating_sub(since)
    } else {
        before
    }
}

fn save(thread: &'static Thread, frame: &TrapFrame) {
    let mut saved = thread.saved.lock();
    saved.frame = *frame;
    saved.extended.save(components());
    saved.fs_base = cpu::fs_base();
}

/// Calls `action` while no thread is loaded in the processor: all that is worth
/// keeping is in memory then, and comes back from there.
pub fn unloaded(action: impl FnOnce()) {
    let loaded = SCHEDULER.lock().loaded;
    let Some(thread) = loaded else {
        return action();
    };
    let mut saved = thread.saved.lock();
    saved.extended.save(components());
    saved.fs_base = cpu::fs_base();
    drop(saved);
    action();
    let saved = thread.saved.lock();
    saved.extended.load(components());
    cpu::set_fs_base(saved.fs_base);
}

/// Copies the registers of the running thread to a new one (clone).
pub fn copy_registers(frame: &TrapFrame, child: &'static Thread) {
    let mut saved = child.saved.lock();
    saved.frame = *frame;
    saved.extended.save(components());
    saved.fs_base = cpu::fs_base();
}

/// Whether another thread could run now.
pub fn others_runnable() -> bool {
    !SCHEDULER.lock().queue.is_empty()
}

/// Whether no thread can run before something happens.
pub fn is_idle() -> bool {
    let scheduler = SCHEDULER.lock();
    let running = |thread: &Thread| thread.state() == State::Runnable;
    scheduler.queue.is_empty() && !scheduler.current.is_some_and(running)
}

/// Takes what the monitor asked for. Answers whether the time slice is over.
pub fn take_attention() -> bool {
    let bits = host::vcpu().attention.swap(0, Ordering::SeqCst);
    if bits & attention::SIGNAL != 0 {
        crate::signal::take_host_signals();
    }
    if bits & attention::TIMER != 0 {
        timers::run();
    }
    if bits & attention::RINGS != 0 {
        crate::net::turn();
    }
    if bits & attention::DEBUG != 0
        && let Some(debugger) = debugger()
    {
        debugger.request();
    }
    if bits & attention::FREEZE != 0 {
        match FREEZE.get() {
            Some(freeze) => freeze(),
            None => crate::freeze::refuse(refused::ABSENT),
        }
    }
    bits & attention::TICK != 0
}

fn stop_if_requested(frame: &mut TrapFrame) {
    if let Some(debugger) = debugger() {
        debugger.stop_if_requested(frame);
    }
}

/// Called before every return to the application: attention, time slices, signals.
/// Answers true if registers other than the result may have changed.
pub fn leave(frame: &mut TrapFrame) -> bool {
    leave_after(frame, None)
}

/// The same after an exception: what it tells the thread is told where it happened.
pub fn leave_after_exception(frame: &mut TrapFrame) {
    leave_after(frame, Some(current().tid()));
}

fn leave_after(frame: &mut TrapFrame, faulted: Option<i32>) -> bool {
    let mut changed = false;
    loop {
        if host::vcpu().attention.load(Ordering::Relaxed) != 0 {
            changed = true;
            let slice_is_over = take_attention();
            stop_if_requested(frame);
            if slice_is_over && others_runnable() {
                switch(frame, true);
            }
        }
        let thread = current();
        if !thread.interrupted() {
            break;
        }
        changed = true;
        // A call that is to run again is not on its way to the kernel, wherever it returns to.
        let settled = faulted == Some(thread.tid()) || thread.restart.load(Ordering::Relaxed);
        if !settled && crate::signal::stub::is_before_call(frame.rip) {
            break;
        }
        if !crate::signal::deliver(thread, frame) {
            // The thread was stopped or ended by the signal.
            switch(frame, false);
        }
    }
    host::vcpu().upcall_ok.store(1, Ordering::Relaxed);
    changed
}
