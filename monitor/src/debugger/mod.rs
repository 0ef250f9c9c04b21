//! A gdb server: one debugger at a time, over TCP on the loopback address.
//!
//! The vCPU thread serves it while the guest is stopped, inside the host call
//! DEBUG_STOP. While the guest runs, the housekeeping thread only watches the
//! descriptor in [`Watch`]; what arrives there (Ctrl-C, or a debugger that
//! connects again) makes it ask the kernel for a stop.

mod target;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use gdbstub::common::{Signal, Tid};
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, MultiThreadStopReason};
use spore_abi::hostcall::DebugRegisters;

use crate::config::Program;
use crate::error::{MonitorError, Result, SPORE_PORT_PERMISSION, SPORE_PORT_TAKEN};
use crate::events::Events;
use crate::finish::{self, Outcome};
use crate::housekeeping::Housekeeping;
use crate::memory::GuestMemory;
use target::GuestTarget;

type Machine = GdbStubStateMachine<'static, GuestTarget, TcpStream>;
type StopReason = MultiThreadStopReason<u64>;

/// How long a debugger may take to hear that the program has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// In [`Watch`]: nobody is attached yet, and the guest waits.
const WAITING: RawFd = -2;

/// The descriptor that the housekeeping thread watches while the guest runs; -1
/// while it is stopped, or without a debugger.
#[derive(Debug)]
pub struct Watch(AtomicI32);

impl Watch {
    /// Nothing to watch.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI32::new(-1)))
    }

    /// Whether the guest waits for its first debugger.
    pub fn is_waiting(&self) -> bool {
        self.fd() == WAITING
    }

    /// What to watch now.
    pub fn fd(&self) -> RawFd {
        self.0.load(Ordering::Acquire)
    }

    /// Something arrived: nobody watches until the guest runs again.
    pub fn pause(&self) {
        self.0.store(-1, Ordering::Release);
    }
}

/// The gdb server of one guest.
pub struct Debugger {
    listener: TcpListener,
    watch: Arc<Watch>,
    housekeeping: Arc<Housekeeping>,
    events: Arc<Events>,
    target: GuestTarget,
    session: Option<Machine>,
}

