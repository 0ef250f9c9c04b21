//! Connections: accepting, both directions, back-pressure, every way to end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::thread;

use spore_abi::net::{Buffer, DATAGRAM_HEADER, DatagramHeader, call, guest_flag, host_flag};

use super::guest::{Guest, Line, engine, memory, pattern, serve_until};
use crate::net::address;
use crate::net::batch::Batch;
use crate::net::engine::Engine;

/// A connection through the published port: engine, guest, its end, the client's.
fn connected() -> (Engine, Guest, Line, TcpStream) {
    let memory = memory();
    let (mut engine, mut guest) = (engine(&memory), Guest::new(&memory));
    guest.stock(16, 4);
    let listener = guest.listen(&mut engine);
    let host = engine.publications[0].as_ref().unwrap().host;
    let client = TcpStream::connect(host).unwrap();
    let mut line = None;
    serve_until(&mut engine, || {
        line = line.or(guest.accept(listener));
        line.is_some()
    });
    let line = line.unwrap();
    (engine, guest, line, client)
}

#[test]
fn bytes_go_both_ways() {
    let (mut engine, guest, line, mut client) = connected();
    client.write_all(b"ping").unwrap();
    serve_until(&mut engine, || guest.available(line) == 4);
    let mut bytes = [0; 4];
    guest.read(line, &mut bytes);
    assert_eq!(&bytes, b"ping");
    guest.write(line, b"pong!");
    engine.pass(None);
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong!");
}

#[test]
fn a_slow_guest_stops_the_sender_and_loses_nothing() {
    let (mut engine, mut guest, mut line, mut client) = connected();
    let sent = pattern(3 << 20);
    let expected = sent.clone();
    let sender = thread::spawn(move || client.write_all(&sent));
    let mut received = Vec::new();
    let larger = guest.buffer(256 << 10);
    serve_until(&mut engine, || {
        if line.rx != larger && guest.flags(line) & host_flag::RX_SWITCHED != 0 {
            line.rx = larger;
        }
        let mut piece = vec![0; 5000];
        let count = guest.read(line, &mut piece);
        received.extend_from_slice(&piece[..count]);
        if received.len() > 1 << 20 && guest.slot(line).guest.rx_next.load(Ordering::Relaxed) == 0 {
            guest
                .slot(line)
                .guest
                .rx_next
                .store(larger.0, Ordering::Release);
            guest.set_flag(line, guest_flag::RX_SWITCH);
        }
        let over = guest.flags(line) & host_flag::EOF != 0 && guest.available(line) == 0;
        received.len() == expected.len() || over
    });
    assert_eq!(line.rx, larger, "the larger ring was never used");
    assert!(received == expected, "bytes were lost, doubled or moved");
    sender.join().unwrap().unwrap();
}

#[test]
fn a_slow_client_stops_the_guest_and_loses_nothing() {
    let (mut engine, guest, line, mut client) = connected();
    let sent = pattern(8 << 20);
    let expected = sent.clone();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all)
    });
    let mut done = 0;
    serve_until(&mut engine, || {
        done += guest.write(line, &sent[done..]);
        done == sent.len()
    });
    guest.close(line);
    serve_until(&mut engine, || guest.is_closed(line));
    assert!(
        reader.join().unwrap().unwrap() == expected,
        "bytes were lost, doubled or moved"
    );
}

#[test]
fn half_closing_sends_what_was_written_first() {
    let (mut engine, guest, line, mut client) = connected();
    guest.write(line, b"last words");
    guest.set_flag(line, guest_flag::SHUT_WRITE);
    engine.pass(None);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"last words");
    client.write_all(b"heard").unwrap();
    drop(client);
    serve_until(&mut engine, || guest.flags(line) & host_flag::EOF != 0);
    let mut bytes = [0; 9];
    assert_eq!(guest.read(line, &mut bytes), 5);
    assert_eq!(&bytes[..5], b"heard");
}

