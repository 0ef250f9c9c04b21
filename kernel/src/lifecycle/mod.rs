//! What an app hears of freezes and restores, and what it may say about them.
//!
//! The app's side is a file, `/dev/spore` ([`file`]). Here is the course of a
//! freeze: work that goes on in the background comes to its end (*settling*): every copy
//! would go on with it; everybody who asked to be told finishes what must not be copied
//! (*suspending*); event loops that asked for it come to rest between two turns
//! (*parking*), and what that has set off ends (*resting*); then the copy is made. Every
//! step has a deadline. Whoever holds the machine awake past the second one has the freeze
//! refused.

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
use crate::mm::frames;
use crate::sched::{
    self,
    timers::{self, Expire, TimerId},
};
use crate::signal::{self, SigInfo};
use file::Client;

/// Makes snapshots possible.
pub fn initialise(_info: &BootInfo) {
    sched::FREEZE.set(freeze);
    crate::fs::device::LIFECYCLE.set(file::open);
}

/// How long threads may go on with what they do before anybody hears of the freeze, ns.
const SETTLING_NS: u64 = 100_000_000;
/// How long others may still run once the event loops have come to rest, ns: the program
/// stands still meanwhile.
const RESTING_NS: u64 = 5_000_000;
/// How long event loops may take to come to rest once everybody is done, ns. A thread
/// that computes for longer is copied as it is.
const PARKING_NS: u64 = 100_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody wants to freeze.
    Running,
    /// Until nothing runs, and until this time at the latest.
    Settling(u64),
    /// Those who asked are told, and may take until this time.
    Suspending(u64),
    /// Event loops come to rest, until this time at the latest.
    Parking(u64),
    /// Until nothing runs, and until this time at the latest.
    Resting(u64),
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
    let waits_for_rest = matches!(phase, Phase::Settling(_) | Phase::Resting(_));
    sched::REST_WANTED.store(waits_for_rest, Ordering::Relaxed);
    if let Phase::Settling(until)
    | Phase::Suspending(until)
    | Phase::Parking(until)
    | Phase::Resting(until) = phase
    {
        let timer = timers::schedule(until, Arc::new(Deadline));
        DESK.lock().timer = Some(timer);
    }
}

/// Whether this phase may end: nothing runs, or its time is over.
fn is_over(until: u64) -> bool {
    sched::is_idle() || time::monotonic() >= until
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
    match phase {
        Phase::Running => {
            let until = time::monotonic().saturating_add(SETTLING_NS);
            enter(Phase::Settling(until));
            if is_over(until) {
                suspend();
            }
        }
        Phase::Settling(until) if is_over(until) => suspend(),
        Phase::Suspending(until) => park(until),
        Phase::Parking(until) if time::monotonic() >= until => copy(),
        Phase::Parking(_) => rest(),
        Phase::Resting(until) if is_over(until) => copy(),
        Phase::Settling(_) | Phase::Resting(_) => {}
    }
}

/// Everybody hears of the freeze.
fn suspend() {
    let patience = host::vcpu().freeze_patience.load(Ordering::Relaxed);
    for client in clients() {
        client.begin_suspend(patience);
    }
    let until = time::monotonic().saturating_add(patience);
    enter(Phase::Suspending(until));
    park(until);
}

/// Event loops come to rest once nobody has to be waited for.
fn park(until: u64) {
    let all = clients();
    let held = all.iter().any(|client| client.holds() > 0);
    if held || all.iter().any(|client| client.owes_word()) {
        if time::monotonic() < until {
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
        enter(Phase::Parking(time::monotonic().saturating_add(PARKING_NS)));
    }
}

/// What the event loops have set off comes to its end once they are at rest themselves.
fn rest() {
    if clients().iter().all(|client| client.is_parked()) {
        let until = time::monotonic().saturating_add(RESTING_NS);
        enter(Phase::Resting(until));
        if is_over(until) {
            copy();
        }
    }
}

fn copy() {
    // Armed timers go into the copy.
    enter(Phase::Running);
    frames::clear_free();
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
    let process = sched::current().process();
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
