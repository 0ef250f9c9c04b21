//! The process: what its threads share.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use spore_hal::Lock;

use crate::fs::context::FsContext;
use crate::fs::table::DescriptorTable;
use crate::mm::AddressSpace;
use crate::sched::thread::Thread;
use crate::signal::ProcessSignals;
use crate::syscall::clock::interval::{self, Alarm};
use crate::syscall::credentials::Credentials;

/// Process id of the application: not 1, whose parent is not 1 either, because
/// supervisors take a child of 1 for an orphan.
pub const APP_PID: i32 = 2;
/// What getppid answers.
pub const PARENT_PID: i32 = 0;

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Soft.
    pub soft: u64,
    /// Hard.
    pub hard: u64,
}

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// One process.
pub struct Process {
    /// Process id, see [`Process::pid`].
    pid: AtomicI32,
    /// Mappings.
    pub memory: Lock<AddressSpace>,
    /// Open files.
    pub descriptors: DescriptorTable,
    /// Working directory, umask.
    pub fs: Lock<FsContext>,
    /// Signal actions and the queue of the process.
    pub signals: Lock<ProcessSignals>,
    /// Resource limits by RLIMIT_* number.
    pub limits: Lock<[Limit; 16]>,
    /// Who the program is.
    pub credentials: Lock<Credentials>,
    /// Live threads.
    pub threads: Lock<Vec<&'static Thread>>,
    /// CLOCK_MONOTONIC at the start, ns.
    pub started: u64,
    /// The process is ending.
    pub exiting: AtomicBool,
    /// prctl(PR_SET_DUMPABLE).
    pub dumpable: AtomicI32,
    /// Interval timers by ITIMER_* number.
    pub alarms: Lock<[Option<Alarm>; interval::KINDS]>,
    /// Initial stack: where arguments begin and end, for /proc/self/cmdline.
    pub stack_top: AtomicU64,
}

static NEXT_TID: AtomicI32 = AtomicI32::new(APP_PID + 1);

/// Limits of a new process: what a login on Linux usually gets.
fn default_limits() -> [Limit; 16] {
    let mut limits = [Limit {
        soft: UNLIMITED,
        hard: UNLIMITED,
    }; 16];
    limits[limit::STACK] = Limit {
        soft: 8 << 20,
        hard: UNLIMITED,
    };
    limits[limit::CORE] = Limit {
        soft: 0,
        hard: UNLIMITED,
    };
    limits[limit::NOFILE] = Limit {
        soft: 65536,
        hard: 1_048_576,
    };
    limits[limit::NPROC] = Limit { soft: 1, hard: 1 };
    limits[limit::MEMLOCK] = Limit {
        soft: 8 << 20,
        hard: 8 << 20,
    };
    limits[limit::SIGPENDING] = Limit {
        soft: 4096,
        hard: 4096,
    };
    limits[limit::MSGQUEUE] = Limit {
        soft: 819_200,
        hard: 819_200,
    };
    limits[limit::NICE] = Limit { soft: 0, hard: 0 };
    limits[limit::RTPRIO] = Limit { soft: 0, hard: 0 };
    limits
}

/// RLIMIT_* numbers (`asm-generic/resource.h`).
pub mod limit {
    #![allow(missing_docs, reason = "named and documented as in getrlimit(2)")]
    pub const STACK: usize = 3;
    pub const CORE: usize = 4;
    pub const NPROC: usize = 6;
    pub const NOFILE: usize = 7;
    pub const MEMLOCK: usize = 8;
    pub const SIGPENDING: usize = 11;
    pub const MSGQUEUE: usize = 12;
    pub const NICE: usize = 13;
    pub const RTPRIO: usize = 14;
}

impl Process {
    /// The application's process, without threads yet. Like threads, processes live for
    /// ever: every system call asks for its own, and a borrow costs nothing.
    pub fn new(memory: AddressSpace, fs: FsContext) -> &'static Arc<Self> {
        let who = spore_hal::direct::boot_info();
        Box::leak(Box::new(Arc::new(Self {
            pid: AtomicI32::new(APP_PID),
            memory: Lock::new(memory),
            descriptors: DescriptorTable::default(),
            fs: Lock::new(fs),
            signals: Lock::new(ProcessSignals::new()),
            limits: Lock::new(default_limits()),
            credentials: Lock::new(Credentials::new(who.uid, who.gid)),
            threads: Lock::new(Vec::new()),
            started: spore_hal::time::monotonic(),
            exiting: AtomicBool::new(false),
            dumpable: AtomicI32::new(1),
            alarms: Lock::new([const { None }; interval::KINDS]),
            stack_top: AtomicU64::new(0),
        })))
    }

    /// Process id: that of the first thread, until the machine was restored from a
    /// snapshot. Libraries that reseed after a fork notice by it.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Gives the process another id. Threads keep theirs.
    pub fn set_pid(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// A thread id that was never used.
    pub fn next_tid() -> i32 {
        NEXT_TID.fetch_add(1, Ordering::Relaxed)
    }

    /// The thread with this id.
    pub fn thread(&self, tid: i32) -> Option<&'static Thread> {
        self.threads
            .lock()
            .iter()
            .copied()
            .find(|thread| thread.tid() == tid || thread.shown_tid() == tid)
    }
}
