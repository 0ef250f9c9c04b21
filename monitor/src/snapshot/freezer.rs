//! Freezing: somebody asks, the vCPU comes to rest, a copy is made, and the guest
//! goes on while the copy is written.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kvm_bindings::{CpuId, kvm_regs};
use serde::Serialize;
use spore_abi::hostcall::refused;
use spore_abi::vcpu::attention;

use super::capture::{self, Pages};
use super::file::{self, Contents, Snapshot};
use super::format::{Extent, Header, SECTIONS};
use super::pack;
use super::restore::feature_bytes;
use super::touched;
use crate::clock::{self, Clock};
use crate::config::{Kernel, SnapshotIdentity};
use crate::control::VcpuControl;
use crate::error::{MonitorError, Result, SPORE_SNAPSHOT_FAILED};
use crate::memory::GuestMemory;
use crate::net::Net;

/// A copy of the guest, not written yet.
pub struct Frozen {
    contents: Contents,
    pages: Pages,
    memory: Arc<GuestMemory>,
    kernel: Kernel,
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
    /// Whether pages are made of those of the base that was offered.
    pub on_base: bool,
}

/// What stays the same from one freeze to the next.
pub struct Freezer {
    memory: Arc<GuestMemory>,
    control: Arc<VcpuControl>,
    clock: Arc<Clock>,
    identity: SnapshotIdentity,
    /// The library OS, as it lies in a file.
    kernel: Kernel,
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
        (identity, kernel): (SnapshotIdentity, Kernel),
        features: &CpuId,
        (generation, on_trial): (u64, bool),
    ) -> Self {
        Self {
            memory,
            control,
            clock,
            identity,
            kernel,
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

    /// On the vCPU thread: the machine does not let itself be frozen.
    pub fn refused(&self, why: u64) {
        if let Some(Request { answer, .. }) = self.whoever_waits() {
            let problem = match why {
                refused::ABSENT => {
                    "the image holds no snapshot piece: build it with `--piece snapshot`"
                }
                _ => "the program holds the machine awake",
            };
            let _ = answer.send(Err(failed(problem)));
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
            content: 0,
            ram_size: self.memory.ram_size(),
            generation: self.generation + 1,
            monotonic: self.clock.guest_monotonic(clock::monotonic()),
            realtime: clock::now(libc::CLOCK_REALTIME),
            kernel: file::digest(&self.identity.kernel),
            image: file::digest(&self.identity.image),
            id: random(),
            base: [0; 16],
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
            memory: Arc::clone(&self.memory),
            kernel: self.kernel.clone(),
            pause_us: started.elapsed().as_micros() as u64,
            stillness: last.then_some(stillness),
        }));
        // At once, unless the guest is to end.
        let _ = ended.recv();
        Ok(())
    }
}

impl Frozen {
    /// Writes the copy to a file. `base`: another snapshot in the same folder that it may
    /// be made on, if most of it stands there already.
    pub fn write(mut self, path: &Path, base: Option<&Path>) -> Result<Written> {
        let header = &mut self.contents.header;
        let generation = header.generation;
        let base = base.map(|base| open_base(path, base)).transpose()?;
        let layers = self.memory.layers();
        // A debugger changes its guest's copy of them.
        let layers = match layers.iter().any(|layer| layer.mapping.is_private()) {
            true => &[],
            false => layers,
        };
        let mut image: Vec<&[u8]> = layers.iter().map(|layer| layer.bytes()).collect();
        let kernel = self.kernel.read().unwrap_or_default();
        if !layers.is_empty() {
            image.push(&kernel);
        }
        let packed = pack::pack(&self.pages, &image, base.as_ref().map(|(_, base)| base))?;
        let mut name = "";
        if let (true, Some((base_name, base))) = (packed.on_base, &base) {
            header.base = base.header.id;
            name = base_name;
        }
        let pages = packed.records.len() as u64;
        let bytes = file::write(path, self.contents, &packed, name)?;
        Ok(Written {
            bytes,
            pages,
            pause_us: self.pause_us,
            generation,
            on_base: packed.on_base,
        })
    }
}

/// The name and the content of a base. It is found again by its name.
fn open_base<'a>(path: &Path, base: &'a Path) -> Result<(&'a str, Snapshot)> {
    let name = base.file_name().and_then(|name| name.to_str());
    match name {
        Some(name) if base.parent() == path.parent() && base != path => {
            Ok((name, Snapshot::open(base)?))
        }
        _ => Err(failed("its base must lie beside it")),
    }
}

fn random() -> [u8; 16] {
    let mut id = [0; 16];
    super::restore::random(&mut id);
    id
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
