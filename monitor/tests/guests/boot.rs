//! A guest boots, talks to the monitor and ends.

use std::time::{Duration, Instant};

use crate::guest::{ABSENT, Guest, assert_error};
use serde_json::json;

fn status_of(start: &str) -> Option<i32> {
    let output = Guest::new(start).run();
    eprintln!(
        "{:?} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.status.code()
}

#[test]
fn the_exit_code_is_the_programs() {
    assert_eq!(status_of("guest_exit"), Some(7));
}

#[test]
fn a_signal_gives_128_plus_its_number() {
    assert_eq!(status_of("guest_exit_by_signal"), Some(143));
}

#[test]
fn idle_returns_at_its_deadline() {
    let started = Instant::now();
    assert_eq!(status_of("guest_idle"), Some(0));
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[test]
fn the_guests_clock_is_the_hosts() {
    assert_eq!(status_of("guest_clock"), Some(0));
}

#[test]
fn exceptions_reach_the_kernel_at_cpl3() {
    assert_eq!(status_of("guest_fault"), Some(14));
}

#[test]
fn int3_flushes_and_returns() {
    assert_eq!(status_of("guest_flush"), Some(5));
}

#[test]
fn the_syscall_instruction_reaches_the_kernel() {
    assert_eq!(status_of("guest_syscall"), Some(9));
}

#[test]
fn a_tick_redirects_a_busy_program() {
    assert_eq!(status_of("guest_spin_for_tick"), Some(1));
}

#[test]
fn a_due_timer_redirects_a_busy_program() {
    assert_eq!(status_of("guest_spin_for_timer"), Some(4));
}

#[test]
fn the_kernel_itself_is_never_redirected() {
    assert_eq!(status_of("guest_spin_in_kernel"), Some(11));
}

#[test]
fn arguments_arrive() {
    let mut guest = Guest::new("guest_argument");
    guest.config["argv"] = json!(["Q"]);
    assert_eq!(guest.run().status.code(), Some(i32::from(b'Q')));
}

#[test]
fn program_frames_are_shared_or_copied() {
    let mut guest = Guest::new("guest_segments");
    let layer = guest.path("layer");
    let mut bytes = vec![0_u8; 3 << 20];
    bytes[4096] = 3;
    bytes[4096 + 77] = 40;
    std::fs::write(&layer, &bytes).unwrap();
    guest.config["layers"] = json!([
        {"path": layer, "offset": 4096, "length": 2 << 20, "gpa": "0x1000000000"},
    ]);
    guest.config["shared"] =
        json!([{"va": "0x400000", "layer": 0, "offset": 0, "length": 2 << 20}]);
    guest.config["private"] = json!([{
        "va": "0x600000", "gpa": "0x800000", "length": 2 << 20,
        "parts": [{"layer": 0, "offset": 77, "length": 1, "at": 16}],
    }]);
    let output = guest.run();
    assert_eq!(output.status.code(), Some(43), "{output:?}");
    assert_eq!(
        std::fs::read(&layer).unwrap(),
        bytes,
        "the layer was written"
    );
}

#[test]
fn events_are_lines_of_json() {
    let mut guest = Guest::new("guest_exit_by_signal");
    guest.config["events"] = json!("json");
    guest.config["built"] = json!({"event": "built", "cached": true});
    let output = guest.run();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let events: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0], json!({"event": "built", "cached": true}));
    assert_eq!(events[1]["event"], "booted");
    assert!(events[1]["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(events[2], json!({"event": "exited", "signal": "SIGTERM"}));
}

#[test]
fn a_quiet_or_human_run_adds_nothing_to_the_output() {
    for style in ["quiet", "human"] {
        let mut guest = Guest::new("guest_exit");
        guest.config["events"] = json!(style);
        guest.config["built"] = json!({"event": "built"});
        let output = guest.run();
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (0, 0),
            "{style}"
        );
    }
}

#[test]
fn a_panic_of_the_kernel_is_one_line() {
    let output = Guest::new("guest_panic").run();
    let line = assert_error(&output, "SPORE_KERNEL_PANIC", 70);
    assert!(line.contains("no frames left"), "{line}");
}

#[test]
fn a_stray_access_or_triple_fault_is_one_line() {
    for start in ["guest_stray", "guest_triple_fault"] {
        assert_error(&Guest::new(start).run(), "SPORE_KERNEL_PANIC", 70);
    }
}

#[test]
fn memory_that_was_not_asked_for_is_there_all_the_same() {
    for (start, status) in [("guest_absent", 5), ("guest_absent_state", 0x1f80 >> 7)] {
        let mut guest = Guest::new(start);
        guest.config["memory"] = json!(ABSENT + (2 << 20));
        assert_eq!(guest.run().status.code(), Some(status), "{start}");
    }
}

#[test]
fn a_crash_goes_to_the_reporter() {
    let mut guest = Guest::new("guest_crash");
    guest.config["reporter"] = json!(["sh", "-c", "cat"]);
    guest.config["layers"] = json!([]);
    let output = guest.run();
    assert_eq!(output.status.code(), Some(139));
    assert!(output.stdout.is_empty());
    let crash: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(crash["signal"], 11);
    assert_eq!(crash["program"], "/bin/test");
    assert_eq!(crash["registers"]["rax"], "0x0");
}

#[test]
fn a_crash_without_a_working_reporter_is_one_line() {
    for reporter in [
        json!(null),
        json!(["/nonexistent/reporter"]),
        json!(["false"]),
    ] {
        let mut guest = Guest::new("guest_crash");
        guest.config["reporter"] = reporter;
        let line = assert_error(&guest.run(), "SPORE_GUEST_CRASH", 139);
        assert!(line.contains("/bin/test crashed: SIGSEGV"), "{line}");
    }
}
