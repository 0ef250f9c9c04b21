//! `--trace`: system calls as strace prints them, one line each, to the log.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;

use spore_abi::boot::{BootInfo, option};

use crate::errno::Result;
use crate::mm::user::{self, UserAddr};
use crate::sched::thread::Thread;
use crate::syscall::{Call, Kind, names};
use crate::trace::Tracer;

/// Longest string or buffer that is shown.
const SHOWN: usize = 32;

/// Turns tracing on if the launch asked for it.
pub fn initialise(info: &BootInfo) {
    if info.options & option::TRACE != 0 {
        super::set_tracer(&Strace);
    }
}

struct Strace;

fn quoted(bytes: &[u8], more: bool) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(char::from(*byte)),
            other => {
                let _ = write!(text, "\\{other:o}");
            }
        }
    }
    text.push('"');
    if more {
        text.push_str("...");
    }
    text
}

fn buffer(addr: u64, len: usize) -> String {
    if addr == 0 {
        return "NULL".to_string();
    }
    let mut bytes = [0; SHOWN];
    let shown = len.min(SHOWN);
    match user::read_bytes(UserAddr::new(addr), &mut bytes[..shown]) {
        Ok(()) => quoted(&bytes[..shown], len > shown),
        Err(_) => format!("{addr:#x}"),
    }
}

fn path(addr: u64) -> String {
    if addr == 0 {
        return "NULL".to_string();
    }
    match user::read_path(UserAddr::new(addr)) {
        Ok(text) => quoted(&text, false),
        Err(_) => format!("{addr:#x}"),
    }
}

/// Signal names by number (signal(7)).
pub fn signal_name(signal: u64) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match signal
        .checked_sub(1)
        .and_then(|index| NAMES.get(index as usize))
    {
        Some(name) => format!("SIG{name}"),
        None if signal >= 32 => format!("SIGRT_{}", signal - 32),
        None => signal.to_string(),
    }
}

fn argument(kind: Kind, index: usize, call: &Call, result: Option<Result<usize>>) -> String {
    let value = call.args[index];
    let next = call.args.get(index + 1).copied().unwrap_or(0) as usize;
    match kind {
        Kind::Int => (value as i32).to_string(),
        Kind::Size => value.to_string(),
        Kind::Hex => {
            if value == 0 {
                "0".to_string()
            } else {
                format!("{value:#x}")
            }
        }
        Kind::Mode => format!("{value:#o}"),
        Kind::Ptr if value == 0 => "NULL".to_string(),
        Kind::Ptr => format!("{value:#x}"),
        Kind::Path => path(value),
        Kind::Data => buffer(value, next),
        Kind::Filled => match result {
            Some(Ok(len)) => buffer(value, len),
            _ => format!("{value:#x}"),
        },
        Kind::Signal => signal_name(value),
        Kind::Dir if value as i32 == -100 => "AT_FDCWD".to_string(),
        Kind::Dir => (value as i32).to_string(),
    }
}

fn describe(call: &Call, result: Option<Result<usize>>) -> String {
    let Some(row) = names::row(call.number) else {
        let args = call.args;
        return format!(
            "syscall_{:#x}({:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x})",
            call.number, args[0], args[1], args[2], args[3], args[4], args[5]
        );
    };
    let mut text = String::from(row.name);
    text.push('(');
    for (index, kind) in row.kinds.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&argument(*kind, index, call, result));
    }
    text.push(')');
    text
}

impl Tracer for Strace {
    fn enter(&self, thread: &Thread, call: &Call) {
        // Only calls that never return print here.
        if matches!(call.number, 60 | 231) {
            crate::log!("[pid {:5}] {} = ?", thread.tid(), describe(call, None));
        }
    }

    fn leave(&self, thread: &Thread, call: &Call, result: Result<usize>) {
        let outcome = match result {
            Ok(value) if value > 0xffff_ffff || matches!(call.number, 9 | 12 | 25) => {
                format!("{value:#x}")
            }
            Ok(value) => value.to_string(),
            Err(crate::errno::Errno::ERESTARTSYS) => "? ERESTARTSYS (To be restarted)".to_string(),
            Err(error) => format!("-1 {} ({})", error.name(), error.phrase()),
        };
        let line = describe(call, Some(result));
        crate::log!("[pid {:5}] {line:<39} = {outcome}", thread.tid());
    }

    fn ended(&self, code: u64, signal: u64) {
        if signal == 0 {
            crate::log!("+++ exited with {code} +++");
        } else {
            crate::log!("+++ killed by {} +++", signal_name(signal));
        }
    }
}
