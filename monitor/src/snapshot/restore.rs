//! From a snapshot to a guest that is about to go on: what it finds changed.

use std::path::Path;

use kvm_bindings::{CpuId, kvm_regs};
use spore_abi::boot::Span;
use spore_abi::hostcall::{HostCall, number};
use spore_abi::layout::{HOSTCALL_GPA, HUGE, PAGE, RINGS_GPA, VCPU_GPA};
use spore_abi::net::Header as RingHeader;
use spore_abi::restore::{BUFFER, RESTORE_MAGIC, RestoreRecord};
use spore_abi::vcpu::VcpuBlock;
use std::sync::atomic::Ordering;

use super::file::{self, Snapshot};
use super::format::Section;
use super::load;
use super::origins::{ImageFiles, Origins};
use super::touched;
use super::warm::{self, Stub};
use crate::clock;
use crate::config::Config;
use crate::error::Result;
use crate::memory::GuestMemory;
use crate::net::Devices;
use crate::standby::shared;

/// Process ids that a restored process may get: like those of a system that has
/// run for a while, and never the one that a boot gives.
const PIDS: std::ops::Range<u32> = 300..32_000;

/// A snapshot that fits this image, kernel and processor.
pub struct Restore {
    snapshot: Snapshot,
    origins: Origins,
    devices: Devices,
    features: Vec<u8>,
}

impl Restore {
    /// Opens a snapshot and checks that it is of what is to run.
    pub fn open(path: &Path, config: &Config) -> Result<Self> {
        let snapshot = Snapshot::open(path)?;
        let header = &snapshot.header;
        if let Some(identity) = &config.snapshot {
            if header.image != file::digest(&identity.image) {
                return Err(snapshot.foreign("it was taken of another image"));
            }
            if header.kernel != file::digest(&identity.kernel) {
                return Err(snapshot.foreign("it was taken with another library OS"));
            }
        }
        let devices = serde_json::from_slice(snapshot.section(Section::Devices))
            .map_err(|_| snapshot.damaged("its table of sockets makes no sense"))?;
        let features = snapshot.section(Section::Features).to_vec();
        let origins = Origins::open(&snapshot, &ImageFiles::of(config))?;
        Ok(Self {
            snapshot,
            origins,
            devices,
            features,
        })
    }

    /// Bytes of memory that the machine needs: the guest's, and room behind it for a
    /// machine on trial.
    pub fn memory_size(&self, config: &Config) -> u64 {
        let room = match config.trial {
            true => touched::room(self.snapshot.frames.len()),
            false => 0,
        };
        self.snapshot.header.ram_size + room
    }

    /// How many freezes lie between the boot and the snapshot.
    pub fn generation(&self) -> u64 {
        self.snapshot.header.generation
    }

    /// Registers at the freeze.
    pub fn registers(&self) -> kvm_regs {
        self.snapshot.header.registers
    }

    /// Sockets at the freeze.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// What has to be added to the host's CLOCK_MONOTONIC, so that the guest's goes
    /// on: by what the wall clock says has passed, but never back.
    pub fn clock_offset(&self) -> i64 {
        let asleep = self.slept();
        let then = self.snapshot.header.monotonic;
        then.wrapping_add(asleep).wrapping_sub(clock::monotonic()) as i64
    }

    fn slept(&self) -> u64 {
        clock::now(libc::CLOCK_REALTIME).saturating_sub(self.snapshot.header.realtime)
    }

    /// Refuses a processor with other features.
    pub fn check_features(&self, cpuid: &CpuId) -> Result<()> {
        if feature_bytes(cpuid) != self.features {
            return Err(self
                .snapshot
                .foreign("it was taken on a processor with other features"));
        }
        Ok(())
    }

    /// Fills guest memory.
    pub fn load(&self, memory: &GuestMemory, config: &Config) -> Result<()> {
        let number = config.layers.len();
        match config.frames_inherited.then(|| shared::inherited(number)) {
            Some(Some(frames)) => load::map(&self.snapshot, &self.origins, memory, &frames)?,
            _ => load::pages(&self.snapshot, &self.origins, memory, 0)?,
        }
        if config.trial {
            let end = self.snapshot.header.ram_size;
            let buffer = self.buffer(memory)?;
            let record = buffer / PAGE * PAGE..buffer + size_of::<RestoreRecord>() as u64;
            touched::watch(memory, &self.snapshot.frames, end, &record)
                .map_err(|_| self.snapshot.damaged("its page tables make no sense"))?;
            // The room behind the guest's memory is there from the start, and so all of it.
            memory.set_ram_present(memory.ram_size());
        }
        Ok(())
    }

    /// Whether a trial has seen what the machine uses first.
    pub fn knows_use(&self) -> Result<bool> {
        Ok(!self.snapshot.working_set()?.is_empty())
    }

