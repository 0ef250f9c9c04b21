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

mod accept;
mod address;
mod batch;
mod calls;
mod datagram;
mod destination;
mod engine;
mod entry;
mod internal;
mod listen;
mod names;
mod policy;
mod published;
mod rings;
mod standard;
mod survival;
mod sys;
#[cfg(test)]
mod tests;
mod thread;

pub use destination::Destination;
pub use internal::Internal;

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::config::{Policy, PublishRule, Rights};
use crate::control::VcpuControl;
use crate::error::{MonitorError, Result, SPORE_INTERNAL, SPORE_MEMORY_TOO_SMALL};
use crate::events::Events;
use crate::memory::GuestMemory;
use crate::net::batch::Batch;
use crate::net::engine::{EVENTS, Engine};
pub use crate::net::listen::listen_at;
use crate::net::policy::Gate;
use crate::net::rings::Rings;
pub use crate::net::survival::Devices;
pub use crate::net::sys::raise_descriptor_limit;

/// How long sockets may hold up the exit of a program.
const EXIT_FLUSH: Duration = Duration::from_secs(2);

/// The vCPU thread does not wait.
const AWAKE: u32 = 0;
/// It waits for the word itself (futex).
const ON_WORD: u32 = 1;
/// It waits for events of the host (epoll).
const ON_EVENTS: u32 = 2;

/// What the rings need to know.
pub struct NetConfig {
    /// Guest memory.
    pub memory: Arc<GuestMemory>,
    /// Ports to publish; `None`: every TCP listener on 127.0.0.1 at its own port.
    pub publish: Option<Vec<PublishRule>>,
    /// What outgoing connections may not reach.
    pub policy: Policy,
    /// What of the host the image may use.
    pub rights: Rights,
    /// How apps reach each other by name.
    pub internal: Option<Internal>,
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
    /// With no `publish`: any free port for each listener.
    pub any_port: bool,
    /// What a guest that goes on from a snapshot has open.
    pub revive: Option<Devices>,
}

/// The rings while nobody serves them.
pub struct Still<'a> {
    net: &'a Net,
    engine: MutexGuard<'a, Engine>,
}

impl Still<'_> {
    /// What the guest has open.
    pub fn devices(&self) -> Devices {
        self.engine.devices()
    }

    /// On the vCPU thread: waits until a peer of the guest wants something, or `wanted`,
    /// which is asked again after every [`Net::wake`].
    pub fn wait_for_work(&self, wanted: impl Fn() -> bool) {
        let Net { nudge, asleep, .. } = self.net;
        let mut watched = self.engine.peers();
        watched.push(sys::watch(nudge.as_raw_fd(), libc::POLLIN));
        loop {
            asleep.store(ON_EVENTS, Ordering::SeqCst);
            if wanted() || sys::wait_for_any(&mut watched) {
                break;
            }
            let _ = nudge.read();
        }
        asleep.store(AWAKE, Ordering::SeqCst);
        let _ = nudge.read();
    }
}

/// The rings of one guest.
pub struct Net {
    control: Arc<VcpuControl>,
    /// Shared memory.
    rings: Rings,
    engine: Mutex<Engine>,
    /// Everything the engine watches; waited on without holding the engine.
    epoll: Arc<sys::Epoll>,
    /// Ends the sleep of the I/O thread. Not in the epoll set: the vCPU thread takes
    /// events from there as well, and a kick that it took would be lost.
    kick: EventFd,
    /// Ends a wait of the vCPU thread for events.
    nudge: EventFd,
    io_thread: bool,
    /// Where the vCPU thread waits in `idle`: AWAKE, ON_WORD or ON_EVENTS.
    asleep: AtomicU32,
    /// The vCPU thread wants the engine.
    wanted: AtomicU32,
    /// io_uring of the vCPU thread, for when it does the work; made at first use.
    batch: Mutex<Option<Option<Batch>>>,
}

