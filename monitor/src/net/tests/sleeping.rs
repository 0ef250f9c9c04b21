//! The sleeping protocol: guest thread, I/O thread and a client pass a token round
//! and round; one lost wake-up and the round never ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spore_abi::net::call;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::guest::{Guest, Line, PATIENCE, memory};
use crate::config::{Policy, Rights};
use crate::control::VcpuControl;
use crate::events::{Events, Style};
use crate::net::{Net, NetConfig, sys};

const ROUNDS: usize = 3000;

struct World {
    net: Arc<Net>,
    guest: Guest,
    kick: EventFd,
    line: Line,
    client: TcpStream,
}

fn world(io_thread: bool) -> World {
    let memory = memory();
    let kick = EventFd::new(EFD_NONBLOCK).unwrap();
    let net = Net::new(NetConfig {
        memory: memory.clone(),
        publish: Some(Vec::new()),
        policy: Policy::default(),
        rights: Rights::default(),
        internal: None,
        streams: [-1; 3],
        io_thread,
        events: Arc::new(Events::new(Style::Quiet, Instant::now())),
        kick: kick.try_clone().unwrap(),
        control: Arc::new(VcpuControl::new(memory.clone()).unwrap()),
        any_port: false,
        revive: None,
    })
    .unwrap();
    net.start().unwrap();
    let mut guest = Guest::new(&memory);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = guest.open(20, 1, 4096, 4096);
    let result = net.host_call(
        call::CONNECT,
        &Guest::args(line, server.local_addr().unwrap()),
    );
    assert!(result == 0 || result == -i64::from(libc::EINPROGRESS));
    let (client, _) = server.accept().unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    World {
        net,
        guest,
        kick,
        line,
        client,
    }
}

impl World {
    /// As the kernel: kicks the I/O thread if it sleeps.
    fn flush(&self) {
        let header = self.guest.rings.header();
        if header.io_sleep.word.load(Ordering::SeqCst) != 0
            && header.to_host.pending()
            && header.io_sleep.word.swap(0, Ordering::SeqCst) == 1
        {
            self.kick.write(1).unwrap();
        }
    }
    /// Echoes bytes until told to stop; sleeps whenever there is nothing.
    fn echo(&self, stop: &AtomicBool, starved: impl Fn(usize) -> bool) {
        let mut turn = 0;
        while !stop.load(Ordering::SeqCst) {
            self.guest.rings.header().to_guest.collect(|_| {});
            let mut bytes = [0; 64];
            let count = self.guest.read(self.line, &mut bytes);
            if count > 0 {
                assert_eq!(self.guest.write(self.line, &bytes[..count]), count);
            }
            self.flush();
            turn += 1;
            // Only ends early when something is there or the test is over.
            self.net.idle(
                sys::monotonic() + 2 * PATIENCE.as_nanos() as u64,
                starved(turn),
            );
        }
    }
}

/// Sends a token round; the pauses let either side fall asleep in between.
fn rounds(client: &mut TcpStream, pause: impl Fn(usize) -> Option<Duration>) {
    for round in 0..ROUNDS {
        let sent = [round as u8, (round >> 8) as u8];
        client.write_all(&sent).unwrap();
        let mut answer = [0; 2];
        client.read_exact(&mut answer).expect("a wake-up was lost");
        assert_eq!(answer, sent);
        if let Some(pause) = pause(round) {
            std::thread::sleep(pause);
        }
    }
}

fn run(io_thread: bool, starved: fn(usize) -> bool) {
    let world = world(io_thread);
    let mut client = world.client.try_clone().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| world.echo(&stop, starved));
        rounds(&mut client, |round| {
            (round % 16 == 0).then(|| Duration::from_micros((round * 37 % 1500) as u64))
        });
        stop.store(true, Ordering::SeqCst);
        client.write_all(b"x").unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_with_an_io_thread() {
    run(true, |_| false);
}

#[test]
fn no_wake_up_is_lost_without_one() {
    run(false, |_| false);
}

#[test]
fn no_wake_up_is_lost_when_the_thread_starves_now_and_then() {
    run(true, |turn| turn % 3 == 0);
}

#[test]
fn a_kick_wakes_the_io_thread_although_the_vcpu_serves_at_that_moment() {
    let world = world(true);
    let header = world.guest.rings.header();
    for round in 0..ROUNDS {
        let begin = Instant::now();
        while header.io_sleep.word.load(Ordering::SeqCst) == 0 {
            assert!(
                begin.elapsed() < PATIENCE,
                "round {round}: the thread sleeps and does not say so"
            );
            std::thread::yield_now();
        }
        header.to_host.ring(world.line.index);
        world.flush();
        world.net.idle(0, false);
    }
}

#[test]
fn attention_ends_every_kind_of_wait() {
    for (io_thread, starved) in [(true, false), (true, true), (false, false)] {
        let world = world(io_thread);
        let control = world.net.control.clone();
        control.set_idle(true);
        let waker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            control.raise(1);
        });
        let begin = Instant::now();
        while world.net.control.attention().load(Ordering::SeqCst) == 0 {
            world.guest.rings.header().to_guest.collect(|_| {});
            world
                .net
                .idle(sys::monotonic() + PATIENCE.as_nanos() as u64, starved);
        }
        assert!(begin.elapsed() < PATIENCE / 2);
        waker.join().unwrap();
    }
}
