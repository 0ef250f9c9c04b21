//! The activator: holds the ports of a program that sleeps, and wakes it when
//! somebody connects. The connection waits in the kernel's queue meanwhile; the
//! woken machine takes it from there, so that nothing is copied or lost.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::handoff::{self, Wake};
use super::pool;
use crate::clock;
use crate::config::{self, Protocol, PublishRule};
use crate::error::{MonitorError, Result, SPORE_INTERNAL, SPORE_LAUNCH_CONFIG};
use crate::events::Style;
use crate::net::listen_at;

/// Holds the ports that the configuration publishes, for ever. `pool`: where shells
/// stand by; without one, each wake restores a machine.
pub fn run(config: &Path, pool: Option<&Path>) -> Result<()> {
    let settings = config::load(config)?;
    // Nothing waits for datagrams while the program sleeps: there is no queue that the
    // machine could take over.
    let (datagrams, rules): (Vec<PublishRule>, Vec<PublishRule>) = settings
        .publish
        .unwrap_or_default()
        .into_iter()
        .partition(|rule| rule.protocol == Protocol::Udp);
    if rules.is_empty() {
        return Err(MonitorError::new(
            SPORE_LAUNCH_CONFIG,
            "launch configuration: an activator needs a published port",
        ));
    }
    let mut listeners: Vec<(PublishRule, OwnedFd)> = Vec::new();
    for rule in rules {
        let (fd, host) = listen_at(&rule)?;
        let url = format!("http://{host}");
        println!(
            "{}",
            json!({"event": "asleep", "guestPort": rule.guest, "url": url})
        );
        let rule = PublishRule {
            host: host.port(),
            ..rule
        };
        listeners.push((rule, fd));
    }
    let descriptors: Vec<RawFd> = listeners.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    let wake = || Wake {
        publish: Some(
            listeners
                .iter()
                .map(|(rule, _)| rule)
                .chain(&datagrams)
                .cloned()
                .collect(),
        ),
        listeners: descriptors.len(),
        events: Some(Style::Quiet),
        ..Wake::new_machine()
    };
    loop {
        wait_for_client(&descriptors);
        let at = clock::monotonic();
        let stream = shell(config, pool)?;
        handoff::send(&stream, &wake(), &descriptors).map_err(lost)?;
        // Told once the machine is on its way: whoever hears it wants a processor too.
        println!("{}", json!({"event": "waking", "at": at}));
        for line in BufReader::new(stream)
            .lines()
            .map_while(std::result::Result::ok)
        {
            let said: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            println!("{said}");
        }
        println!("{}", json!({"event": "asleep"}));
    }
}

fn shell(config: &Path, pool: Option<&Path>) -> Result<UnixStream> {
    match pool {
        Some(path) => UnixStream::connect(path),
        None => pool::start_one("--shell-once", config, &[]),
    }
    .map_err(lost)
}

fn wait_for_client(descriptors: &[RawFd]) {
    let mut wait: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|fd| libc::pollfd {
            fd: *fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: polls live entries.
    unsafe { libc::poll(wait.as_mut_ptr(), wait.len() as libc::nfds_t, -1) };
}

fn lost(error: std::io::Error) -> MonitorError {
    MonitorError::new(SPORE_INTERNAL, format!("unexpected: cannot wake: {error}"))
}
