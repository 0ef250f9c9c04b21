//! A debugger over the gdb protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;

use serde_json::{Value, json};

use crate::guest::Guest;

/// The least that gdb does: packets with checksums, acknowledged.
struct Gdb {
    connection: TcpStream,
}

impl Gdb {
    fn send(&mut self, command: &str) {
        let sum = command.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.connection, "${command}#{sum:02x}").unwrap();
    }

    fn receive(&mut self) -> String {
        let mut byte = [0];
        let mut answer = String::new();
        let mut inside = false;
        loop {
            self.connection.read_exact(&mut byte).unwrap();
            match (byte[0], inside) {
                (b'$', _) => inside = true,
                (b'#', true) => break,
                (byte, true) => answer.push(char::from(byte)),
                _ => {}
            }
        }
        self.connection.read_exact(&mut [0, 0]).unwrap();
        self.connection.write_all(b"+").unwrap();
        expand(&answer)
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.receive()
    }
}

/// Undoes the protocol's run lengths: `x*c` means x and c - 29 more of it.
fn expand(packed: &str) -> String {
    let mut plain = String::new();
    let mut bytes = packed.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'*' {
            let last = plain.chars().last().unwrap();
            let count = bytes.next().unwrap() - 29;
            plain.extend(std::iter::repeat_n(last, usize::from(count)));
        } else {
            plain.push(char::from(byte));
        }
    }
    plain
}

/// A guest with a layer at 0x400000 whose first byte is 1, and its debugger.
fn debugged() -> (Guest, Child, Gdb) {
    let (guest, child, address) = waiting("guest_debug");
    let connection = TcpStream::connect(address).unwrap();
    (guest, child, Gdb { connection })
}

/// A guest that waits for its debugger at the address.
fn waiting(start: &str) -> (Guest, Child, String) {
    let mut guest = Guest::new(start);
    let layer = guest.path("layer");
    let mut bytes = vec![0_u8; 2 << 20];
    bytes[0] = 1;
    std::fs::write(&layer, bytes).unwrap();
    guest.config["layers"] =
        json!([{"path": layer, "offset": 0, "length": 2 << 20, "gpa": "0x1000000000"}]);
    guest.config["shared"] =
        json!([{"va": "0x400000", "layer": 0, "offset": 0, "length": 2 << 20}]);
    guest.config["gdb"] = json!(0);
    guest.config["events"] = json!("json");
    let mut child = guest.start();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let event: Value = serde_json::from_str(&events.next().unwrap().unwrap()).unwrap();
        if event["event"] == "debugger" {
            break event["address"].as_str().unwrap().to_owned();
        }
    };
    std::thread::spawn(move || events.for_each(drop));
    (guest, child, address)
}

#[test]
fn registers_and_memory_can_be_read_and_changed() {
    let (guest, mut child, mut gdb) = debugged();
    assert!(gdb.ask("?").starts_with("T05"));
    let registers = gdb.ask("g");
    assert!(registers.starts_with("1100000000000000"), "{registers}");
    assert_eq!(&registers[16 * 16..17 * 16], "0000400000000000");
    assert_eq!(gdb.ask("m400000,2"), "0100");
    assert_eq!(gdb.ask("mdead000,2").get(..1), Some("E"));
    let changed = format!("G20{}", &registers[2..]);
    assert_eq!(gdb.ask(&changed), "OK");
    assert_eq!(gdb.ask("M400000,1:05"), "OK");
    assert_eq!(gdb.ask("vCont;c"), "W25");
    assert_eq!(child.wait().unwrap().code(), Some(0x25));
    // The image is everybody's: the change was this guest's own.
    assert_eq!(std::fs::read(guest.path("layer")).unwrap()[0], 1);
}

#[test]
fn a_breakpoint_is_an_int3_that_the_debugger_does_not_see() {
    let (_guest, mut child, mut gdb) = debugged();
    assert_eq!(gdb.ask("Z0,400000,1"), "OK");
    assert_eq!(gdb.ask("m400000,1"), "01");
    gdb.send("vCont;c");
    // The guest saw 0xcc there.
    assert_eq!(child.wait().unwrap().code(), Some(0x11 + 0xcc));
}

#[test]
fn the_program_goes_on_when_the_debugger_goes() {
    for leave in ["D", ""] {
        let (_guest, mut child, mut gdb) = debugged();
        assert_eq!(gdb.ask("Z0,400000,1"), "OK");
        if !leave.is_empty() {
            assert_eq!(gdb.ask(leave), "OK");
        }
        drop(gdb);
        assert_eq!(child.wait().unwrap().code(), Some(0x11 + 1));
    }
}

#[test]
fn a_step_sets_the_trap_flag() {
    let (_guest, mut child, mut gdb) = debugged();
    // The tiny kernel ends instead of stepping; it says that it was asked to.
    assert_eq!(gdb.ask("vCont;s:p1.3"), "W92");
    assert_eq!(child.wait().unwrap().code(), Some(0x80 + 0x12));
}

#[test]
fn a_running_program_can_be_interrupted_and_attached_to_again() {
    let (_guest, mut child, address) = waiting("guest_interruptible");
    for _ in 0..2 {
        let connection = TcpStream::connect(&address).unwrap();
        let mut gdb = Gdb { connection };
        assert!(gdb.ask("?").starts_with("T05"));
        for _ in 0..3 {
            gdb.send("vCont;c");
            gdb.connection.write_all(&[3]).unwrap();
            assert!(gdb.receive().starts_with("T02"));
        }
        assert_eq!(gdb.ask("D"), "OK");
    }
    let connection = TcpStream::connect(&address).unwrap();
    Gdb { connection }.send("k");
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn waiting_for_a_debugger_can_be_ended() {
    let (_guest, mut child, _address) = waiting("guest_debug");
    // It may still be on its way to the stop, where the signal is its own affair.
    let status = loop {
        // SAFETY: signals a child of this test.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(143));
}

#[test]
fn a_debugger_may_kill_the_program() {
    let (_guest, mut child, mut gdb) = debugged();
    gdb.send("k");
    assert_eq!(child.wait().unwrap().code(), Some(137));
}
