//! Standard input, output and error as open files, and the log.
//!
//! Each is a slot of the shared rings. Nothing is allocated and nothing is asked
//! of the host before the program uses a stream; standard input in particular is
//! not read before somebody wants it.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use spore_abi::boot::{BootInfo, StreamKind};
use spore_abi::hostcall::number;
use spore_abi::net::{host_flag, slot};
use spore_hal::{Lock, direct, host};

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events, open};
use crate::fs::stat::{Stat, mode};
use crate::mm::io::{Reader, Writer};
use crate::mm::user::{self, UserAddr};
use crate::net::connection::Connection;
use crate::net::doorbell::{self, Endpoint};
use crate::net::slots;
use crate::process::Process;
use crate::sched::notify::Notifier;

const STREAM_RING: u32 = 64 << 10;
const LOG_RING: u32 = 16 << 10;
/// Requests for terminals: number, bytes of the argument, whether it is written by
/// the host, and whether the argument is a plain number. As the monitor's list.
const TERMINAL_REQUESTS: &[(u32, usize, bool, bool)] = &[
    (0x5401, 36, true, false),
    (0x5402, 36, false, false),
    (0x5403, 36, false, false),
    (0x5404, 36, false, false),
    (0x5409, 0, false, true),
    (0x540a, 0, false, true),
    (0x540b, 0, false, true),
    (0x540f, 4, true, false),
    (0x5411, 4, true, false),
    (0x5413, 8, true, false),
    (0x5414, 8, false, false),
    (0x802c_542a, 44, true, false),
    (0x402c_542b, 44, false, false),
    (0x402c_542c, 44, false, false),
    (0x402c_542d, 44, false, false),
];

/// The rings of a standard slot, made at first use.
struct Rings {
    connection: Option<Connection>,
}

/// One standard stream.
pub struct Stream {
    index: usize,
    /// As a number: a restore may change it.
    kind: AtomicU32,
    rings: Lock<Rings>,
    notifier: Notifier,
}

/// All streams that were opened, so that what one writes can follow the other.
static OUTPUTS: Lock<[Option<Arc<Stream>>; 4]> = Lock::new([const { None }; 4]);
/// The output that was written last.
static LAST_OUTPUT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// A page through which terminal requests pass, 0 before the first.
static SCRATCH: AtomicU64 = AtomicU64::new(0);
static LOG_BUSY: AtomicBool = AtomicBool::new(false);

/// Gives a process its standard streams, as the monitor has found them. A stream
/// that is closed on the host stays closed.
pub fn open_standard(info: &BootInfo, process: &Process) {
    for (index, kind) in info.streams.iter().enumerate() {
        if let Some(open) = open_one(index, *kind) {
            let _ = process.descriptors.replace(index as i32, open, false);
        }
    }
}

/// The machine was restored elsewhere: the streams are what they are there.
pub fn restored(kinds: &[u32; 3]) {
    for (index, kind) in kinds.iter().enumerate() {
        let stream = OUTPUTS.lock()[index].clone();
        if let Some(stream) = stream {
            stream.kind.store(*kind, Ordering::Relaxed);
            if stream.rings.lock().connection.is_some() {
                doorbell::ring(index);
            }
        }
    }
}

fn known_kind(kind: u32) -> Option<StreamKind> {
    use StreamKind::{Device, File, Pipe, Socket, Terminal};
    [Pipe, Terminal, File, Socket, Device]
        .into_iter()
        .find(|known| *known as u32 == kind)
}

fn open_one(index: usize, kind: u32) -> Option<Arc<OpenFile>> {
    use StreamKind::{Socket, Terminal};
    let kind = known_kind(kind)?;
    let access = match (kind, index) {
        (Terminal | Socket, _) => open::RDWR,
        (_, slot::STDIN) => open::RDONLY,
        _ => open::WRONLY,
    };
    Some(OpenFile::new(stream(index, kind), access))
}

