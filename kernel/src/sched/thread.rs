//! Threads: data of a thread that runs or waits.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use spore_hal::Lock;
use spore_hal::trap::TrapFrame;
use spore_hal::xstate::ExtendedState;

use crate::process::Process;
use crate::sched::block::BlockedCall;
use crate::sched::notify::Observer;
use crate::signal::ThreadSignals;

/// Where a thread is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the run queue or running.
    Runnable,
    /// Waiting for a wake-up.
    Blocked,
    /// Ended; the object waits for reuse.
    Dead,
}

/// What is kept while a thread is not loaded into the processor.
pub struct Saved {
    /// Registers.
    pub frame: TrapFrame,
    /// Vector state.
    pub extended: Box<ExtendedState>,
    /// Thread pointer.
    pub fs_base: u64,
}

/// One thread. Objects live for ever and are used again.
pub struct Thread {
    /// Thread id; the first thread's is the process id.
    tid: AtomicI32,
    process: Lock<Option<&'static Arc<Process>>>,
    /// Life and place in the run queue.
    pub(super) state: Lock<State>,
    /// A wake-up arrived since the last park.
    woken: AtomicBool,
    /// Registers when not loaded.
    pub saved: Lock<Saved>,
    /// The blocked system call.
    pub(super) call: Lock<Option<BlockedCall>>,
    /// Return value to put into rax when the thread is loaded next.
    pub(super) result: Lock<Option<u64>>,
    /// Signal mask, queue, alternate stack.
    pub signals: Lock<ThreadSignals>,
    /// Signals are pending that the mask lets through (kept in step by `signal`).
    pub signal_ready: AtomicBool,
    /// The call was interrupted by a signal and may run again (ERESTARTSYS).
    pub restart: AtomicBool,
    /// CLONE_CHILD_CLEARTID address, 0 for none.
    pub clear_child_tid: AtomicU64,
    /// Head of the robust futex list (set_robust_list), 0 for none.
    pub robust_list: AtomicU64,
    /// Name (PR_SET_NAME), NUL padded.
    pub name: Lock<[u8; 16]>,
    /// Deadline in the timer queue, for `timers`.
    pub(super) deadline: AtomicU64,
    /// nice value.
    pub nice: AtomicI32,
    /// Processor time used until it was unloaded last, ns; and what the clock of the
    /// process showed when it was loaded.
    pub(super) cpu_time: AtomicU64,
    pub(super) loaded_at: AtomicU64,
    /// Counter to tell lives of the object apart.
    pub life: AtomicU32,
    observer: Lock<Option<Arc<ThreadObserver>>>,
}

/// The thread as an observer of readiness.
struct ThreadObserver(&'static Thread);

impl Observer for ThreadObserver {
    fn notified(&self, _events: u32, _key: u64) {
        self.0.wake();
    }
}

impl Thread {
    pub(super) fn new() -> Self {
        Self {
            tid: AtomicI32::new(0),
            process: Lock::new(None),
            state: Lock::new(State::Dead),
            woken: AtomicBool::new(false),
            saved: Lock::new(Saved {
                frame: TrapFrame::default(),
                extended: Box::default(),
                fs_base: 0,
            }),
            call: Lock::new(None),
            result: Lock::new(None),
            signals: Lock::new(ThreadSignals::new()),
            signal_ready: AtomicBool::new(false),
            restart: AtomicBool::new(false),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            name: Lock::new([0; 16]),
            deadline: AtomicU64::new(0),
            nice: AtomicI32::new(0),
            cpu_time: AtomicU64::new(0),
            loaded_at: AtomicU64::new(0),
            life: AtomicU32::new(0),
            observer: Lock::new(None),
        }
    }

    pub(super) fn begin(&self, tid: i32, process: &'static Arc<Process>) {
        self.tid.store(tid, Ordering::Relaxed);
        *self.process.lock() = Some(process);
        *self.state.lock() = State::Blocked;
        self.woken.store(false, Ordering::Relaxed);
        *self.result.lock() = None;
        *self.signals.lock() = ThreadSignals::new();
        self.signal_ready.store(false, Ordering::Relaxed);
        self.restart.store(false, Ordering::Relaxed);
        self.clear_child_tid.store(0, Ordering::Relaxed);
        self.robust_list.store(0, Ordering::Relaxed);
        self.cpu_time.store(0, Ordering::Relaxed);
        self.nice.store(0, Ordering::Relaxed);
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what it has used, as the clock of the process shows `now`.
    pub(super) fn stop_clock(&self, now: u64) {
        let used = now.saturating_sub(self.loaded_at.load(Ordering::Relaxed));
        self.cpu_time.fetch_add(used, Ordering::Relaxed);
    }

    /// Thread id.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// What gettid answers: for the first thread the process id, which a restore
    /// changes as a fork does. Libraries have kept the old one; both lead here.
    pub fn shown_tid(&self) -> i32 {
        match self.tid() {
            crate::process::APP_PID => self.process().pid(),
            tid => tid,
        }
    }

    /// The process it belongs to. Panics for a dead thread, which nobody holds.
    #[inline]
    pub fn process(&self) -> &'static Arc<Process> {
        match *self.process.lock() {
            Some(process) => process,
            None => panic!("thread without process"),
        }
    }

    /// Life state.
    pub fn state(&self) -> State {
        *self.state.lock()
    }

    /// The thread as an observer, for [`crate::sched::notify::Notifier::add`].
    pub fn observer(&'static self) -> Arc<dyn Observer> {
        self.observer
            .lock()
            .get_or_insert_with(|| Arc::new(ThreadObserver(self)))
            .clone()
    }

    /// Lets a parked thread look again at what it waits for.
    pub fn wake(&'static self) {
        self.woken.store(true, Ordering::Relaxed);
        super::make_runnable(self);
    }

    /// Notes a wake-up for a thread that is about to give way by itself.
    pub fn wake_later(&self) {
        self.woken.store(true, Ordering::Relaxed);
    }

    /// Takes the wake-up, if one came since the last time.
    pub fn take_wake(&self) -> bool {
        self.woken.swap(false, Ordering::Relaxed)
    }

    /// Whether a wake-up came since the last park.
    pub fn has_wake(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// A signal is to be handled.
    pub fn interrupted(&self) -> bool {
        self.signal_ready.load(Ordering::Relaxed)
    }

    /// Whether a blocked call is stored.
    pub fn is_in_call(&self) -> bool {
        self.call.lock().is_some()
    }
}
