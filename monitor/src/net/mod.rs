//! Shared rings: standard streams, log and sockets, and the wait of an idle vCPU.
//!
//! The interface to the rest of the monitor; everything behind it is this
//! folder's own business.
//!
//! Rules that the callers rely on:
//! - Never set O_NONBLOCK on the streams: their open file description belongs to
//!   the shell as well. Use preadv2/pwritev2 with RWF_NOWAIT, poll, or a thread.
//! - All program signals are blocked in every thread; new threads inherit that.
//! - `idle` returns as soon as `control.attention()` is not zero. The waker given
//!   to `VcpuControl::set_idle_waker` is called after bits were set there and may
//!   come at any time, also when nobody waits.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

use crate::config::{Policy, PublishRule};
use crate::control::VcpuControl;
use crate::error::Result;
use crate::events::Events;
use crate::memory::GuestMemory;

/// What the rings need to know.
pub struct NetConfig {
    /// Guest memory.
    pub memory: Arc<GuestMemory>,
    /// Ports to publish; `None`: every TCP listener on 127.0.0.1 at its own port.
    pub publish: Option<Vec<PublishRule>>,
    /// What outgoing connections may not reach.
    pub policy: Policy,
    /// Host descriptors of the program's standard input, output and error.
    pub streams: [RawFd; 3],
    /// A second core is free: serve the rings from a thread that polls.
    pub io_thread: bool,
    /// Where a published port is told.
    pub events: Arc<Events>,
    /// The ioeventfd behind `DOORBELL_KICK_GPA`, registered by the caller.
    pub kick: EventFd,
    /// The vCPU: attention word and `raise`.
    pub control: Arc<VcpuControl>,
}

/// The rings of one guest.
pub struct Net {
    config: NetConfig,
    /// 1 while the vCPU thread waits in `idle`.
    asleep: AtomicU32,
    stdin_used: AtomicBool,
}

impl Net {
    /// Prepares the rings. Starts nothing; ports that must exist from the start
    /// may be bound here and fail with SPORE_PORT_TAKEN or SPORE_PORT_PERMISSION.
    pub fn new(config: NetConfig) -> Result<Arc<Self>> {
        let net = Arc::new(Self {
            config,
            asleep: AtomicU32::new(0),
            stdin_used: AtomicBool::new(false),
        });
        let waker = Arc::downgrade(&net);
        net.config.control.set_idle_waker(Box::new(move || {
            if let Some(net) = waker.upgrade() {
                net.wake();
            }
        }));
        Ok(net)
    }

    /// Starts the I/O thread, if one is wanted. Called right before the first
    /// instruction, after all signals were blocked.
    pub fn start(self: &Arc<Self>) -> Result<()> {
        Ok(())
    }

    /// A host call with number >= `NET_FIRST`, on the vCPU thread. Arguments come
    /// from the guest unchecked. Answer: a value or a negated errno.
    pub fn host_call(&self, _number: u64, _args: &[u64; 6]) -> i64 {
        -i64::from(libc::ENOSYS)
    }

    /// IDLE, on the vCPU thread: waits until the rings have news, `deadline`
    /// (CLOCK_MONOTONIC ns; `u64::MAX` none, 0 serve once without waiting) has
    /// passed, or attention is wanted.
    pub fn idle(&self, deadline: u64) {
        if deadline == 0 {
            return;
        }
        let attention = self.config.control.attention();
        self.asleep.store(1, Ordering::SeqCst);
        while attention.load(Ordering::SeqCst) == 0 && self.asleep.load(Ordering::SeqCst) == 1 {
            if !wait_on(&self.asleep, 1, deadline) {
                break;
            }
        }
        self.asleep.store(0, Ordering::SeqCst);
    }

    /// Ends a wait in `idle`. Any thread, any time.
    pub fn wake(&self) {
        if self.asleep.swap(0, Ordering::SeqCst) == 1 {
            // SAFETY: wakes waiters on a word that this object owns.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.asleep.as_ptr(),
                    libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                    1,
                );
            }
        }
    }

    /// Whether the guest has been told of news that it has not looked at. Asked by
    /// the housekeeping thread while the vCPU is busy; true at two ticks in a row
    /// raises `attention::RINGS`.
    pub fn has_news(&self) -> bool {
        false
    }

    /// Whether the program ever asked for standard input (decides what Ctrl-C means).
    pub fn stdin_used(&self) -> bool {
        self.stdin_used.load(Ordering::Relaxed)
    }

    /// At exit, on the vCPU thread: writes out what the program sent to its
    /// streams and the log. May take as long as the reader takes.
    pub fn drain(&self) {}
}

/// Waits until `word` is no longer `value`; false once `deadline` has passed.
fn wait_on(word: &AtomicU32, value: u32, deadline: u64) -> bool {
    let at = libc::timespec {
        tv_sec: (deadline / 1_000_000_000) as libc::time_t,
        tv_nsec: (deadline % 1_000_000_000) as i64,
    };
    let until: *const libc::timespec = if deadline == u64::MAX {
        std::ptr::null()
    } else {
        &at
    };
    // SAFETY: FUTEX_WAIT_BITSET with an absolute CLOCK_MONOTONIC time on a word
    // that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            value,
            until,
            std::ptr::null::<u32>(),
            u32::MAX,
        )
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

/// Tells where a published port can be reached. (Used by the publishing code.)
#[allow(dead_code, reason = "called once publishing is written")]
fn tell(events: &Events, guest_port: u16, host: SocketAddr) {
    events.listening(guest_port, host);
}
