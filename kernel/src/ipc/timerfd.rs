//! timerfd_create(2): a timer that is read like a file.

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use core::any::Any;

use spore_hal::Lock;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::ipc::anonymous::{self, Home};
use crate::mm::io::Writer;
use crate::sched::notify::Notifier;
use crate::sched::timers::{self, Expire, TimerId};

/// The arithmetic of a timer, apart from clocks: all times in nanoseconds of
/// CLOCK_MONOTONIC, given by the caller.
#[derive(Default)]
struct Countdown {
    /// Next expiration; `None`: not armed.
    deadline: Option<u64>,
    /// Time between expirations, 0 for a single one.
    interval: u64,
    /// Expirations that nobody has read.
    ticks: u64,
}

impl Countdown {
    /// Counts the expirations up to `now`.
    fn advance(&mut self, now: u64) {
        let Some(deadline) = self.deadline.filter(|deadline| *deadline <= now) else {
            return;
        };
        if self.interval == 0 {
            self.ticks += 1;
            self.deadline = None;
            return;
        }
        let count = 1 + (now - deadline) / self.interval;
        self.ticks = self.ticks.saturating_add(count);
        self.deadline = Some(deadline.saturating_add(count.saturating_mul(self.interval)));
    }
    /// Time until the next expiration (0: not armed) and the interval.
    fn value(&self, now: u64) -> (u64, u64) {
        // An armed timer never shows zero.
        let left = self
            .deadline
            .map_or(0, |deadline| deadline.saturating_sub(now).max(1));
        (left, self.interval)
    }
}

struct State {
    countdown: Countdown,
    /// Where the next expiration is scheduled. Once it was announced, the next one
    /// is scheduled when the timer is looked at: an unread timer wakes nobody again.
    scheduled: Option<TimerId>,
}

/// A timer.
pub struct TimerFd {
    me: Weak<TimerFd>,
    /// Its absolute times are CLOCK_REALTIME.
    pub realtime: bool,
    state: Lock<State>,
    notifier: Notifier,
    inode: u64,
}

impl TimerFd {
    /// A timer that is not armed.
    pub fn new(realtime: bool) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            realtime,
            state: Lock::new(State {
                countdown: Countdown::default(),
                scheduled: None,
            }),
            notifier: Notifier::new(),
            inode: anonymous::next_inode(),
        })
    }
    /// Sets the timer to expire at `deadline` (CLOCK_MONOTONIC, ns; `None`: never)
    /// and then every `interval` ns; answers the former value as [`TimerFd::value`].
    pub fn set(&self, deadline: Option<u64>, interval: u64) -> (u64, u64) {
        let now = spore_hal::time::monotonic();
        let old = {
            let mut state = self.state.lock();
            state.countdown.advance(now);
            let old = state.countdown.value(now);
            state.countdown = Countdown {
                deadline,
                interval,
                ticks: 0,
            };
            old
        };
        self.schedule();
        old
    }
    /// Time left until the next expiration, 0 if not armed; and the interval.
    pub fn value(&self) -> (u64, u64) {
        let now = spore_hal::time::monotonic();
        let value = {
            let mut state = self.state.lock();
            state.countdown.advance(now);
            state.countdown.value(now)
        };
        self.schedule();
        value
    }
    /// Schedules the next expiration in place of what is scheduled.
    fn schedule(&self) {
        let (old, deadline) = {
            let mut state = self.state.lock();
            (state.scheduled.take(), state.countdown.deadline)
        };
        if let Some(old) = old {
            timers::cancel(old);
        }
        if let (Some(deadline), Some(me)) = (deadline, self.me.upgrade()) {
            let id = timers::schedule(deadline, me);
            self.state.lock().scheduled = Some(id);
        }
    }
}

impl Expire for TimerFd {
    fn expired(self: Arc<Self>, now: u64) {
        {
            let mut state = self.state.lock();
            state.scheduled = None;
            state.countdown.advance(now);
        }
        self.notifier.notify(events::IN | events::RDNORM);
    }
}

impl File for TimerFd {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        if out.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let ticks = {
            let mut state = self.state.lock();
            state.countdown.advance(spore_hal::time::monotonic());
            core::mem::take(&mut state.countdown.ticks)
        };
        if ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        self.schedule();
        let copied = out.put(&ticks.to_ne_bytes())?;
        out.limit(0);
        if copied == 8 {
            Ok(8)
        } else {
            Err(Errno::EFAULT)
        }
    }
    fn poll(&self) -> u32 {
        if self.state.lock().countdown.ticks > 0 {
            events::IN | events::RDNORM
        } else {
            0
        }
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::attributes(Home::Anonymous, self.inode, 0o600))
    }
    fn path(&self) -> String {
        String::from("anon_inode:[timerfd]")
    }
    fn released(&self, _open: &OpenFile) {
        let scheduled = self.state.lock().scheduled.take();
        if let Some(id) = scheduled {
            timers::cancel(id);
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_shot_expires_once() {
        let mut countdown = Countdown {
            deadline: Some(100),
            ..Countdown::default()
        };
        countdown.advance(99);
        assert_eq!((countdown.ticks, countdown.value(40)), (0, (60, 0)));
        countdown.advance(1_000);
        countdown.advance(2_000);
        assert_eq!((countdown.ticks, countdown.value(2_000)), (1, (0, 0)));
    }

    #[test]
    fn intervals_that_passed_unread_are_counted() {
        let mut countdown = Countdown {
            deadline: Some(100),
            interval: 10,
            ticks: 0,
        };
        countdown.advance(100);
        assert_eq!((countdown.ticks, countdown.value(100)), (1, (10, 10)));
        countdown.advance(135);
        assert_eq!((countdown.ticks, countdown.value(135)), (4, (5, 10)));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut countdown = Countdown {
            deadline: Some(1),
            interval: u64::MAX,
            ticks: 0,
        };
        countdown.advance(u64::MAX - 1);
        assert_eq!((countdown.ticks, countdown.deadline), (1, Some(u64::MAX)));
        let mut countdown = Countdown {
            deadline: Some(0),
            interval: 1,
            ticks: 0,
        };
        countdown.advance(u64::MAX - 1);
        assert_eq!(countdown.ticks, u64::MAX);
    }
}
