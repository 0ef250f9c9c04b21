//! Standard streams on pipes and files.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spore_abi::net::{host_flag, slot};

use super::guest::{Guest, memory, pattern, serve_until};
use crate::config::{Policy, Protocol, PublishRule, Rights};
use crate::events::{Events, Style};
use crate::memory::GuestMemory;
use crate::net::engine::Engine;
use crate::net::policy::Gate;
use crate::net::rings::Rings;

fn engine(memory: &Arc<GuestMemory>, streams: [RawFd; 4]) -> Engine {
    let rule = PublishRule {
        address: Ipv4Addr::LOCALHOST.into(),
        host: 0,
        guest: 80,
        protocol: Protocol::Tcp,
        listener: None,
        lent: false,
    };
    let events = Arc::new(Events::new(Style::Quiet, Instant::now()));
    let rings = Rings::new(memory.clone()).unwrap();
    Engine::new(
        rings,
        Some(&[rule]),
        None,
        Gate::new(Policy::default(), &Rights::default(), None),
        events,
        streams,
    )
    .unwrap()
}

#[test]
fn a_pipe_gets_everything_although_it_is_slow() {
    let memory = memory();
    let (mut reader, writer) = pipe().unwrap();
    let mut engine = engine(&memory, [-1, writer.as_raw_fd(), -1, -1]);
    let mut guest = Guest::new(&memory);
    let line = guest.open(slot::STDOUT, 0, 0, 64 << 10);
    let sent = pattern(1 << 20);
    let expected = sent.clone();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; expected.len()];
        reader.read_exact(&mut all).map(|()| all == expected)
    });
    let mut done = 0;
    serve_until(&mut engine, || {
        done += guest.write(line, &sent[done..]);
        done == sent.len()
    });
    engine.flush_all(Duration::from_secs(1));
    assert!(reader.join().unwrap().unwrap());
}

#[test]
fn a_pipe_without_reader_is_broken() {
    let memory = memory();
    let (reader, writer) = pipe().unwrap();
    let mut engine = engine(&memory, [-1, writer.as_raw_fd(), -1, -1]);
    let mut guest = Guest::new(&memory);
    let line = guest.open(slot::STDOUT, 0, 0, 4096);
    guest.write(line, b"heard");
    engine.pass(None);
    drop(reader);
    guest.write(line, b"not heard");
    serve_until(&mut engine, || guest.flags(line) & host_flag::ERROR != 0);
    let error = guest
        .slot(line)
        .host
        .error
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(error, libc::EPIPE as u32);
}

#[test]
fn files_are_written_and_read() {
    let memory = memory();
    let path = std::env::temp_dir().join(format!("spore-stream-{}", std::process::id()));
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let input = File::open("/proc/self/exe").unwrap();
    let mut engine = engine(&memory, [input.as_raw_fd(), file.as_raw_fd(), -1, -1]);
    let mut guest = Guest::new(&memory);
    let line = guest.open(slot::STDOUT, 0, 0, 4096);
    guest.write(line, b"into the file");
    engine.flush_all(Duration::ZERO);
    std::io::Seek::rewind(&mut file).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "into the file");

    let line = guest.open(slot::STDIN, 0, 4096, 0);
    guest.ring(line);
    engine.pass(None);
    let mut magic = [0; 4];
    guest.read(line, &mut magic);
    assert_eq!(&magic, b"\x7fELF");
}

#[test]
fn input_is_left_alone_until_the_guest_asks() {
    let memory = memory();
    let (mut reader, mut writer) = pipe().unwrap();
    writer.write_all(b"typed").unwrap();
    let mut engine = engine(&memory, [reader.as_raw_fd(), -1, -1, -1]);
    let mut guest = Guest::new(&memory);
    engine.pass(None);
    assert!(!engine.stdin_used);
    let mut byte = [0; 1];
    reader.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"t", "it was swallowed");
    let line = guest.open(slot::STDIN, 0, 4096, 0);
    guest.ring(line);
    serve_until(&mut engine, || guest.available(line) == 4);
    assert!(engine.stdin_used);
    drop(writer);
    serve_until(&mut engine, || guest.flags(line) & host_flag::EOF != 0);
}
