//! The housekeeping thread: ticks and timers while the vCPU is busy, signals,
//! grace periods, the clock. It sleeps without a timeout while the vCPU is idle.
//!
//! Waking it costs the vCPU thread no inter-processor wake-up: on leaving IDLE it
//! only arms a timer, and only if this thread had gone to sleep for good.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spore_abi::vcpu::attention;

use crate::clock::{self, Clock};
use crate::control::VcpuControl;
use crate::debugger::Watch;
use crate::events::Events;
use crate::finish::{self, Outcome};
use crate::net::Net;
use crate::signals::ProgramSignals;

/// Time slice while several threads can run.
const TICK_NS: u64 = 4_000_000;
/// How soon the monitor tries again when the kernel has not looked yet.
const RETRY_NS: u64 = 1_000_000;
/// Shortest sleep, so that a guest cannot make this thread spin.
const SHORTEST_NS: u64 = 50_000;
/// Ctrl-C that many times ends a program that does not react.
const INTERRUPTS: u32 = 3;
/// For a program that reads the terminal, they must come within this time.
const INTERRUPT_WINDOW_NS: u64 = 3_000_000_000;

/// What the vCPU thread and the housekeeping thread share.
pub struct Housekeeping {
    control: Arc<VcpuControl>,
    net: Arc<Net>,
    clock: Arc<Clock>,
    events: Arc<Events>,
    /// The debugger's connection while the guest runs.
    watch: Arc<Watch>,
    timer: OwnedFd,
    /// The thread sleeps until a signal comes or the timer is armed.
    parked: AtomicBool,
    grace_ns: u64,
    /// What the program gets for a SIGTERM.
    stop_signal: i32,
}

impl Housekeeping {
    /// Prepares the thread's state.
    pub fn new(
        control: Arc<VcpuControl>,
        net: Arc<Net>,
        clock: Arc<Clock>,
        events: Arc<Events>,
        watch: Arc<Watch>,
        (grace_ms, stop_signal): (u64, i32),
    ) -> io::Result<Arc<Self>> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: creates a descriptor that becomes owned here.
        let timer = unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, flags);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Arc::new(Self {
            control,
            net,
            clock,
            events,
            watch,
            timer,
            parked: AtomicBool::new(false),
            grace_ns: grace_ms.saturating_mul(1_000_000),
            stop_signal,
        }))
    }

    /// Starts the thread.
    pub fn start(self: &Arc<Self>, signals: ProgramSignals) -> io::Result<()> {
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("housekeeping".into())
            .stack_size(128 << 10);
        thread.spawn(move || Keeper::new(shared, signals).run())?;
        Ok(())
    }

    /// The vCPU has left IDLE: ticks are needed again.
    pub fn vcpu_is_busy(&self) {
        if self.parked.swap(false, Ordering::SeqCst) {
            self.arm(clock::monotonic() + TICK_NS);
        }
    }

    /// What is watched has changed.
    pub fn look_again(&self) {
        self.arm(clock::monotonic() + SHORTEST_NS);
    }

    fn arm(&self, at: u64) {
        let time = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: (at / 1_000_000_000) as _,
                tv_nsec: (at % 1_000_000_000) as i64,
            },
        };
        // SAFETY: sets a timer of our own.
        unsafe {
            libc::timerfd_settime(
                self.timer.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &time,
                std::ptr::null_mut(),
            )
        };
    }
}

/// The thread's own state.
struct Keeper {
    shared: Arc<Housekeeping>,
    signals: ProgramSignals,
    /// Interrupts so far, and when the first of them came.
    interrupts: (u32, u64),
    /// When a stopping program is stopped for it, and by which signal.
    grace: Option<(u64, i32)>,
    /// The rings had news at the last tick; how often the guest had looked by then.
    news: Option<u64>,
}

impl Keeper {
    fn new(shared: Arc<Housekeeping>, signals: ProgramSignals) -> Self {
        Self {
            shared,
            signals,
            interrupts: (0, 0),
            grace: None,
            news: None,
        }
    }

    fn run(mut self) -> ! {
        loop {
            let now = clock::monotonic();
            let next = self.work(now);
            self.sleep(next);
            while let Some(signal) = self.signals.take() {
                self.on_signal(signal);
            }
        }
    }