#[test]
fn the_end_of_both_directions_waits_for_what_the_host_still_holds() {
    let (mut engine, guest, line, mut client) = connected();
    guest.set_flag(line, guest_flag::SHUT_WRITE);
    guest.ring(line);
    engine.pass(None);
    let sent = pattern(100_000);
    client.write_all(&sent).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = Vec::new();
    serve_until(&mut engine, || guest.flags(line) & host_flag::RX_STALL != 0);
    // As a program that is told of a hang-up: what is there then is all.
    serve_until(&mut engine, || {
        let over = guest.flags(line) & host_flag::HUP != 0;
        let mut all = vec![0; guest.available(line) as usize];
        guest.read(line, &mut all);
        received.extend_from_slice(&all);
        over
    });
    assert!(
        received == sent,
        "{} bytes of {}",
        received.len(),
        sent.len()
    );
}

#[test]
fn a_half_close_does_not_overtake_what_was_written() {
    for round in 0..300 {
        let (mut engine, guest, line, mut client) = connected();
        let writer = thread::spawn(move || {
            guest.write(line, b"last ");
            // Other moments of the engine's pass in every round.
            (0..round % 50 * 20).for_each(|_| std::hint::spin_loop());
            guest.write(line, b"words");
            guest.set_flag(line, guest_flag::SHUT_WRITE);
        });
        serve_until(&mut engine, || writer.is_finished());
        engine.pass(None);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"last words", "round {round}");
    }
}

#[test]
fn a_reset_arrives_on_either_side() {
    let (mut engine, guest, line, mut client) = connected();
    guest.set_flag(line, guest_flag::CLOSE | guest_flag::RESET);
    serve_until(&mut engine, || guest.is_closed(line));
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));

    let (mut engine, guest, line, client) = connected();
    guest.write(line, b"never read");
    serve_until(&mut engine, || {
        guest.slot(line).host.tx_head.load(Ordering::Relaxed) == 10
    });
    drop(client); // With unread bytes: a reset.
    serve_until(&mut engine, || guest.flags(line) & host_flag::ERROR != 0);
    let error = guest.slot(line).host.error.load(Ordering::Relaxed);
    assert_eq!(error, libc::ECONNRESET as u32);
}

#[test]
fn a_closed_slot_serves_the_next_connection() {
    let (mut engine, mut guest, line, client) = connected();
    guest.close(line);
    serve_until(&mut engine, || guest.is_closed(line));
    drop(client);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let again = guest.open(line.index, line.generation + 1, 4096, 4096);
    assert_eq!(
        guest.flags(again),
        0,
        "flags of the last connection count for the next"
    );
    let result = engine.call(
        call::CONNECT,
        &Guest::args(again, server.local_addr().unwrap()),
    );
    assert!(result == 0 || result == -i64::from(libc::EINPROGRESS));
    let (mut peer, _) = server.accept().unwrap();
    peer.write_all(b"new").unwrap();
    serve_until(&mut engine, || guest.available(again) == 3);
}

#[test]
fn an_empty_stock_delays_connections_but_drops_none() {
    let memory = memory();
    let (mut engine, mut guest) = (engine(&memory), Guest::new(&memory));
    let listener = guest.listen(&mut engine);
    let host = engine.publications[0].as_ref().unwrap().host;
    let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(host).unwrap()).collect();
    engine.pass(None);
    assert_eq!(guest.available(listener), 0);
    guest.stock(16, 2);
    serve_until(&mut engine, || guest.available(listener) == 2 * 64);
    guest.stock(18, 2);
    serve_until(&mut engine, || guest.available(listener) == 3 * 64);
    drop(clients);
}

