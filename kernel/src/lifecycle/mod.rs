//! What an app hears of freezes and restores, and what it may say about them.
//!
//! The app's side is a file, `/dev/spore` ([`file`]). Here is the course of a
//! freeze: everybody who asked to be told finishes what must not be copied
//! (*suspending*); event loops that asked for it come to rest between two turns
//! (*parking*); then the copy is made. Both steps have a deadline. Whoever holds
//! the machine awake past the first one has the freeze refused.

mod command;
mod file;
mod message;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use spore_abi::boot::BootInfo;
use spore_abi::hostcall::{note, number, refused};
use spore_abi::vcpu::attention;
use spore_hal::{Lock, host, time};

use crate::freeze::{self, Outcome};
use crate::sched::timers::{self, Expire, TimerId};
use crate::signal::{self, SigInfo};
use file::Client;

/// Makes snapshots possible.
pub fn initialise(_info: &BootInfo) {
    crate::sched::FREEZE.set(freeze);
    crate::fs::device::LIFECYCLE.set(file::open);
}

/// How long event loops may take to come to rest once everybody is done, ns. A thread
/// that computes for longer is copied as it is.
const PARKING_NS: u64 = 100_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody wants to freeze.
    Running,
    /// Those who asked are told, and may take until this time.
    Suspending(u64),
    /// Event loops come to rest, until this time at the latest.
    Parking(u64),
}

struct Desk {
    phase: Phase,
    clients: Vec<Weak<Client>>,
    timer: Option<TimerId>,
}

static DESK: Lock<Desk> = Lock::new(Desk {
    phase: Phase::Running,
    clients: Vec::new(),
    timer: None,
});

/// Looks at the course of the freeze again when its deadline has passed.
struct Deadline;

impl Expire for Deadline {
    fn expired(self: Arc<Self>, _now: u64) {
        DESK.lock().timer = None;
        look_again();
    }
}

fn clients() -> Vec<Arc<Client>> {
    let mut desk = DESK.lock();
    desk.clients.retain(|client| client.strong_count() > 0);
    desk.clients.iter().filter_map(Weak::upgrade).collect()
}

fn enter(phase: Phase) {
    let old = {
        let mut desk = DESK.lock();
        desk.phase = phase;
        desk.timer.take()
    };
    if let Some(old) = old {
        timers::cancel(old);
    }
    if let Phase::Suspending(until) | Phase::Parking(until) = phase {
        let timer = timers::schedule(until, Arc::new(Deadline));
        DESK.lock().timer = Some(timer);
    }
}

/// Something has happened that a freeze may wait for: it goes on from the place where
/// the kernel may come to rest.
fn look_again() {
    if DESK.lock().phase != Phase::Running {
        host::vcpu()
            .attention
            .fetch_or(attention::FREEZE, Ordering::SeqCst);
    }
}

/// The monitor asks for a freeze, or one that has begun goes on.
fn freeze() {
    let phase = DESK.lock().phase;
    let now = time::monotonic();
    let all = clients();
    let until = match phase {
        Phase::Running => {
            let patience = host::vcpu().freeze_patience.load(Ordering::Relaxed);
            for client in &all {
                client.begin_suspend(patience);
            }
            let until = now.saturating_add(patience);
            enter(Phase::Suspending(until));
            until
        }
        Phase::Suspending(until) => until,
        Phase::Parking(until) => {
            if now >= until || all.iter().all(|client| client.is_parked()) {
                copy();
            }
            return;
        }
    };
    let held = all.iter().any(|client| client.holds() > 0);
    if held || all.iter().any(|client| client.owes_word()) {
        if now < until {
            return;
        }
        if held {
            freeze::refuse(refused::HELD);
            went_on(&all);
            return;
        }
    }
    // To everybody: an event loop hears of it through another file than the one in which
    // it comes to rest.
    for client in &all {
        client.tell(&message::park());
    }
    if all.iter().all(|client| client.is_parked()) {
        copy();
    } else {
        enter(Phase::Parking(now + PARKING_NS));
    }
}

fn copy() {
    // Armed timers go into the copy.
    enter(Phase::Running);
    if let Outcome::WentOn = freeze::freeze() {
        went_on(&clients());
    }
}

/// The same machine runs on.
fn went_on(clients: &[Arc<Client>]) {
    enter(Phase::Running);
    for client in clients {
        client.tell(&message::resumed());
    }
}

/// The machine was made from a copy: told before anything else can wake a thread, so
/// that event loops hear of it first.
pub fn restored() {
    for client in clients() {
        client.tell(&message::restored());
    }
    let process = crate::sched::current().process();
    let info = SigInfo::from_process(signal::number::CONT, signal::code::USER, 0);
    signal::send_to_process(process, info);
}

/// Tells the monitor how many holds there are.
fn tell_holds() {
    let holds: u64 = clients().iter().map(|client| client.holds()).sum();
    host::call(number::NOTE, [note::HOLDS, holds, 0, 0, 0, 0]);
}

/// Tells the monitor that the app is ready.
fn tell_ready() {
    host::call(number::NOTE, [note::READY, 0, 0, 0, 0, 0]);
}