    /// Does what is due; says when there is something to do again.
    fn work(&mut self, now: u64) -> Option<u64> {
        if let Some((at, signal)) = self.grace
            && now >= at
        {
            self.stop(signal);
        }
        let grace = self.grace.map(|(at, _)| at);
        let shared = &self.shared;
        if shared.control.is_idle() {
            self.news = None;
            shared.parked.store(true, Ordering::SeqCst);
            if shared.control.is_idle() {
                return grace;
            }
            // It became busy in between; whoever takes the flag arms the timer.
            shared.parked.swap(false, Ordering::SeqCst);
        }
        shared.clock.refresh_if_old(now);
        let next = now + self.tick(now);
        Some(grace.map_or(next, |grace| grace.min(next)))
    }

    /// Asks for the kernel's attention if it is due; returns the time to the next tick.
    fn tick(&mut self, now: u64) -> u64 {
        let control = &self.shared.control;
        let block = control.block();
        let mut bits = 0;
        if block.tick_wanted.load(Ordering::Relaxed) != 0 {
            bits |= attention::TICK;
        }
        let deadline = block.next_deadline.load(Ordering::Relaxed);
        let deadline = self.shared.clock.host_monotonic(deadline);
        if deadline <= now {
            bits |= attention::TIMER;
        }
        let news = self.shared.net.news();
        if news.is_some() && news == self.news {
            bits |= attention::RINGS;
        }
        self.news = news;
        let waiting = block.attention.fetch_or(bits, Ordering::SeqCst);
        // A guest that makes system calls looks by itself within microseconds, and
        // interrupting it costs a hundred: only what it has left lying for a while is
        // worth that, and timers, which have waited already.
        if waiting != 0 || bits & attention::TIMER != 0 {
            control.nudge();
        }
        if waiting | bits != 0 {
            return RETRY_NS;
        }
        TICK_NS.min(deadline - now).max(SHORTEST_NS)
    }

    fn sleep(&self, next: Option<u64>) {
        let timer = self.shared.timer.as_raw_fd();
        if let Some(at) = next {
            self.shared.arm(at);
        }
        let debugger = self.shared.watch.fd();
        let mut wait = [self.signals.fd(), timer, debugger].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        let mut expirations = [0_u8; 8];
        // SAFETY: polls descriptors of ours (-1 is skipped) and reads the timer's
        // counter into a buffer of its size.
        unsafe {
            libc::poll(wait.as_mut_ptr(), wait.len() as libc::nfds_t, -1);
            libc::read(timer, expirations.as_mut_ptr().cast(), 8);
        }
        if wait[2].revents != 0 {
            self.shared.watch.pause();
            self.shared.control.raise(attention::DEBUG);
        }
    }

    fn on_signal(&mut self, signal: i32) {
        if signal == libc::SIGCONT {
            // The clock of a stopped guest went on without it.
            self.shared.clock.refresh();
        }
        if self.shared.watch.is_waiting() && matches!(signal, libc::SIGINT | libc::SIGTERM) {
            // Nothing in the guest can hear it before a debugger comes.
            self.stop(signal);
        }
        let heard = match signal {
            libc::SIGTERM => self.shared.stop_signal,
            other => other,
        };
        self.shared.control.send_signals(1 << (heard - 1));
        let now = clock::monotonic();
        let grace_end = now.saturating_add(self.shared.grace_ns);
        match signal {
            libc::SIGTERM => self.grace = self.grace.or(Some((grace_end, signal))),
            libc::SIGINT => {
                // SAFETY: asks about a descriptor number.
                let terminal = unsafe { libc::isatty(0) } == 1;
                let interactive = terminal && self.shared.net.stdin_used();
                if interactive && now - self.interrupts.1 > INTERRUPT_WINDOW_NS {
                    self.interrupts = (0, now);
                }
                self.interrupts.0 += 1;
                if self.interrupts.0 >= INTERRUPTS {
                    self.stop(signal);
                }
                if !interactive {
                    self.grace = self.grace.or(Some((grace_end, signal)));
                }
            }
            _ => {}
        }
    }

    /// Ends the program for good.
    fn stop(&self, signal: i32) -> ! {
        finish::with_outcome(&self.shared.events, Outcome::Killed(signal as u32))
    }
}
