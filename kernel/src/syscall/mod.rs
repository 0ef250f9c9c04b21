//! System calls: dispatch from the table, results, restarts.

#[macro_use]
mod dispatch;
pub mod argument;
pub mod at;
pub mod clock;
pub mod control;
pub mod copy;
pub mod credentials;
pub mod descriptor;
pub mod directory;
pub mod epoll;
pub mod eventfd;
pub mod file;
pub mod identity;
pub mod inotify;
pub mod memory;
pub mod message;
pub mod metadata;
pub mod names;
pub mod pipe;
pub mod poll;
pub mod process;
pub mod resource;
pub mod signalfd;
pub mod signals;
pub mod socket;
pub mod splice;
pub mod table;
pub mod threads;
pub mod timerfd;
pub mod transfer;

use core::sync::atomic::Ordering;

use spore_abi::layout::FAST_ENTRY_VA;
use spore_hal::trap::{Return, TrapFrame};

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};
use crate::sched::block::Flow;
use crate::sched::thread::Thread;
use crate::sched::{self};
use crate::trace;

pub use dispatch::{Call, Entry, Handler, Kind, Level, Row};

/// A result as rax shows it.
pub fn encode(result: Result<usize>) -> u64 {
    match result {
        Ok(value) => value as u64,
        Err(Errno(number)) => (-i64::from(number)) as u64,
    }
}

/// What rax says.
pub fn decode(value: u64) -> Result<usize> {
    match (value as i64).checked_neg() {
        Some(number @ 1..=4095) => Err(Errno(number as u16)),
        _ => Ok(value as usize),
    }
}

/// Handles one system call of the current thread.
pub fn handle(frame: &mut TrapFrame, trapped: bool) -> Return {
    let thread = sched::current();
    let call = Call::of(frame);
    if trapped {
        crate::stats::count_trap();
    }
    if let Some(tracer) = trace::tracer() {
        tracer.enter(thread, &call);
    }
    let flow = table::dispatch(&call, frame);
    match flow {
        Flow::Done(result) => {
            finish(thread, frame, encode(result));
            if sched::leave(frame) {
                Return::Full
            } else {
                Return::Call
            }
        }
        Flow::Replaced => {
            sched::leave(frame);
            Return::Full
        }
        Flow::Block(future) => {
            sched::suspend(future);
            match sched::poll_call(thread) {
                Some(result) => finish(thread, frame, encode(result)),
                None => {
                    sched::block(thread);
                    sched::switch(frame, false);
                }
            }
            sched::leave(frame);
            Return::Full
        }
        Flow::Gone => {
            sched::switch(frame, false);
            sched::leave(frame);
            Return::Full
        }
    }
}

/// Puts the result of `thread`'s call into its registers; it is loaded.
pub fn finish(thread: &'static Thread, frame: &mut TrapFrame, result: u64) {
    frame.rax = result;
    if result == encode(Err(Errno::ERESTARTSYS)) {
        thread.restart.store(true, Ordering::Relaxed);
    }
    let call = Call::of(frame);
    crate::stats::record_call(thread.tid(), &call, result);
    if let Some(tracer) = trace::tracer() {
        tracer.leave(thread, &call, decode(result));
    }
}

/// The `syscall` instruction.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Makes an interrupted call run again: the registers of the call are still there,
/// and the fast entry takes it wherever it came from.
fn run_again(frame: &mut TrapFrame) {
    frame.rax = frame.orig;
    frame.rcx = frame.rip;
    frame.rip = FAST_ENTRY_VA;
}

/// No handler runs: an interrupted call goes on.
pub fn restart_without_handler(thread: &'static Thread, frame: &mut TrapFrame) {
    if thread.restart.swap(false, Ordering::Relaxed) {
        run_again(frame);
    }
}

/// A handler runs first: then the call goes on if SA_RESTART is set, else it ends with EINTR.
/// The handler sees where the call is made from, as on Linux: the instruction is still there,
/// behind the jump that stands for it, unless there was no room.
pub fn restart_with_handler(thread: &'static Thread, frame: &mut TrapFrame, restart: bool) {
    if thread.restart.swap(false, Ordering::Relaxed) {
        if restart {
            let site = frame.rip.wrapping_sub(SYSCALL.len() as u64);
            if user::read::<[u8; 2]>(UserAddr::new(site)) == Ok(SYSCALL) {
                frame.rax = frame.orig;
                frame.rip = site;
            } else {
                run_again(frame);
            }
        } else {
            frame.rax = encode(Err(Errno::EINTR));
        }
    }
}
