//! Freezing: somebody asks, the vCPU comes to rest, a copy is made, and the guest
//! goes on while the copy is written.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kvm_bindings::{CpuId, kvm_regs};
use serde::Serialize;
use spore_abi::vcpu::attention;

use super::capture::{self, Pages};
use super::file::{self, Contents};
use super::format::{Extent, Header, SECTIONS};
use super::restore::feature_bytes;
use super::touched;
use crate::clock::{self, Clock};
use crate::config::SnapshotIdentity;
use crate::control::VcpuControl;
use crate::error::{MonitorError, Result, SPORE_SNAPSHOT_FAILED};
use crate::memory::GuestMemory;
use crate::net::Net;

/// A copy of the guest, not written yet.
pub struct Frozen {
    contents: Contents,
    pages: Pages,
    /// How long the guest stood still, µs.
    pause_us: u64,
    /// The guest stands still as long as this is there, if it is to end afterwards.
    pub stillness: Option<SyncSender<()>>,
}

/// Who waits for a copy.
struct Request {
    answer: SyncSender<Result<Frozen>>,
    /// The guest ends afterwards, and does not run on meanwhile.
    last: bool,
    /// Where the copy goes, large enough already: to get memory takes longer than to
    /// fill it.
    room: Vec<u8>,
}

/// What a guest may take to come to rest beyond what its program was given.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was written.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// Length of the file.
    pub bytes: u64,
    /// Pages of guest memory in it.
    pub pages: u64,
    /// How long the guest stood still, µs.
    pub pause_us: u64,
    /// Generation of the snapshot.
    pub generation: u64,
}

/// What stays the same from one freeze to the next.
pub struct Freezer {
    memory: Arc<GuestMemory>,
    control: Arc<VcpuControl>,
    clock: Arc<Clock>,
    identity: SnapshotIdentity,
    features: Vec<u8>,
    /// Freezes between the boot and this machine.
    generation: u64,
    /// What it uses is watched.
    on_trial: bool,
    waiting: Mutex<Option<Request>>,
}

impl Freezer {
    /// `generation`: that of the snapshot this machine was made from, or 0; `on_trial`:
    /// what the machine uses is watched.
    pub fn new(
        memory: Arc<GuestMemory>,
        control: Arc<VcpuControl>,
        clock: Arc<Clock>,
        identity: SnapshotIdentity,
        features: &CpuId,
        (generation, on_trial): (u64, bool),
    ) -> Self {
        Self {
            memory,
            control,
            clock,
            identity,
            features: feature_bytes(features),
            generation,
            on_trial,
            waiting: Mutex::new(None),
        }
    }

    /// Notes in the snapshot that this machine was made from, on trial, what it has used
    /// so far.
    pub fn note_working_set(&self, path: &Path) -> Result<()> {
        if !self.on_trial {
            return Err(failed("nobody watches what this machine uses"));
        }
        file::add_working_set(path, |frames| touched::seen(&self.memory, frames))
    }

    /// Asks the guest to come to rest and waits for the copy. Any thread but the vCPU's.
    /// `patience`: how long the program may take to get ready for it; `last`: the guest
    /// is not to run on, see [`Frozen::stillness`].
    pub fn freeze(&self, patience: Duration, last: bool) -> Result<Frozen> {
        let receiver = self.ask(last)?;
        let word = &self.control.block().freeze_patience;
        word.store(patience.as_nanos() as u64, Ordering::Relaxed);
        self.control.raise(attention::FREEZE);
        receiver.recv_timeout(patience + PATIENCE).map_err(|_| {
            self.whoever_waits();
            failed("the guest did not come to rest")
        })?
    }

    fn ask(&self, last: bool) -> Result<Receiver<Result<Frozen>>> {
        if self.on_trial {
            return Err(failed("a machine on trial is not frozen"));
        }
        let (answer, receiver) = sync_channel(1);
        // The guest runs still; what is copied now is not used.
        let room = capture::pages(&self.memory, Vec::new()).data;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_some() {
            return Err(failed("another snapshot is being taken"));
        }
        *waiting = Some(Request { answer, last, room });
        Ok(receiver)
    }

    fn whoever_waits(&self) -> Option<Request> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.take()
    }

    /// On the vCPU thread: the program does not let the machine be frozen.
    pub fn refused(&self) {
        if let Some(Request { answer, .. }) = self.whoever_waits() {
            let _ = answer.send(Err(failed("the program holds the machine awake")));
        }
    }

    /// On the vCPU thread: the guest is at rest. Nothing happens if nobody has asked.
    pub fn at_rest(&self, net: &Net, registers: impl FnOnce() -> Result<kvm_regs>) -> Result<()> {
        let Some(Request { answer, last, room }) = self.whoever_waits() else {
            return Ok(());
        };
        let started = Instant::now();
        let registers = registers()?;
        let still = net.hold_still();
        let devices = still.devices();
        let pages = capture::pages(&self.memory, room);
        let header = Header {
            file_length: 0,
            data_offset: 0,
            data_length: 0,
            ram_size: self.memory.ram_size(),
            generation: self.generation + 1,
            monotonic: self.clock.guest_monotonic(clock::monotonic()),
            realtime: clock::now(libc::CLOCK_REALTIME),
            kernel: file::digest(&self.identity.kernel),
            image: file::digest(&self.identity.image),
            registers,
            sections: [Extent::default(); SECTIONS],
        };
        drop(still);
        let contents = Contents {
            header,
            about: json(&self.identity.about),
            features: self.features.clone(),
            devices: json(&devices),
            working_set: Vec::new(),
        };
        // Nobody waits any more: then nobody wants the copy.
        let (stillness, ended) = sync_channel(0);
        let _ = answer.send(Ok(Frozen {
            contents,
            pages,
            pause_us: started.elapsed().as_micros() as u64,
            stillness: last.then_some(stillness),
        }));
        // At once, unless the guest is to end.
        let _ = ended.recv();
        Ok(())
    }
}

impl Frozen {
    /// Writes the copy to a file.
    pub fn write(mut self, path: &Path) -> Result<Written> {
        self.pages.seal();
        let generation = self.contents.header.generation;
        let pages = self.pages.data.len() as u64 / spore_abi::layout::PAGE;
        let bytes = file::write(path, self.contents, &self.pages)?;
        Ok(Written {
            bytes,
            pages,
            pause_us: self.pause_us,
            generation,
        })
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn failed(problem: &str) -> MonitorError {
    MonitorError::new(
        SPORE_SNAPSHOT_FAILED,
        format!("no snapshot was taken: {problem}"),
    )
}
