//! Unix sockets as unix(7) describes them.

use super::*;
use crate::fs::file::open;
use crate::ipc::eventfd::EventFd;
use crate::net::socket::{Control, message_flag, option};
use std::vec;

const IN: u32 = events::IN;
const OUT: u32 = events::OUT;
const HUP: u32 = events::HUP;
const RDHUP: u32 = events::RDHUP;

fn socket(kind: u32) -> Arc<UnixSocket> {
    UnixSocket::new(kind, [5, 6, 7]).unwrap()
}
fn pair(kind: u32) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    let (one, two) = (socket(kind), socket(kind));
    connect::join(&one, &two);
    (one, two)
}
fn name(text: &str) -> SocketAddress {
    Address::Abstract(text.as_bytes()).encode().unwrap()
}
fn listener(kind: u32, text: &str, backlog: i32) -> Arc<UnixSocket> {
    let socket = socket(kind);
    socket.bind(&name(text)).unwrap();
    socket.listen(backlog).unwrap();
    socket
}
fn send(socket: &UnixSocket, bytes: &[u8]) -> Result<usize> {
    socket.send(&mut Reader::kernel(bytes), &SendParameters::default())
}
fn send_to(socket: &UnixSocket, bytes: &[u8], to: &str) -> Result<usize> {
    let parameters = SendParameters {
        to: Some(name(to)),
        ..SendParameters::default()
    };
    socket.send(&mut Reader::kernel(bytes), &parameters)
}
fn send_files(socket: &UnixSocket, bytes: &[u8], files: &[&Arc<OpenFile>]) -> Result<usize> {
    let control = Control {
        files: files.iter().map(|file| (*file).clone()).collect(),
        credentials: None,
    };
    socket.send(
        &mut Reader::kernel(bytes),
        &SendParameters {
            control,
            ..SendParameters::default()
        },
    )
}
fn receive(socket: &UnixSocket, len: usize, flags: u32) -> Result<(Vec<u8>, Received)> {
    let mut buffer = vec![0; len];
    let received = socket.receive(&mut Writer::kernel(&mut buffer), flags)?;
    buffer.truncate(received.copied);
    Ok((buffer, received))
}
fn text(socket: &UnixSocket, len: usize) -> Result<Vec<u8>> {
    receive(socket, len, 0).map(|(bytes, _)| bytes)
}
fn ready(socket: &UnixSocket) -> u32 {
    socket.poll() & (IN | OUT | HUP | RDHUP | events::ERR)
}
fn some_file() -> Arc<OpenFile> {
    OpenFile::new(EventFd::new(0, false), open::RDWR)
}

#[test]
fn streams_connect_through_a_name() {
    let listener = listener(kind::STREAM, "streams", 5);
    assert_eq!(listener.accept().err(), Some(Errno::EAGAIN));
    let client = socket(kind::STREAM);
    assert_eq!(ready(&client), OUT | HUP);
    client.connect(&name("streams")).unwrap();
    assert_eq!((ready(&listener), ready(&client)), (IN, OUT));
    assert_eq!(send(&client, b"early"), Ok(5));
    let server = listener.take_connection().unwrap();
    assert_eq!(text(&server, 9).unwrap(), b"early");
    assert_eq!(
        server.local_address().unwrap().as_bytes(),
        name("streams").as_bytes()
    );
    assert_eq!(
        client.peer_address().unwrap().as_bytes(),
        name("streams").as_bytes()
    );
    assert_eq!(
        server.peer_address().unwrap().as_bytes(),
        [1, 0],
        "the client has no name"
    );
    assert_eq!(client.connect(&name("streams")), Err(Errno::EISCONN));
}