fn stream(index: usize, kind: StreamKind) -> Arc<Stream> {
    let stream = Arc::new(Stream {
        index,
        kind: AtomicU32::new(kind as u32),
        rings: Lock::new(Rings { connection: None }),
        notifier: Notifier::new(),
    });
    OUTPUTS.lock()[index] = Some(stream.clone());
    stream
}

/// Writes to the log (the monitor's standard error).
pub fn log(text: &[u8]) {
    if LOG_BUSY.swap(true, Ordering::Relaxed) {
        return;
    }
    let existing = OUTPUTS.lock()[slot::LOG].clone();
    let log = existing.unwrap_or_else(|| stream(slot::LOG, StreamKind::File));
    // A log that nobody can read must not stop the program.
    let _ = log.put(&mut Reader::kernel(text));
    LOG_BUSY.store(false, Ordering::Relaxed);
}

impl Stream {
    fn kind(&self) -> StreamKind {
        known_kind(self.kind.load(Ordering::Relaxed)).unwrap_or(StreamKind::Closed)
    }
    /// Always ready, as regular files are: waits happen inside the host call.
    fn is_direct(&self) -> bool {
        matches!(self.kind(), StreamKind::File | StreamKind::Device)
    }
    /// Calls `action` with the rings, which are made now if need be.
    fn with<T>(self: &Stream, action: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut rings = self.rings.lock();
        if rings.connection.is_none() {
            let size = if self.index == slot::LOG {
                LOG_RING
            } else {
                STREAM_RING
            };
            let (rx, tx) = if self.index == slot::STDIN {
                (size, 0)
            } else {
                (0, size)
            };
            rings.connection = Some(Connection::new(slots::open_fixed(self.index, rx, tx)?));
            if let Some(this) = OUTPUTS.lock()[self.index].clone() {
                let this: Arc<dyn Endpoint> = this;
                doorbell::attach(self.index, Arc::downgrade(&this));
            }
            // The host opens the stream when it is rung the first time.
            doorbell::ring(self.index);
        }
        match rings.connection.as_mut() {
            Some(connection) => action(connection),
            None => Err(Errno::EIO),
        }
    }
    /// What two outputs write to the same file must arrive in the order of the
    /// writes, but each has a ring of its own: the other one is emptied first.
    fn follow_other_output(&self) {
        let last = LAST_OUTPUT.swap(self.index, Ordering::Relaxed);
        if last == self.index || last > slot::LOG {
            return;
        }
        let other = OUTPUTS.lock()[last].clone();
        if other.is_some_and(|other| other.untaken() > 0) {
            doorbell::visit();
        }
    }
    fn untaken(&self) -> u32 {
        let rings = self.rings.lock();
        match &rings.connection {
            Some(connection) => connection.untaken_even_unknown(),
            None => 0,
        }
    }
    /// Writes all that fits; for direct files all.
    fn put(&self, data: &mut Reader<'_>) -> Result<usize> {
        self.follow_other_output();
        let mut done = 0;
        loop {
            let result = self.with(|connection| connection.write(data));
            match result {
                Ok(count) => done += count,
                Err(_) if done > 0 => return Ok(done),
                Err(Errno::EAGAIN) if self.is_direct() => {}
                Err(error) => return Err(error),
            }
            if data.remaining() == 0 || !self.is_direct() {
                return Ok(done);
            }
            // A file takes everything: have the ring emptied and go on.
            let before = self.untaken();
            doorbell::visit();
            if self.untaken() == before {
                doorbell::wait_briefly();
            }
        }
    }
    fn terminal_request(&self, request: u32, argument: u64) -> Result<usize> {
        let known = TERMINAL_REQUESTS
            .iter()
            .find(|(number, ..)| *number == request);
        let &(_, size, answer, plain) = known.ok_or(Errno::ENOTTY)?;
        if SCRATCH.load(Ordering::Relaxed) == 0 {
            SCRATCH.store(crate::mm::frames::alloc_page()?, Ordering::Relaxed);
        }
        let scratch = SCRATCH.load(Ordering::Relaxed);
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..size];
        if !plain && !answer {
            user::read_bytes(UserAddr::new(argument), bytes)?;
            direct::write(scratch, bytes);
            doorbell::visit(); // Settings take effect behind what was written.
        }
        let value = if plain { argument } else { scratch };
        let args = [self.index as u64, u64::from(request), value, 0, 0, 0];
        let result = host::call(number::TERMINAL_IOCTL, args);
        if result < 0 {
            return Err(Errno(result.unsigned_abs() as u16));
        }
        if answer {
            direct::read(scratch, bytes);
            user::write_bytes(UserAddr::new(argument), bytes)?;
        }
        Ok(result as usize)
    }
}

