//! What cannot boot is refused with a code, before anything runs.

use crate::guest::{Guest, assert_error, monitor};
use serde_json::json;

#[test]
fn memory_too_small_says_how_much_is_needed() {
    let mut guest = Guest::new("guest_exit");
    guest.config["memory"] = json!(8 << 20);
    let line = assert_error(&guest.run(), "SPORE_MEMORY_TOO_SMALL", 64);
    assert!(line.contains("8 MiB") && line.contains("24 MiB"), "{line}");
}

#[test]
fn more_memory_than_a_guest_can_have_is_refused() {
    let mut guest = Guest::new("guest_exit");
    guest.config["memory"] = json!(1_u64 << 50);
    assert_error(&guest.run(), "SPORE_MEMORY_UNAVAILABLE", 71);
}

#[test]
fn a_kernel_with_a_flipped_header_byte_is_refused() {
    for at in [0, 8, 23, 24, 31, 40, 71, 79, 87, 95, 103] {
        let guest = Guest::new("guest_exit");
        let path = guest.path("kernel");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 0x80;
        std::fs::write(&path, bytes).unwrap();
        let output = guest.run();
        if output.status.code() != Some(7) {
            assert_error(&output, "SPORE_IMAGE_DAMAGED", 65);
        }
    }
}

#[test]
fn missing_and_short_files_are_a_damaged_image() {
    let mut guest = Guest::new("guest_exit");
    guest.config["kernel"]["path"] = json!("/nonexistent/kernel");
    assert_error(&guest.run(), "SPORE_IMAGE_DAMAGED", 65);

    let mut guest = Guest::new("guest_exit");
    let kernel = guest.path("kernel");
    guest.config["layers"] =
        json!([{"path": kernel, "offset": 0, "length": 1 << 30, "gpa": "0x1000000000"}]);
    assert_error(&guest.run(), "SPORE_IMAGE_DAMAGED", 65);
}

#[test]
fn segments_in_impossible_places_are_refused() {
    let frame = |va: &str, gpa: &str| json!({"va": va, "gpa": gpa, "length": 2 << 20, "parts": []});
    for private in [
        json!([frame("0x400000", "0x200000")]),
        json!([frame("0x400000", "0x800000"), frame("0x600000", "0x800000")]),
        json!([frame("0x400000", "0x800000"), frame("0x400000", "0xa00000")]),
        json!([frame("0x400001", "0x800000")]),
        json!([frame("0x7fa000000000", "0x800000")]),
        json!([frame("0xffffffffffe00000", "0x800000")]),
        json!([{"va": "0x400000", "gpa": "0x800000", "length": 2 << 20,
                "parts": [{"layer": 0, "offset": 0, "length": 8, "at": 0}]}]),
    ] {
        let mut guest = Guest::new("guest_exit");
        guest.config["private"] = private;
        assert_error(&guest.run(), "SPORE_LAUNCH_CONFIG", 70);
    }
}

#[test]
fn a_launch_file_that_is_none_is_refused() {
    let mut guest = Guest::new("guest_exit");
    guest.config = json!({"version": 1});
    assert_error(&guest.run(), "SPORE_LAUNCH_CONFIG", 70);
    assert!(guest.path("launch.json").exists());
    guest.config["deleteConfig"] = json!(true);
    assert_error(&guest.run(), "SPORE_LAUNCH_CONFIG", 70);
    assert!(!guest.path("launch.json").exists());
    let output = monitor(&guest.path("nothing")).output().unwrap();
    assert_error(&output, "SPORE_LAUNCH_CONFIG", 70);
}

#[test]
fn the_launch_file_is_removed_if_it_says_so() {
    for delete in [true, false] {
        let mut guest = Guest::new("guest_exit");
        guest.config["deleteConfig"] = json!(delete);
        assert_eq!(guest.run().status.code(), Some(7));
        assert_eq!(guest.path("launch.json").exists(), !delete);
    }
}

/// Runs the monitor as root of a namespace in which /dev was prepared by `setup`.
fn with_other_dev(setup: &str) -> std::process::Output {
    let guest = Guest::new("guest_exit");
    let command = guest.command();
    let monitor = command.get_program();
    let launch = guest.path("launch.json");
    let script = format!("{setup} && exec \"$0\" --config \"$1\"");
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    shell.arg(monitor).arg(launch).output().unwrap()
}

#[test]
fn a_machine_without_kvm_is_told_so() {
    let output = with_other_dev("mount -t tmpfs none /dev");
    let line = assert_error(&output, "SPORE_KVM_MISSING", 69);
    assert!(line.contains("/dev/kvm does not exist"), "{line}");
}

#[test]
fn a_user_without_permission_is_told_so() {
    // The device of another user, opened without the privileges of root.
    let output = with_other_dev(
        "mount -t tmpfs none /dev && touch /dev/kvm && chmod 0 /dev/kvm && \
         set -- \"$1\" && exec setpriv --bounding-set -all --inh-caps -all \"$0\" --config \"$1\"",
    );
    assert_error(&output, "SPORE_KVM_PERMISSION", 77);
}

#[test]
fn something_else_at_dev_kvm_is_told_so() {
    let output = with_other_dev("mount -t tmpfs none /dev && touch /dev/kvm");
    assert_error(&output, "SPORE_KVM_FAILED", 71);
}

#[test]
fn what_the_image_does_not_declare_is_refused() {
    let rule = json!([{"address": "127.0.0.1", "host": 0, "guest": 81}]);
    for rights in [
        json!({"ports": [80]}),
        json!({"ports": []}),
        json!({"network": false}),
    ] {
        let mut guest = Guest::new("guest_exit");
        guest.config["publish"] = rule.clone();
        guest.config["rights"] = rights;
        assert_error(&guest.run(), "SPORE_PORT_UNDECLARED", 64);
    }
    let mut guest = Guest::new("guest_exit");
    guest.config["publish"] = rule;
    guest.config["rights"] = json!({"ports": [80, 81], "destinations": ["10.0.0.0/8"]});
    assert_eq!(guest.run().status.code(), Some(7));
}

#[test]
fn rights_that_make_no_sense_are_refused() {
    for (field, value) in [
        ("rights", json!({"destinations": ["10.0.0.0/40"]})),
        ("rights", json!({"ports": [70000]})),
        ("stopSignal", json!(9)),
        ("stopSignal", json!(-1)),
    ] {
        let mut guest = Guest::new("guest_exit");
        guest.config[field] = value;
        assert_error(&guest.run(), "SPORE_LAUNCH_CONFIG", 70);
    }
}