impl Net {
    /// Prepares the rings and binds the ports of all rules. Starts nothing. Fails
    /// with SPORE_PORT_TAKEN or SPORE_PORT_PERMISSION.
    pub fn new(config: NetConfig) -> Result<Arc<Self>> {
        sys::raise_descriptor_limit();
        let rings = Rings::new(config.memory).map_err(|_| {
            MonitorError::new(
                SPORE_MEMORY_TOO_SMALL,
                "guest memory has no room for the rings",
            )
        })?;
        let gate = Gate::new(config.policy, &config.rights, config.internal);
        let publish = config.publish.as_deref();
        listen::check_declared(publish.unwrap_or_default(), &config.rights)?;
        let [input, output, error] = config.streams;
        let streams = [input, output, error, libc::STDERR_FILENO];
        let mut engine = Engine::new(
            rings.clone(),
            publish,
            config.rights.ports,
            gate,
            config.events,
            streams,
        )?;
        engine.any_port = config.any_port;
        if let Some(devices) = &config.revive {
            engine.revive(devices)?;
        }
        let epoll = Arc::clone(&engine.epoll);
        let internal = |error: std::io::Error| {
            MonitorError::new(SPORE_INTERNAL, format!("cannot prepare the rings: {error}"))
        };
        let nudge = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map_err(internal)?;
        let net = Arc::new(Self {
            control: config.control,
            rings,
            engine: Mutex::new(engine),
            epoll,
            kick: config.kick,
            nudge,
            io_thread: config.io_thread,
            asleep: AtomicU32::new(AWAKE),
            wanted: AtomicU32::new(0),
            batch: Mutex::new(None),
        });
        let waker = Arc::downgrade(&net);
        net.control.set_idle_waker(Box::new(move || {
            if let Some(net) = waker.upgrade() {
                net.wake();
            }
        }));
        Ok(net)
    }

    /// Starts the I/O thread, if one is wanted. Called right before the first
    /// instruction, after all signals were blocked.
    pub fn start(self: &Arc<Self>) -> Result<()> {
        if !self.io_thread {
            return Ok(());
        }
        let net = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("rings".into())
            .stack_size(256 << 10);
        thread
            .spawn(move || thread::run(&net))
            .map(drop)
            .map_err(|error| {
                MonitorError::new(
                    SPORE_INTERNAL,
                    format!("cannot start the I/O thread: {error}"),
                )
            })
    }

    /// A host call with number >= `NET_FIRST`, on the vCPU thread. Arguments come
    /// from the guest unchecked. Answer: a value or a negated errno.
    pub fn host_call(&self, number: u64, args: &[u64; 6]) -> i64 {
        self.lock().call(number, args)
    }

