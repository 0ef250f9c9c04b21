//! Pipes and FIFOs as pipe(7) and fifo(7) describe them.

use super::*;
use std::vec;
use std::vec::Vec;

struct Opened(Arc<OpenFile>);

impl Opened {
    fn read(&self, len: usize) -> Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        let count = self
            .0
            .file
            .read(&self.0, &mut Writer::kernel(&mut buffer), 0)?;
        buffer.truncate(count);
        Ok(buffer)
    }
    fn write(&self, bytes: &[u8]) -> Result<usize> {
        self.0.file.write(&self.0, &mut Reader::kernel(bytes), 0)
    }
    fn poll(&self) -> u32 {
        self.0.file.poll() & (events::IN | events::OUT | events::ERR | events::HUP)
    }
}

fn pipe() -> (Opened, Opened) {
    let (reader, writer) = Pipe::pair();
    (
        Opened(OpenFile::new(reader, open::RDONLY)),
        Opened(OpenFile::new(writer, open::WRONLY)),
    )
}

fn opened(fifo: &Arc<Pipe>, flags: u32) -> Opened {
    Opened(OpenFile::new(fifo.open(flags).unwrap(), flags))
}

#[test]
fn a_pipe_ends_when_the_writer_is_gone_and_all_was_read() {
    let (reader, writer) = pipe();
    assert_eq!(reader.read(10), Err(Errno::EAGAIN));
    assert_eq!((reader.poll(), writer.poll()), (0, events::OUT));
    writer.write(b"abc").unwrap();
    drop(writer);
    assert_eq!(reader.poll(), events::IN | events::HUP);
    assert_eq!(reader.read(10).unwrap(), b"abc");
    assert_eq!(reader.poll(), events::HUP);
    assert_eq!(reader.read(10).unwrap(), b"");
}

#[test]
fn a_pipe_breaks_when_the_reader_is_gone() {
    let (reader, writer) = pipe();
    drop(reader);
    assert_eq!(writer.poll(), events::OUT | events::ERR);
    assert_eq!(writer.write(b"x"), Err(Errno::EPIPE));
}

#[test]
fn a_pipe_holds_sixteen_pages() {
    let (reader, writer) = pipe();
    assert_eq!(writer.write(&[0; 100_000]), Ok(65_536));
    assert_eq!((reader.poll(), writer.poll()), (events::IN, 0));
    reader.read(4095).unwrap();
    assert_eq!(writer.poll(), 0);
    reader.read(1).unwrap();
    assert_eq!(writer.poll(), events::OUT);
}

#[test]
fn small_writes_are_never_torn() {
    let (reader, writer) = pipe();
    let mut seed = 3u32;
    let mut next = move |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    let mut expected = Vec::new();
    let mut found = Vec::new();
    for round in 0..3_000 {
        let record = vec![round as u8; 1 + next(PIPE_BUF)];
        match writer.write(&record) {
            Ok(written) => {
                assert_eq!(
                    written,
                    record.len(),
                    "a write up to PIPE_BUF is whole or not at all"
                );
                expected.extend_from_slice(&record);
            }
            Err(error) => assert_eq!(error, Errno::EAGAIN),
        }
        if next(3) == 0 {
            found.extend(reader.read(next(20_000)).unwrap_or_default());
        }
    }
    found.extend(reader.read(65_536).unwrap_or_default());
    assert!(found == expected);
}

#[test]
fn the_size_can_be_changed_within_limits() {
    let (_reader, writer) = Pipe::pair();
    assert_eq!(writer.set_size(5000), Ok(8192));
    assert_eq!(writer.size(), 8192);
    let open = OpenFile::new(writer.clone(), open::WRONLY);
    writer
        .write(&open, &mut Reader::kernel(&[0; 6000]), 0)
        .unwrap();
    assert_eq!(writer.set_size(4096), Err(Errno::EBUSY));
    assert_eq!(writer.set_size(2 << 20), Err(Errno::EPERM));
}

#[test]
fn a_fifo_waits_for_its_other_side() {
    let fifo = Pipe::new();
    assert_eq!(
        fifo.open(open::WRONLY | open::NONBLOCK).err(),
        Some(Errno::ENXIO)
    );
    let reader = fifo.open(open::RDONLY).unwrap();
    assert!(!reader.has_partner());
    let writer = fifo.open(open::WRONLY).unwrap();
    assert!(reader.has_partner() && writer.has_partner());
    drop(writer);
    assert!(reader.has_partner(), "a writer that came and went counts");
}

#[test]
fn a_fifo_without_writer_reads_as_ended_and_hangs_up_only_after_one() {
    let fifo = Pipe::new();
    let reader = opened(&fifo, open::RDONLY | open::NONBLOCK);
    assert_eq!(reader.poll(), 0);
    assert_eq!(reader.read(4).unwrap(), b"");
    let writer = opened(&fifo, open::WRONLY);
    assert_eq!(reader.read(4), Err(Errno::EAGAIN));
    writer.write(b"one").unwrap();
    drop(writer);
    assert_eq!(reader.poll(), events::IN | events::HUP);
    assert_eq!(reader.read(4).unwrap(), b"one");
    let again = opened(&fifo, open::WRONLY);
    assert_eq!(reader.poll(), 0);
    again.write(b"two").unwrap();
    assert_eq!(reader.read(4).unwrap(), b"two");
}

#[test]
fn a_fifo_forgets_its_bytes_when_all_ends_are_closed() {
    let fifo = Pipe::new();
    let both = opened(&fifo, open::RDWR);
    both.write(b"lost").unwrap();
    assert_eq!(both.poll(), events::IN | events::OUT);
    drop(both);
    assert_eq!(
        opened(&fifo, open::RDONLY | open::NONBLOCK)
            .read(9)
            .unwrap(),
        b""
    );
}