#[test]
fn batches_do_the_same_work() {
    let Some(mut batch) = Batch::new() else {
        eprintln!("io_uring is not permitted here: nothing to compare");
        return;
    };
    let memory = memory();
    let (mut engine, mut guest) = (engine(&memory), Guest::new(&memory));
    guest.stock(16, 64);
    let listener = guest.listen(&mut engine);
    let host = engine.publications[0].as_ref().unwrap().host;
    let mut clients: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(host).unwrap()).collect();
    let mut lines = Vec::new();
    serve_until(&mut engine, || {
        lines.extend(guest.accept(listener));
        lines.len() == clients.len()
    });
    for round in 0..50 {
        for client in &mut clients {
            client.write_all(&[round; 100]).unwrap();
        }
        for line in &lines {
            while guest.available(*line) < 100 {
                engine.pass(Some(&mut batch));
            }
            let mut bytes = [0; 100];
            guest.read(*line, &mut bytes);
            guest.write(*line, &bytes);
        }
        engine.pass(Some(&mut batch));
        for client in &mut clients {
            let mut bytes = [0; 100];
            client.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, [round; 100]);
        }
    }
}

#[test]
fn refusals_are_answered_at_once() {
    let memory = memory();
    let (mut engine, mut guest) = (engine(&memory), Guest::new(&memory));
    let line = guest.open(20, 1, 4096, 4096);
    let mut call = |number, line, address: &str| {
        engine.call(number, &Guest::args(line, address.parse().unwrap()))
    };
    let denied = -i64::from(libc::EACCES);
    assert_eq!(call(call::CONNECT, line, "169.254.169.254:80"), denied);
    assert_eq!(
        call(call::CONNECT, line, "[::ffff:169.254.169.254]:80"),
        denied
    );
    assert_eq!(call(call::DATAGRAM, line, "[fe80::1]:53"), denied);
    assert_eq!(call(call::LISTEN, line, "0.0.0.0:81"), 0, "not published");
    let outside = Line {
        index: 4096,
        ..line
    };
    assert_eq!(
        call(call::CONNECT, outside, "127.0.0.1:1"),
        -i64::from(libc::EINVAL)
    );
    guest
        .slot(line)
        .guest
        .rx_buffer
        .store(Buffer::new(0x20_0000, 4096).0, Ordering::Relaxed);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = server.local_addr().unwrap().to_string();
    assert_eq!(
        call(call::CONNECT, line, &at),
        -i64::from(libc::EFAULT),
        "a ring in the kernel"
    );
}

#[test]
fn datagrams_keep_their_bounds_and_senders() {
    let memory = memory();
    let (mut engine, mut guest) = (engine(&memory), Guest::new(&memory));
    let line = guest.open(20, 1, 128 << 10, 128 << 10);
    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let mut args = Guest::args(line, any);
    assert_eq!(
        engine.call(call::DATAGRAM, &args),
        -i64::from(libc::ENOENT),
        "port 16 is not published"
    );
    args[4] = 0;
    assert_eq!(engine.call(call::DATAGRAM, &args), 0);
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = server.local_addr().unwrap();
    for len in [0_usize, 1, 9, 60_000] {
        let header = DatagramHeader {
            len: len as u32,
            error: 0,
            address: address::to_guest(&at),
        };
        let mut record = Vec::from(header.to_bytes());
        record.extend(pattern(len));
        record.resize(DatagramHeader::record_len(len as u32) as usize, 0);
        assert_eq!(guest.write(line, &record), record.len());
        engine.pass(None);
        let mut bytes = vec![0; 65_536];
        let (count, from) = server.recv_from(&mut bytes).unwrap();
        assert!(bytes[..count] == pattern(len));
        server.send_to(&bytes[..count], from).unwrap();
        serve_until(&mut engine, || guest.available(line) >= DATAGRAM_HEADER);
        let mut record = vec![0; DatagramHeader::record_len(len as u32) as usize];
        guest.read(line, &mut record);
        let raw: &[u8; DATAGRAM_HEADER as usize] = record[..32].try_into().unwrap();
        let header = DatagramHeader::from_bytes(raw);
        assert_eq!(
            (header.len as usize, address::from_guest(&header.address)),
            (len, Some(at))
        );
        assert!(record[32..32 + len] == pattern(len));
    }
}
