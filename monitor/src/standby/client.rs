//! `spore run` with a pool: has a shell go on in this process's place, hands its
//! streams over, passes signals on and ends as the program ends.

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::handoff::{self, Wake};
use crate::config::Config;
use crate::signals::ProgramSignals;

/// Wakes a shell and waits for its end: the exit status. `None`: there is no pool.
pub fn run(pool: &Path, config: &Config, signals: &ProgramSignals) -> Option<i32> {
    let stream = UnixStream::connect(pool).ok()?;
    let wake = Wake {
        publish: config.publish.clone(),
        listeners: 0,
        streams: true,
        restored_env: config.restored_env.clone(),
        hostname: config.hostname.clone(),
        instance: config.instance.clone(),
        events: Some(config.events),
        ..Wake::default()
    };
    handoff::send(&stream, &wake, &[0, 1, 2]).ok()?;
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut pid = 0;
    loop {
        let mut wait = [stream.as_raw_fd(), signals.fd()].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: polls live entries.
        unsafe { libc::poll(wait.as_mut_ptr(), 2, -1) };
        while let Some(signal) = signals.take() {
            if pid > 0 {
                // SAFETY: takes only numbers; the shell said which process it is.
                unsafe { libc::kill(pid, signal) };
            }
        }
        if wait[0].revents == 0 {
            continue;
        }
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap_or(0) == 0 {
            return Some(70);
        }
        let said: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        if let Some(number) = said["pid"].as_i64() {
            pid = number as i32;
        }
        if let Some(status) = said["status"].as_i64() {
            return Some(status as i32);
        }
    }
}