    /// At a freeze, on the vCPU thread: what the guest has rung is served, then
    /// nobody touches the rings until the answer is dropped.
    pub fn hold_still(&self) -> Still<'_> {
        let mut engine = self.lock();
        engine.pass(None);
        Still { net: self, engine }
    }

    /// IDLE, on the vCPU thread: waits until the rings have news, `deadline`
    /// (CLOCK_MONOTONIC ns; `u64::MAX` none, 0 serve once without waiting) has
    /// passed, or attention is wanted. `starved`: the guest has found that the I/O
    /// thread gets no processor.
    pub fn idle(&self, deadline: u64, starved: bool) {
        if deadline == 0 {
            self.serve();
        } else if !self.io_thread || starved {
            self.serve();
            self.wait_and_serve(deadline);
        } else {
            self.kick_if_rung();
            self.wait(deadline);
        }
    }

    /// One pass on the vCPU thread.
    fn serve(&self) {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = batch.get_or_insert_with(Batch::new);
        self.lock().pass(batch.as_mut());
    }

    /// Just sleeps: the I/O thread does the work.
    fn wait(&self, deadline: u64) {
        let attention = self.control.attention();
        let news = &self.rings.header().to_guest;
        self.asleep.store(ON_WORD, Ordering::SeqCst);
        while attention.load(Ordering::SeqCst) == 0
            && !news.pending()
            && self.asleep.load(Ordering::SeqCst) == ON_WORD
        {
            if !wait_on(&self.asleep, ON_WORD, deadline) {
                break;
            }
        }
        self.asleep.store(AWAKE, Ordering::SeqCst);
    }

    /// Waits for the host's events and serves them on the vCPU thread. The engine
    /// is free meanwhile: a starved I/O thread may get its turn.
    fn wait_and_serve(&self, deadline: u64) {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = batch.get_or_insert_with(Batch::new);
        let attention = self.control.attention();
        let news = &self.rings.header().to_guest;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            self.asleep.store(ON_EVENTS, Ordering::SeqCst);
            if news.pending() || attention.load(Ordering::SeqCst) != 0 {
                break;
            }
            // Not in the epoll set itself: another thread may take an event there
            // between its arrival and our waking, and the wake-up with it.
            sys::wait_readable([self.epoll.fd(), self.nudge.as_raw_fd()], deadline);
            self.asleep.store(AWAKE, Ordering::SeqCst);
            let _ = self.nudge.read();
            let count = self.epoll.take(&mut events);
            if count == 0 && sys::monotonic() >= deadline {
                break;
            }
            self.lock().serve_host(&events[..count], batch.as_mut());
        }
        self.asleep.store(AWAKE, Ordering::SeqCst);
    }

    /// Ends a wait in `idle`. Any thread, any time.
    pub fn wake(&self) {
        match self.asleep.swap(AWAKE, Ordering::SeqCst) {
            AWAKE => return,
            ON_EVENTS => {
                let _ = self.nudge.write(1);
                return;
            }
            _ => {}
        }
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

    /// If there are news for the guest: how often it has looked for some so far. Asked
    /// by the housekeeping thread while the vCPU is busy; the same number at two ticks
    /// raises `attention::RINGS`. Also serves what a guest that computes has rung
    /// without coming to wait.
    pub fn news(&self) -> Option<u64> {
        let header = self.rings.header();
        if self.io_thread {
            self.kick_if_rung();
        } else if let Ok(mut engine) = self.engine.try_lock() {
            engine.pass(None);
        }
        let turns = header.statistics.turns.load(Ordering::Relaxed);
        header.to_guest.pending().then_some(turns)
    }

    /// The guest's counters, for SPORE_DEBUG.
    pub fn statistics(&self) -> String {
        let statistics = &self.rings.header().statistics;
        let of = |word: &std::sync::atomic::AtomicU64| word.load(Ordering::Relaxed);
        format!(
            "debug: {} turns, {} waits, {} polls, {} kicks, {} spins found work, {} ms spun, {} passes",
            of(&statistics.turns),
            of(&statistics.waits),
            of(&statistics.polls),
            of(&statistics.kicks),
            of(&statistics.spin_hits),
            of(&statistics.spin_ns) / 1_000_000,
            self.rings.header().io_passes.word.load(Ordering::Relaxed),
        )
    }

    /// Whether the program ever asked for standard input (decides what Ctrl-C means).
    pub fn stdin_used(&self) -> bool {
        self.engine.try_lock().is_ok_and(|engine| engine.stdin_used)
    }

    /// At exit, on the vCPU thread: writes out what the program sent to its
    /// streams and the log. May take as long as the reader takes. Answers which of its
    /// streams could not take everything, unless the reader went away.
    pub fn drain(&self) -> Option<(&'static str, std::io::Error)> {
        let mut engine = self.lock();
        engine.flush_all(EXIT_FLUSH);
        engine.lost_output()
    }

    fn kick_if_rung(&self) {
        let header = self.rings.header();
        if header.to_host.pending() && header.io_sleep.word.swap(0, Ordering::SeqCst) == 1 {
            let _ = self.kick.write(1);
        }
    }

    /// The engine, for the vCPU thread: the I/O thread steps back.
    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        engine
    }

    /// The engine, for the I/O thread.
    fn lock_politely(&self) -> MutexGuard<'_, Engine> {
        while self.wanted.load(Ordering::SeqCst) != 0 {
            sys::give_way();
        }
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guest_sleeps(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) != AWAKE
    }

    fn wake_if_news(&self) {
        if self.guest_sleeps() && self.rings.header().to_guest.pending() {
            self.wake();
        }
    }
}

/// Waits until `word` is no longer `value`; false once `deadline` has passed.
fn wait_on(word: &AtomicU32, value: u32, deadline: u64) -> bool {
    let at = libc::timespec {
        tv_sec: (deadline / 1_000_000_000) as _,
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
