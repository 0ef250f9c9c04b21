//! Signals reach the guest, and a guest that ignores them is stopped.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use crate::guest::Guest;
use serde_json::json;

/// Waits until the guest is in IDLE or its busy loop: the housekeeping thread is
/// the last thing to start before the first instruction.
fn wait_until_running(child: &Child) {
    let tasks = format!("/proc/{}/task", child.id());
    let started = Instant::now();
    while std::fs::read_dir(&tasks).map_or(0, Iterator::count) < 2 {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "no second thread"
        );
        std::thread::yield_now();
    }
}

fn kill(child: &Child, signal: i32) {
    // SAFETY: signals a child of this test.
    let result = unsafe { libc::kill(child.id() as i32, signal) };
    assert_eq!(result, 0);
}

fn signalled(start: &str, signal: i32) -> ExitStatus {
    let guest = Guest::new(start);
    let mut child = guest.start();
    wait_until_running(&child);
    kill(&child, signal);
    child.wait().unwrap()
}

#[test]
fn an_idle_guest_hears_a_signal() {
    for signal in [libc::SIGHUP, libc::SIGTERM, libc::SIGUSR2, libc::SIGWINCH] {
        let status = signalled("guest_wait_for_signal", signal);
        assert_eq!(status.code(), Some(signal));
    }
}

#[test]
fn a_busy_guest_hears_a_signal() {
    let status = signalled("guest_spin_for_signal", libc::SIGTERM);
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_deaf_guest_is_stopped_after_the_grace_period() {
    for (signal, name) in [(libc::SIGTERM, "SIGTERM"), (libc::SIGINT, "SIGINT")] {
        let mut guest = Guest::new("guest_deaf");
        guest.config["graceMs"] = json!(150);
        guest.config["events"] = json!("json");
        let child = guest.start();
        wait_until_running(&child);
        let asked = Instant::now();
        kill(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert!(asked.elapsed() >= Duration::from_millis(150));
        assert_eq!(output.status.code(), Some(128 + signal));
        let last = String::from_utf8(output.stdout).unwrap();
        let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
        assert_eq!(last, json!({"event": "exited", "signal": name}));
    }
}

#[test]
fn the_third_interrupt_stops_a_deaf_guest() {
    let guest = Guest::new("guest_deaf");
    let mut child = guest.start();
    wait_until_running(&child);
    // Equal signals that are pending merge: send until it ends, three at least.
    let mut sent = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        kill(&child, libc::SIGINT);
        sent += 1;
        std::thread::yield_now();
    };
    assert!(sent >= 3);
    assert_eq!(status.code(), Some(130));
}

#[test]
fn an_ignored_signal_stays_ignored() {
    use std::os::unix::process::CommandExt;
    let mut guest = Guest::new("guest_wait_for_signal");
    guest.config["graceMs"] = json!(60_000);
    let mut command = guest.command();
    // SAFETY: signal is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            Ok(())
        })
    };
    let mut child = command.spawn().unwrap();
    wait_until_running(&child);
    kill(&child, libc::SIGHUP);
    kill(&child, libc::SIGUSR1);
    assert_eq!(child.wait().unwrap().code(), Some(libc::SIGUSR1));
}

/// Context switches of all threads so far: any activity shows here.
fn switches(child: &Child) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let status = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.unwrap().path().join("status")).unwrap()
    };
    let count = |text: String| -> u64 {
        let lines = text.lines().filter(|line| line.contains("ctxt_switches"));
        lines
            .map(|line| {
                line.split_whitespace()
                    .nth(1)
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            })
            .sum()
    };
    tasks.map(status).map(count).sum()
}

#[test]
fn an_idle_guest_costs_nothing() {
    let guest = Guest::new("guest_wait_for_signal");
    let mut child = guest.start();
    wait_until_running(&child);
    // Let the housekeeping thread notice; then nothing may happen any more.
    std::thread::sleep(Duration::from_millis(100));
    let before = switches(&child);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(switches(&child), before);
    kill(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(libc::SIGTERM));
}
