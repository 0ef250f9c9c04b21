//! What the monitor tells the user or the calling program: one line for people,
//! JSON lines for machines, or nothing.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::MonitorError;
use crate::finish::eprintln_quietly;
use crate::used::Used;

/// How events are told.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// The address of a published port, as a line for people.
    #[default]
    Human,
    /// One JSON object a line on standard output.
    Json,
    /// Nothing.
    Quiet,
}

/// Tells events. Shared by all threads of the monitor.
pub struct Events {
    style: Style,
    started: Instant,
    /// What the program used, if that is recorded.
    used: OnceLock<Used>,
    /// Name of the machine, told with every event; empty: none.
    instance: String,
}

impl Events {
    /// `started` is the moment from which `booted` counts.
    pub fn new(style: Style, started: Instant) -> Self {
        Self {
            style,
            started,
            used: OnceLock::new(),
            instance: String::new(),
        }
    }

    /// Tells the machine's name with every event.
    pub fn of(mut self, instance: &str) -> Self {
        self.instance = instance.to_owned();
        self
    }

    /// The image that the launcher built; passed through as it is.
    pub fn built(&self, event: &Value) {
        self.machine(event);
    }

    /// The guest is about to run its first instruction.
    pub fn booted(&self) {
        let ms = self.started.elapsed().as_secs_f64() * 1000.0;
        self.machine(&json!({"event": "booted", "ms": (ms * 1000.0).round() / 1000.0}));
    }

    /// The guest goes on from a snapshot of this generation.
    pub fn restored(&self, generation: u64) {
        let ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let ms = (ms * 1000.0).round() / 1000.0;
        self.machine(&json!({"event": "restored", "generation": generation, "ms": ms}));
    }

    /// The guest sleeps: what it is made of is in a file.
    pub fn asleep(&self) {
        self.machine(&json!({"event": "asleep"}));
    }

    /// The guest goes on; bringing its memory back has taken so long.
    pub fn awake(&self, taken: Duration) {
        let ms = (taken.as_secs_f64() * 1_000_000.0).round() / 1000.0;
        self.machine(&json!({"event": "awake", "ms": ms}));
    }

    /// The program says that it is ready.
    pub fn ready(&self) {
        self.machine(&json!({"event": "ready"}));
    }

    /// How many times the program holds the machine awake.
    pub fn holds(&self, count: u64) {
        self.machine(&json!({"event": "holds", "count": count}));
    }

    /// A snapshot was not taken, and the guest boots instead.
    pub fn refused(&self, error: &MonitorError) {
        self.machine(&json!({
            "event": "refused", "code": error.code.name, "message": error.what,
        }));
        eprintln_quietly(&format!("{error}; booting instead"));
    }

    /// A guest port can be reached at `host`.
    pub fn listening(&self, guest_port: u16, host: SocketAddr) {
        self.published("listening", guest_port, &format!("http://{host}"));
    }

    /// The program listens on a port that leads nowhere.
    pub fn unpublished(&self, guest_port: u16) {
        if guest_port != 0 {
            self.machine(&json!({"event": "unpublished", "guestPort": guest_port}));
        }
    }

    fn published(&self, event: &str, guest_port: u16, url: &str) {
        self.machine(&json!({"event": event, "guestPort": guest_port, "url": url}));
        if self.style == Style::Human {
            // Never into the program's standard output when that is a pipe.
            let line = format!("{url}\n");
            let mut stdout = std::io::stdout();
            let _ = if stdout.is_terminal() {
                stdout.write_all(line.as_bytes()).and(stdout.flush())
            } else {
                std::io::stderr().write_all(line.as_bytes())
            };
        }
    }

    /// A guest port takes datagrams at `host`.
    pub fn bound(&self, guest_port: u16, host: SocketAddr) {
        self.published("bound", guest_port, &format!("udp://{host}"));
    }

    /// A debugger may connect to `address`; the program waits for it.
    pub fn waiting_for_debugger(&self, address: SocketAddr) {
        self.machine(&json!({"event": "debugger", "address": address.to_string()}));
        if self.style == Style::Human {
            eprintln_quietly(&format!("waiting for gdb: target remote {address}"));
        }
    }

    /// The guest counts what the program uses; only its first word counts.
    pub fn record(&self, used: Used) {
        let _ = self.used.set(used);
    }

    fn used(&self) {
        if let Some(event) = self.used.get().and_then(Used::event) {
            self.machine(&event);
        }
    }

    /// The program ended by itself.
    pub fn exited(&self, code: u8) {
        self.used();
        self.machine(&json!({"event": "exited", "exitCode": code}));
    }

    /// A signal ended the program.
    pub fn killed(&self, signal: u32) {
        self.used();
        self.machine(&json!({"event": "exited", "signal": signal_name(signal)}));
    }

    fn machine(&self, event: &Value) {
        if self.style == Style::Json {
            let mut event = event.clone();
            if !self.instance.is_empty() {
                event["instance"] = json!(self.instance);
            }
            let mut stdout = std::io::stdout().lock();
            // A reader that went away must not end the program.
            let _ = stdout
                .write_all(format!("{event}\n").as_bytes())
                .and_then(|()| stdout.flush());
        }
    }
}

/// Name of a Linux signal, such as SIGTERM; `SIG<n>` if it has none.
pub fn signal_name(signal: u32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match NAMES.get((signal as usize).wrapping_sub(1)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_linux_names() {
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(31), "SIGSYS");
        assert_eq!(signal_name(0), "SIG0");
        assert_eq!(signal_name(40), "SIG40");
    }
}