#[test]
fn refusals_have_the_errors_of_the_manual() {
    let stream = socket(kind::STREAM);
    assert_eq!(
        stream.connect(&name("nobody here")),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(stream.listen(1), Err(Errno::EINVAL));
    assert_eq!(stream.accept().err(), Some(Errno::EINVAL));
    assert_eq!(send(&stream, b"x"), Err(Errno::ENOTCONN));
    assert_eq!(text(&stream, 1), Err(Errno::EINVAL));
    assert_eq!(stream.peer_address().err(), Some(Errno::ENOTCONN));
    let bound = socket(kind::STREAM);
    bound.bind(&name("bound only")).unwrap();
    assert_eq!(bound.bind(&name("again")), Err(Errno::EINVAL));
    assert_eq!(
        socket(kind::STREAM).bind(&name("bound only")),
        Err(Errno::EADDRINUSE)
    );
    assert_eq!(
        stream.connect(&name("bound only")),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(
        socket(kind::DGRAM).connect(&name("bound only")),
        Err(Errno::ECONNREFUSED)
    );
    socket(kind::DGRAM)
        .bind(&name("bound only"))
        .expect("each kind has its own names");
    drop(bound);
    socket(kind::STREAM)
        .bind(&name("bound only"))
        .expect("a closed socket gives its name back");
    assert!(UnixSocket::new(9, [0; 3]).is_err());
}

#[test]
fn names_are_chosen_by_the_kernel_on_request() {
    let (one, two) = (socket(kind::DGRAM), socket(kind::DGRAM));
    let unnamed = Address::Unnamed.encode().unwrap();
    one.bind(&unnamed).unwrap();
    two.bind(&unnamed).unwrap();
    let (first, second) = (one.local_address().unwrap(), two.local_address().unwrap());
    assert_eq!(first.as_bytes().len(), 2 + 1 + 5);
    assert_ne!(first.as_bytes(), second.as_bytes());
}

#[test]
fn a_full_backlog_answers_eagain_until_accept() {
    let listener = listener(kind::STREAM, "backlog", 1);
    let clients: Vec<_> = (0..3).map(|_| socket(kind::STREAM)).collect();
    clients[0].connect(&name("backlog")).unwrap();
    clients[1].connect(&name("backlog")).unwrap();
    assert_eq!(clients[2].connect(&name("backlog")), Err(Errno::EAGAIN));
    listener.accept().map(drop).unwrap();
    clients[2].connect(&name("backlog")).unwrap();
}

#[test]
fn connections_that_nobody_accepted_are_reset() {
    for kind in [kind::STREAM, kind::SEQPACKET] {
        let listener = listener(kind, "unaccepted", 5);
        let client = socket(kind);
        client.connect(&name("unaccepted")).unwrap();
        drop(listener);
        assert_ne!(ready(&client) & (events::ERR | HUP), 0);
        assert_eq!(text(&client, 1), Err(Errno::ECONNRESET));
        assert_eq!(text(&client, 1).unwrap(), b"");
        assert_eq!(send(&client, b"x"), Err(Errno::EPIPE));
    }
}

#[test]
fn packets_keep_their_borders_and_their_order() {
    let (one, two) = pair(kind::SEQPACKET);
    send(&one, b"first").unwrap();
    send(&one, b"").unwrap();
    send(&one, b"third").unwrap();
    let (bytes, received) = receive(&two, 2, message_flag::PEEK).unwrap();
    assert_eq!((&bytes[..], received.full), (&b"fi"[..], 5));
    let (bytes, received) = receive(&two, 2, 0).unwrap();
    assert_eq!(
        (&bytes[..], received.full),
        (&b"fi"[..], 5),
        "the rest is cut off"
    );
    assert_eq!(text(&two, 9).unwrap(), b"");
    assert_eq!(text(&two, 9).unwrap(), b"third");
    assert_eq!(text(&two, 9), Err(Errno::EAGAIN));
    drop(one);
    assert_eq!(ready(&two), IN | OUT | HUP | RDHUP);
    assert_eq!(text(&two, 9).unwrap(), b"");
    assert_eq!(send(&two, b"x"), Err(Errno::EPIPE));
}

#[test]
fn datagrams_carry_the_name_of_their_sender() {
    let (server, client) = (socket(kind::DGRAM), socket(kind::DGRAM));
    server.bind(&name("dgram server")).unwrap();
    assert_eq!(send(&client, b"x"), Err(Errno::ENOTCONN));
    send_to(&client, b"anonymous", "dgram server").unwrap();
    client.bind(&name("dgram client")).unwrap();
    send_to(&client, b"named", "dgram server").unwrap();
    let (bytes, received) = receive(&server, 20, 0).unwrap();
    assert!(bytes == b"anonymous" && received.from.is_none());
    let (bytes, received) = receive(&server, 20, 0).unwrap();
    assert!(
        bytes == b"named" && received.from.unwrap().as_bytes() == name("dgram client").as_bytes()
    );
}

#[test]
fn a_connected_datagram_socket_hears_its_peer_only() {
    let (one, two, other) = (
        socket(kind::DGRAM),
        socket(kind::DGRAM),
        socket(kind::DGRAM),
    );
    one.bind(&name("peer one")).unwrap();
    two.bind(&name("peer two")).unwrap();
    one.connect(&name("peer two")).unwrap();
    assert_eq!(send_to(&other, b"x", "peer one"), Err(Errno::EPERM));
    send_to(&two, b"y", "peer one").unwrap();
    assert_eq!(text(&one, 9).unwrap(), b"y");
    drop(two);
    assert_eq!(send(&one, b"z"), Err(Errno::ECONNREFUSED));
    assert_eq!(send(&one, b"z"), Err(Errno::ENOTCONN));
}

#[test]
fn a_slow_receiver_stops_its_senders_and_tells_them() {
    let (server, client) = (socket(kind::DGRAM), socket(kind::DGRAM));
    server.bind(&name("slow")).unwrap();
    client.connect(&name("slow")).unwrap();
    let mut sent = 0;
    while send(&client, b"message").is_ok() {
        sent += 1;
    }
    assert_eq!(sent, inbox::QUEUE_LENGTH + 1);
    assert_eq!(ready(&client), 0);
    text(&server, 9).unwrap();
    assert_eq!(ready(&client), OUT);
    let (one, two) = pair(kind::SEQPACKET);
    let mut sent = 0;
    while send(&one, &[0; 1000]).is_ok() {
        sent += 1;
    }
    assert!((100..250).contains(&sent), "{sent} messages");
    assert_eq!(send(&one, &vec![0; 300_000]), Err(Errno::EMSGSIZE));
    assert_eq!(ready(&one), 0);
    while text(&two, 1000).is_ok() {}
    assert_eq!(ready(&one), OUT);
}

#[test]
fn files_travel_with_the_bytes_they_were_sent_with() {
    let (one, two) = pair(kind::STREAM);
    let (first, second) = (some_file(), some_file());
    send(&one, b"plain ").unwrap();
    send_files(&one, b"with", &[&first]).unwrap();
    send_files(&one, b" more", &[&second]).unwrap();
    let (bytes, received) = receive(&two, 99, message_flag::PEEK).unwrap();
    assert_eq!(
        (&bytes[..], received.control.files.len()),
        (&b"plain with"[..], 1)
    );
    let (bytes, received) = receive(&two, 99, 0).unwrap();
    assert_eq!(bytes, b"plain with", "a read ends behind bytes with files");
    assert!(Arc::ptr_eq(&received.control.files[0], &first));
    let (bytes, received) = receive(&two, 2, 0).unwrap();
    assert_eq!(bytes, b" m");
    assert!(
        Arc::ptr_eq(&received.control.files[0], &second),
        "files come with the first of their bytes"
    );
    let (bytes, received) = receive(&two, 99, 0).unwrap();
    assert!(bytes == b"ore" && received.control.files.is_empty());
}

#[test]
fn files_under_way_live_as_long_as_the_socket() {
    for kind in [kind::STREAM, kind::DGRAM, kind::SEQPACKET] {
        let (one, two) = pair(kind);
        let file = some_file();
        let weak = Arc::downgrade(&file);
        send_files(&one, b"x", &[&file]).unwrap();
        drop(file);
        drop(one);
        assert!(weak.upgrade().is_some(), "the sender may close");
        if kind == kind::STREAM {
            let (_, received) = receive(&two, 1, message_flag::PEEK).unwrap();
            assert_eq!(received.control.files.len(), 1);
        }
        drop(two);
        assert!(
            weak.upgrade().is_none(),
            "closing the receiver drops what it did not take"
        );
    }
}

#[test]
fn a_socket_sent_over_itself_can_be_received() {
    let (one, two) = pair(kind::STREAM);
    let open = OpenFile::new(two.clone(), open::RDWR);
    send_files(&one, b"you", &[&open]).unwrap();
    drop(open);
    let (_, received) = receive(&two, 9, 0).unwrap();
    assert_eq!(Arc::strong_count(&received.control.files[0]), 1);
    drop(received);
    assert_eq!(ready(&one), OUT, "the descriptor was one of two references");
}

#[test]
fn credentials_come_when_they_are_asked_for() {
    for kind in [kind::STREAM, kind::DGRAM, kind::SEQPACKET] {
        let (one, two) = pair(kind);
        send(&one, b"a").unwrap();
        assert_eq!(receive(&two, 1, 0).unwrap().1.control.credentials, None);
        two.set_option(option::SOL_SOCKET, option::SO_PASSCRED, &1i32.to_ne_bytes())
            .unwrap();
        send(&one, b"b").unwrap();
        assert_eq!(
            receive(&two, 1, 0).unwrap().1.control.credentials,
            Some([5, 6, 7])
        );
        let peer = two.option(option::SOL_SOCKET, option::SO_PEERCRED).unwrap();
        assert_eq!(peer, [5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0]);
    }
    let nobody = socket(kind::STREAM)
        .option(option::SOL_SOCKET, option::SO_PEERCRED)
        .unwrap();
    assert_eq!(nobody, [0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
}

#[test]
fn shutting_down_ends_each_direction_alone() {
    let write = Shutdown {
        read: false,
        write: true,
    };
    let read = Shutdown {
        read: true,
        write: false,
    };
    for kind in [kind::STREAM, kind::SEQPACKET] {
        let (one, two) = pair(kind);
        send(&one, b"last").unwrap();
        one.shutdown(write).unwrap();
        assert_eq!(send(&one, b"x"), Err(Errno::EPIPE));
        assert_eq!(ready(&two), IN | OUT | RDHUP);
        assert_eq!(text(&two, 9).unwrap(), b"last");
        assert_eq!(text(&two, 9).unwrap(), b"");
        assert_eq!(send(&two, b"answer"), Ok(6));
        one.shutdown(read).unwrap();
        assert_eq!(text(&one, 9).unwrap(), b"answer");
        assert_eq!(text(&one, 9).unwrap(), b"");
        assert_eq!(send(&two, b"x"), Err(Errno::EPIPE));
        assert_eq!(ready(&one), IN | OUT | HUP | RDHUP);
    }
}

#[test]
fn options_answer_what_was_set() {
    let one = socket(kind::STREAM);
    let get = |name| {
        one.option(option::SOL_SOCKET, name)
            .map(|bytes| i32::from_ne_bytes(bytes.try_into().unwrap()))
    };
    assert_eq!(get(option::SO_SNDBUF), Ok(212_992));
    one.set_option(
        option::SOL_SOCKET,
        option::SO_SNDBUF,
        &10_000i32.to_ne_bytes(),
    )
    .unwrap();
    assert_eq!(get(option::SO_SNDBUF), Ok(20_000));
    one.set_option(option::SOL_SOCKET, option::SO_RCVBUF, &1i32.to_ne_bytes())
        .unwrap();
    assert_eq!(get(option::SO_RCVBUF), Ok(2304));
    assert_eq!(get(option::SO_ACCEPTCONN), Ok(0));
    assert_eq!(
        one.set_option(option::SOL_SOCKET, 999, &[0; 4]),
        Err(Errno::ENOPROTOOPT)
    );
    assert_eq!(one.set_option(6, 1, &[0; 4]), Err(Errno::EOPNOTSUPP));
    assert_eq!(
        one.set_option(option::SOL_SOCKET, option::SO_SNDBUF, &[0; 2]),
        Err(Errno::EINVAL)
    );
}
