//! Many machines from one snapshot: they share its frames until they write to them. A few
//! machines, of which nobody has seen what they use, have copies at once.
//!
//! Everything that they have in common is read, checked and parsed once, in a process
//! without other threads; each machine is a copy of that process.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvm_bindings::CpuId;
use kvm_ioctls::Kvm;
use spore_abi::boot::KernelHeader;

use super::handoff::{self, Wake};
use super::shared;
use crate::config::{self, Config};
use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::finish;
use crate::image;
use crate::machine;
use crate::snapshot::restore::Restore;

/// Machines that are brought up at the same time.
const AT_ONCE: usize = 4;
/// How long a program that does not come to rest keeps others from being brought up.
const PATIENCE: Duration = Duration::from_millis(100);
/// Descriptors from here on are those of the first process: its ends of the connections
/// to its machines.
const LIVES: i32 = 128;

/// What the machines have in common.
pub struct Common {
    /// Their configuration.
    pub config: Config,
    /// What they go on from.
    pub restore: Restore,
    /// The library OS.
    pub header: KernelHeader,
    /// /dev/kvm.
    pub kvm: Kvm,
    /// The processor's features.
    pub features: CpuId,
}

/// Starts `count` machines of a configuration and waits until all have ended; they end
/// with this process. In each machine's process it answers at once, with what the machine
/// is made of and where it hears its name.
pub fn run(path: &Path, count: usize) -> Result<Option<(Common, UnixStream)>> {
    let failed = |error: io::Error| {
        MonitorError::new(SPORE_INTERNAL, format!("unexpected: no fork: {error}"))
    };
    crate::net::raise_descriptor_limit();
    let common = prepare(path, count, failed)?;
    let mut lives = Vec::new();
    // Nobody waits for them one by one.
    // SAFETY: takes only numbers.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    for number in 0..count {
        let (mine, given) = UnixStream::pair().map_err(failed)?;
        // SAFETY: this process has no other threads.
        match unsafe { libc::fork() } {
            -1 => return Err(failed(io::Error::last_os_error())),
            0 => {
                drop(mine);
                RESTLESS.store(true, Ordering::Relaxed);
                // They belong to the first process.
                std::mem::forget(lives);
                // SAFETY: takes only numbers; nothing here refers to these descriptors.
                unsafe {
                    libc::syscall(libc::SYS_close_range, LIVES, i32::MAX, 0);
                    libc::signal(libc::SIGCHLD, libc::SIG_DFL);
                }
                return Ok(Some((common, given)));
            }
            _ => drop(given),
        }
        let wake = Wake {
            restored_env: common.config.restored_env.clone(),
            ..Wake::new_machine()
        };
        handoff::send(&mine, &wake, &[]).map_err(failed)?;
        lives.push(BufReader::with_capacity(
            512,
            out_of_the_way(mine).map_err(failed)?,
        ));
        // A machine takes a processor until it rests; more at a time only disturb each other.
        if number >= AT_ONCE {
            until_rest(&mut lives[number - AT_ONCE]).map_err(failed)?;
        }
    }
    for life in &mut lives {
        while next_line(life) {}
    }
    Ok(None)
}

fn prepare(
    path: &Path,
    count: usize,
    failed: impl Fn(io::Error) -> MonitorError + Copy,
) -> Result<Common> {
    let mut config = config::load(path)?;
    let _ = fs::remove_file(path);
    let restore = Restore::open(config.restore.as_deref().unwrap_or(path), &config)?;
    let layers = config.layers.iter().map(shared::copy);
    let mut files: Vec<File> = layers.collect::<io::Result<_>>().map_err(failed)?;
    config.frames_inherited = restore.knows_use()? || count > room_for(&restore);
    if config.frames_inherited {
        files.push(restore.shared_frames()?);
    }
    shared::keep(files).map_err(failed)?;
    (config.layers_inherited, config.forked) = (true, true);
    let header = image::read_header(&config.kernel)?;
    let kvm = machine::open_kvm()?;
    let features = machine::supported_features(&kvm)?;
    Ok(Common {
        config,
        restore,
        header,
        kvm,
        features,
    })
}

/// How many machines may have all their memory to themselves, in half of what the host has.
/// Where nobody has seen what they use, sharing costs each of them thousands of faults.
fn room_for(restore: &Restore) -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.strip_suffix("kB")?;
        kib.trim().parse::<u64>().ok()
    });
    let half = available.unwrap_or(0) * 1024 / 2;
    (half / restore.frames_size().max(1)) as usize
}

/// Moves a connection to where machines do not look.
fn out_of_the_way(stream: UnixStream) -> io::Result<UnixStream> {
    // SAFETY: takes only numbers; the copy is owned here.
    unsafe {
        let copy = libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, LIVES);
        match copy {
            -1 => Err(io::Error::last_os_error()),
            copy => Ok(UnixStream::from_raw_fd(copy)),
        }
    }
}

/// In the first process's child: nobody has heard yet that the machine rests.
static RESTLESS: AtomicBool = AtomicBool::new(false);

/// The program waits for something.
pub fn rests() {
    if RESTLESS.load(Ordering::Relaxed) && RESTLESS.swap(false, Ordering::Relaxed) {
        finish::say_to_waker("{\"event\":\"rests\"}\n");
    }
}

/// Waits until the program of a machine waits for something itself: the second line that
/// it says, after the one that it is woken.
fn until_rest(life: &mut BufReader<UnixStream>) -> io::Result<()> {
    if next_line(life) {
        life.get_ref().set_read_timeout(Some(PATIENCE))?;
        next_line(life);
        life.get_ref().set_read_timeout(None)?;
    }
    Ok(())
}

/// Waits for what a machine says next; false once it has ended.
fn next_line(life: &mut BufReader<UnixStream>) -> bool {
    let mut line = String::new();
    life.read_line(&mut line).is_ok_and(|length| length > 0)
}