impl Debugger {
    /// Listens on 127.0.0.1:`port` and says so on standard error, unless quiet.
    pub fn listen(
        port: u16,
        memory: Arc<GuestMemory>,
        program: &Program,
        watch: Arc<Watch>,
        events: Arc<Events>,
        housekeeping: Arc<Housekeeping>,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|e| {
            let address = format!("127.0.0.1:{port}");
            match e.kind() {
                ErrorKind::PermissionDenied => MonitorError::new(
                    SPORE_PORT_PERMISSION,
                    format!("no permission to listen on {address}"),
                ),
                _ => MonitorError::new(SPORE_PORT_TAKEN, format!("{address} is already in use")),
            }
        })?;
        if let Ok(address) = listener.local_addr() {
            events.waiting_for_debugger(address);
        }
        Ok(Self {
            listener,
            watch,
            housekeeping,
            events,
            target: GuestTarget::new(memory, program),
            session: None,
        })
    }

    /// The guest has stopped: `signal` says why, its registers lie at `registers`.
    /// Returns when it shall run again: 0, or the signal that the program gets.
    pub fn stop(&mut self, memory: &GuestMemory, signal: u64, registers: u64) -> i64 {
        let Ok(found) = memory.read::<DebugRegisters>(registers) else {
            return -i64::from(libc::EFAULT);
        };
        self.watch.pause();
        let reason = self.target.stopped(found, signal as u32);
        self.talk(reason);
        let (registers_now, deliver) = self.target.resumed();
        let watched = match &self.session {
            Some(GdbStubStateMachine::Running(_)) => self.target.connection,
            _ => self.listener.as_raw_fd(),
        };
        self.watch.0.store(watched, Ordering::Release);
        self.housekeeping.look_again();
        match memory.write(registers, &registers_now) {
            Ok(()) => i64::from(deliver),
            Err(_) => -i64::from(libc::EFAULT),
        }
    }

    /// The program has ended; a debugger that is attached hears of it.
    pub fn ended(&mut self, outcome: Outcome) {
        let reason = match outcome {
            Outcome::Exited(code) => StopReason::Exited(code),
            Outcome::Killed(signal) => StopReason::Terminated(target::gdb_signal(signal)),
        };
        if let Some(GdbStubStateMachine::Running(mut session)) = self.session.take() {
            let connection = session.borrow_conn().try_clone();
            let _ = session.report_stop(&mut self.target, reason);
            if let Ok(connection) = connection {
                close_politely(connection);
            }
        }
    }

    /// Serves the debugger until it lets the guest run or goes away.
    fn talk(&mut self, reason: StopReason) {
        let mut reason = Some(reason);
        loop {
            let state = match self.session.take() {
                Some(state) => state,
                None => match self.accept() {
                    Some(state) => {
                        // A new debugger asks for the reason itself.
                        reason = None;
                        state
                    }
                    None => return self.target.detach(),
                },
            };
            let Some(next) = self.step(state, &mut reason) else {
                // The debugger is gone: the program runs on without it.
                return self.target.detach();
            };
            let running = matches!(next, GdbStubStateMachine::Running(_));
            self.session = Some(next);
            if running && reason.is_none() {
                return;
            }
        }
    }

    /// One step of the protocol; `None` ends the session.
    fn step(&mut self, state: Machine, reason: &mut Option<StopReason>) -> Option<Machine> {
        let target = &mut self.target;
        match state {
            GdbStubStateMachine::Idle(mut session) => {
                let byte = session.borrow_conn().read().ok()?;
                noted(session.incoming_data(target, byte))
            }
            GdbStubStateMachine::Running(mut session) => {
                // A Ctrl-C that is on its way explains this stop.
                match session.borrow_conn().peek() {
                    Ok(Some(_)) => {
                        let byte = session.borrow_conn().read().ok()?;
                        noted(session.incoming_data(target, byte))
                    }
                    Ok(None) => noted(session.report_stop(target, reason.take()?)),
                    Err(_) => None,
                }
            }
            GdbStubStateMachine::CtrlCInterrupt(session) => {
                let stopped = StopReason::SignalWithThread {
                    tid: target.thread(),
                    signal: Signal::SIGINT,
                };
                *reason = None;
                noted(session.interrupt_handled(target, Some(stopped)))
            }
            GdbStubStateMachine::Disconnected(session) => {
                if session.get_reason() == DisconnectReason::Kill {
                    finish::with_outcome(&self.events, Outcome::Killed(libc::SIGKILL as u32));
                }
                None
            }
        }
    }

    /// Waits for a debugger. None is waited for once one has been here.
    fn accept(&mut self) -> Option<Machine> {
        let first = self.target.connection < 0;
        let _ = self.listener.set_nonblocking(!first);
        if first {
            self.watch.0.store(WAITING, Ordering::Release);
        }
        let accepted = self.listener.accept();
        self.watch.pause();
        let (connection, _) = accepted.ok()?;
        let _ = connection.set_nonblocking(false);
        let _ = connection.set_nodelay(true);
        self.target.connection = connection.as_raw_fd();
        GdbStub::new(connection)
            .run_state_machine(&mut self.target)
            .ok()
    }
}

/// A failed session ends; with SPORE_DEBUG=1 it says why.
fn noted<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> Option<T> {
    if let Err(error) = &result
        && finish::debugging()
    {
        finish::eprintln_quietly(&format!("debug: gdb session: {error}"));
    }
    result.ok()
}

/// Ends a connection so that the other side can read the last words: a socket
/// closed with unread data would take them back.
fn close_politely(mut connection: TcpStream) {
    let _ = connection.shutdown(Shutdown::Write);
    let _ = connection.set_read_timeout(Some(LAST_WORDS));
    let mut rest = [0; 256];
    while std::io::Read::read(&mut connection, &mut rest).is_ok_and(|got| got > 0) {}
}

/// The thread id as gdb wants it: never zero.
fn thread_id(tid: u64) -> Tid {
    Tid::new(tid as usize).unwrap_or(Tid::MIN)
}
