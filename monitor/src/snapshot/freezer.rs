//! Freezing: somebody asks, the vCPU comes to rest, a copy is made, and the guest
//! goes on while the copy is written.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kvm_bindings::{CpuId, kvm_regs};
use serde::Serialize;
use spore_abi::hostcall::refused;
use spore_abi::layout::FREE_GPA;
use spore_abi::vcpu::attention;

use super::capture::{self, Pages};
use super::file::{self, Contents, Snapshot};
use super::format::{Extent, Header, SECTIONS};
use super::load;
use super::origins::{ImageFiles, Origins};
use super::pack;
use super::restore::feature_bytes;
use super::touched;
use crate::clock::{self, Clock};
use crate::config::SnapshotIdentity;
use crate::control::VcpuControl;
use crate::error::{MonitorError, Result, SPORE_SNAPSHOT_FAILED};
use crate::events::Events;
use crate::memory::GuestMemory;
use crate::net::{Net, Still};

/// A copy of the guest, not written yet.
pub struct Frozen {
    contents: Contents,
    pages: Pages,
    memory: Arc<GuestMemory>,
    image: ImageFiles,
    /// How long the guest stood still, µs.
    pause_us: u64,
    /// The guest stands still as long as this is there, unless it is to go on.
    pub stillness: Option<SyncSender<Asleep>>,
}

/// What becomes of a guest after it was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It goes on.
    GoOn,
    /// It ends, and does not run on meanwhile.
    End,
    /// It sleeps: its memory is given back, until somebody wants something of it.
    Sleep,
}

/// What a machine that sleeps goes on from.
pub struct Asleep {
    snapshot: Snapshot,
    origins: Origins,
}

/// Memory from here on is given back; below it lies what the monitor's threads share with
/// the guest, whether that runs or not.
const GIVEN_BACK: u64 = FREE_GPA;

/// What a machine that sleeps does not wake for: its own timers, and rings that nobody
/// serves meanwhile.
const SLEPT_THROUGH: u32 = attention::TICK | attention::TIMER | attention::RINGS;

/// Who waits for a copy.
struct Request {
    answer: SyncSender<Result<Frozen>>,
    afterwards: Afterwards,
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
    image: ImageFiles,
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
        (identity, image): (SnapshotIdentity, ImageFiles),
        features: &CpuId,
        (generation, on_trial): (u64, bool),
    ) -> Self {
        Self {
            memory,
            control,
            clock,
            identity,
            image,
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
    /// `patience`: how long the program may take to get ready for it; `afterwards`: see
    /// [`Frozen::stillness`].
    pub fn freeze(&self, patience: Duration, afterwards: Afterwards) -> Result<Frozen> {
        let receiver = self.ask(afterwards)?;
        let word = &self.control.block().freeze_patience;
        word.store(patience.as_nanos() as u64, Ordering::Relaxed);
        self.control.raise(attention::FREEZE);
        receiver.recv_timeout(patience + PATIENCE).map_err(|_| {
            self.whoever_waits();
            failed("the guest did not come to rest")
        })?
    }

    fn ask(&self, afterwards: Afterwards) -> Result<Receiver<Result<Frozen>>> {
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
        *waiting = Some(Request {
            answer,
            afterwards,
            room,
        });
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
    pub fn at_rest(
        &self,
        net: &Net,
        events: &Events,
        registers: impl FnOnce() -> Result<kvm_regs>,
    ) -> Result<()> {
        let Some(request) = self.whoever_waits() else {
            return Ok(());
        };
        let Request {
            answer,
            afterwards,
            room,
        } = request;
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
        // Who sleeps keeps its rings still, and everything that is connected to them.
        let still = (afterwards == Afterwards::Sleep).then_some(still);
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
            image: self.image.clone(),
            pause_us: started.elapsed().as_micros() as u64,
            stillness: (afterwards != Afterwards::GoOn).then_some(stillness),
        }));
        // At once, unless the guest is to end or to sleep.
        match (ended.recv(), still) {
            (Ok(asleep), Some(still)) => self.sleep(&asleep, &still, events),
            _ => Ok(()),
        }
    }

    /// On the vCPU thread: waits until there is something to do for the guest, and brings
    /// its memory back.
    fn sleep(&self, asleep: &Asleep, still: &Still, events: &Events) -> Result<()> {
        events.asleep();
        self.control.set_idle(true);
        still.wait_for_work(|| {
            self.control.attention().load(Ordering::SeqCst) & !SLEPT_THROUGH != 0
        });
        self.control.set_idle(false);
        let started = Instant::now();
        load::pages(&asleep.snapshot, &asleep.origins, &self.memory, GIVEN_BACK)?;
        self.clock.refresh();
        events.awake(started.elapsed());
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
        let kernel = self.image.kernel.read().unwrap_or_default();
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

impl Frozen {
    /// Writes the copy to a file, which is nobody else's and has no name afterwards, and
    /// gives the guest's memory back.
    pub fn put_to_sleep(mut self, path: &Path) -> Result<Written> {
        let stillness = self.stillness.take();
        let (memory, image) = (Arc::clone(&self.memory), self.image.clone());
        let written = self.write(path, None)?;
        let snapshot = Snapshot::open(path);
        let _ = fs::remove_file(path);
        let snapshot = snapshot?;
        let origins = Origins::open(&snapshot, &image)?;
        memory
            .forget_from(GIVEN_BACK)
            .map_err(|error| failed(&format!("memory is not given back: {error}")))?;
        if let Some(stillness) = stillness {
            // The vCPU's thread waits for it.
            let _ = stillness.send(Asleep { snapshot, origins });
        }
        Ok(written)
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