impl Endpoint for Stream {
    fn news(&self) {
        self.notifier.notify(self.poll());
    }
}

impl File for Stream {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        if self.index != slot::STDIN {
            // A terminal can be read through any of its descriptors.
            let input = OUTPUTS.lock()[slot::STDIN].clone();
            return match input {
                Some(input) if self.kind() == StreamKind::Terminal => input.read(_open, out, 0),
                _ => Err(Errno::EBADF),
            };
        }
        loop {
            match self.with(|connection| connection.read(out, false)) {
                Err(Errno::EAGAIN) if self.is_direct() => {
                    doorbell::ring(slot::STDIN);
                    doorbell::visit();
                }
                result => return result,
            }
        }
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        if self.index == slot::STDIN {
            let output = OUTPUTS.lock()[slot::STDOUT].clone();
            return match output {
                Some(output) if self.kind() == StreamKind::Terminal => output.put(data),
                _ => Err(Errno::EBADF),
            };
        }
        self.put(data)
    }
    fn poll(&self) -> u32 {
        const READ: u32 = events::IN | events::RDNORM;
        const WRITE: u32 = events::OUT | events::WRNORM;
        if self.is_direct() {
            return READ | WRITE;
        }
        let ready = self.with(|connection| {
            let flags = connection.flags();
            let mut ready = 0;
            if self.index == slot::STDIN {
                if connection.available() > 0 || flags & host_flag::EOF != 0 {
                    ready |= READ;
                }
                if flags & host_flag::EOF != 0 && self.kind() == StreamKind::Pipe {
                    ready |= events::HUP;
                }
            } else {
                connection.room_seen();
                if connection.writable() {
                    ready |= WRITE;
                }
                if flags & host_flag::ERROR != 0 {
                    ready |= WRITE | events::ERR;
                }
            }
            Ok(ready)
        });
        ready.unwrap_or(0)
    }
    fn notifier(&self) -> Option<&Notifier> {
        (!self.is_direct()).then_some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        let kind = match self.kind() {
            StreamKind::Terminal | StreamKind::Device => mode::CHARACTER | 0o620,
            StreamKind::File => mode::FILE | 0o644,
            _ => mode::FIFO | 0o600,
        };
        let rdev = match self.kind() {
            // /dev/pts/0 and /dev/null (Documentation/admin-guide/devices.txt).
            StreamKind::Terminal => 0x8800,
            StreamKind::Device => 0x103,
            _ => 0,
        };
        Ok(Stat {
            device: 13,
            inode: 1 + self.index as u64,
            links: 1,
            mode: kind,
            rdev,
            block_size: 4096,
            ..Stat::default()
        })
    }
    fn ioctl(&self, _open: &OpenFile, request: u32, argument: u64) -> Result<usize> {
        if request == crate::ipc::ioctl::FIONREAD && self.index == slot::STDIN {
            let available = self.with(|connection| Ok(connection.available()))?;
            return crate::ipc::ioctl::answer(argument, available as usize);
        }
        if self.kind() == StreamKind::Terminal {
            return self.terminal_request(request, argument);
        }
        Err(Errno::ENOTTY)
    }
    fn path(&self) -> String {
        match self.kind() {
            StreamKind::Terminal => String::from("/dev/pts/0"),
            StreamKind::Device => String::from("/dev/null"),
            _ => alloc::format!("pipe:[{}]", 1 + self.index),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