    /// Bytes that the frames take in memory.
    pub fn frames_size(&self) -> u64 {
        self.snapshot.frames.len() as u64 * HUGE
    }

    /// The frames as one file in memory, for many machines.
    pub fn shared_frames(&self) -> Result<std::fs::File> {
        load::shared_frames(&self.snapshot, &self.origins)
    }

    /// Where the guest has offered a buffer, and it is at rest there.
    fn buffer(&self, memory: &GuestMemory) -> Result<u64> {
        let call: HostCall = memory
            .read(HOSTCALL_GPA)
            .map_err(|_| self.snapshot.damaged("its guest is not at rest"))?;
        if call.number != number::FROZEN || call.args[1] != BUFFER {
            return Err(self.snapshot.damaged("its guest is not at rest"));
        }
        Ok(call.args[0])
    }

    /// What lets the vCPU touch its memory before the guest goes on.
    pub fn stub(&self, memory: &GuestMemory) -> Result<Option<Stub>> {
        Ok(warm::place(memory, self.buffer(memory)?))
    }

    /// Changes what the guest must find changed when it goes on.
    pub fn prepare(
        &self,
        memory: &GuestMemory,
        config: &Config,
        options: u32,
        streams: [u32; 3],
    ) -> Result<()> {
        let wrong = |_| self.snapshot.damaged("its guest is not at rest");
        let buffer = self.buffer(memory)?;
        let result = HOSTCALL_GPA + std::mem::offset_of!(HostCall, result) as u64;
        let generation = self.generation() as i64;
        memory.write(result, &generation).map_err(wrong)?;
        let block: &VcpuBlock = memory.shared(VCPU_GPA).map_err(wrong)?;
        block.attention.store(0, Ordering::Relaxed);
        block.upcall_ok.store(0, Ordering::Relaxed);
        let rings: &RingHeader = memory.shared(RINGS_GPA).map_err(wrong)?;
        rings.io_sleep.word.store(0, Ordering::Relaxed);
        let bytes = self.record(config, options, streams)?;
        memory.write_bytes(buffer, &bytes).map_err(wrong)
    }

    fn record(&self, config: &Config, options: u32, streams: [u32; 3]) -> Result<Vec<u8>> {
        let mut bytes = vec![0; size_of::<RestoreRecord>()];
        let mut add = |text: &[u8]| {
            let span = Span {
                offset: bytes.len() as u32,
                len: text.len() as u32,
            };
            bytes.extend_from_slice(text);
            span
        };
        let mut seed = [0; 32];
        let mut boot_id = [0; 16];
        let mut pid = [0; 4];
        random(&mut seed);
        random(&mut boot_id);
        random(&mut pid);
        let env: Vec<u8> = config
            .restored_env
            .iter()
            .flat_map(|text| text.bytes().filter(|byte| *byte != 0).chain([0]))
            .collect();
        let record = RestoreRecord {
            magic: RESTORE_MAGIC,
            generation: self.generation(),
            slept_ns: self.slept(),
            seed,
            boot_id,
            options,
            pid: PIDS.start + u32::from_le_bytes(pid) % (PIDS.end - PIDS.start),
            streams,
            reserved: 0,
            hostname: add(config.hostname.as_bytes()),
            env: add(&env),
            instance: add(config.instance.as_bytes()),
        };
        if bytes.len() as u64 > BUFFER {
            return Err(crate::error::MonitorError::new(
                crate::error::SPORE_LAUNCH_CONFIG,
                "launch configuration: the environment of a restore takes more than 256 KiB",
            ));
        }
        // SAFETY: the record is integers without padding; its bytes are only read.
        let head = unsafe {
            std::slice::from_raw_parts((&raw const record).cast::<u8>(), size_of::<RestoreRecord>())
        };
        bytes[..head.len()].copy_from_slice(head);
        Ok(bytes)
    }
}

/// Random bytes of the host.
pub fn random(bytes: &mut [u8]) {
    // SAFETY: getrandom fills at most the given bytes; requests this small are never
    // cut short once the host's generator is initialised.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
}

/// The processor's features as bytes that can be compared. What names one
/// processor among several (its APIC id) is left out.
pub fn feature_bytes(cpuid: &CpuId) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in cpuid.as_slice() {
        if matches!(entry.function, 0xb | 0x1f | 0x8000_001e) {
            continue;
        }
        let ebx = match entry.function {
            1 => entry.ebx & 0x00ff_ffff,
            _ => entry.ebx,
        };
        for word in [
            entry.function,
            entry.index,
            entry.flags,
            entry.eax,
            ebx,
            entry.ecx,
            entry.edx,
        ] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}
