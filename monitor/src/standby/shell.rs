//! A shell: everything but the last step of a restore, then the wait for a wish.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::handoff;
use crate::clock;
use crate::config::{Config, Protocol};
use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::finish;
use crate::net::listen_at;

/// Where a shell finds what its pool has left for it.
const SOURCE: RawFd = 3;
/// Where it says how far it is: see [`READY`] and [`TAKEN`].
const PROGRESS: RawFd = 4;
/// The machine stands by.
pub const READY: u8 = b'R';
/// It was woken, and lives on by itself.
pub const TAKEN: u8 = b'T';

/// Where the wish comes from.
pub enum Source {
    /// Whoever connects first; other shells wait at the same socket.
    Pool(UnixListener),
    /// The one process that has started this shell.
    Starter(UnixStream),
    /// Whoever a keeper starts shells for.
    Kept(UnixStream),
}

impl Source {
    /// The descriptor that the starter has left: a listener, or one end of a pair.
    pub fn inherited(kind: &str) -> Self {
        // SAFETY: whoever starts a shell leaves this descriptor to it, and nothing else
        // in the process knows of it.
        unsafe {
            match kind {
                "--shell" => Self::Pool(UnixListener::from_raw_fd(SOURCE)),
                "--shell-kept" => Self::Kept(UnixStream::from_raw_fd(SOURCE)),
                _ => Self::Starter(UnixStream::from_raw_fd(SOURCE)),
            }
        }
    }

    /// Whether it is worth while to have everything warm: nobody waits yet.
    pub fn stands_by(&self) -> bool {
        !matches!(self, Self::Starter(_))
    }
}

/// CLOCK_MONOTONIC when the wish came, ns; 0: this process is no shell.
static RECEIVED: AtomicU64 = AtomicU64::new(0);
/// CLOCK_MONOTONIC when guest memory was as it must be, ns.
static PREPARED: AtomicU64 = AtomicU64::new(0);
/// Processor time that getting ready has taken, ns.
static CPU_BEFORE: AtomicU64 = AtomicU64::new(0);

/// Guest memory is as it must be.
pub fn prepared() {
    PREPARED.store(clock::monotonic(), Ordering::Relaxed);
}

/// A pool wants to hear of this shell's progress.
static POOLED: AtomicBool = AtomicBool::new(false);

/// Waits for a wish and carries it over into the configuration. Answers when it came.
pub fn wait(source: Source, config: &mut Config) -> Result<Instant> {
    let lost = |error: std::io::Error| {
        MonitorError::new(
            SPORE_INTERNAL,
            format!("unexpected: a shell was left: {error}"),
        )
    };
    let kept = matches!(source, Source::Kept(_));
    let stream = match source {
        Source::Starter(stream) => stream,
        Source::Kept(mut stream) => {
            call_process(c"spore-standby");
            let listening = listen(config)?;
            let pid = std::process::id();
            let ready = json!({"event": "standby", "pid": pid, "listening": listening});
            stream
                .write_all(format!("{ready}\n").as_bytes())
                .map_err(lost)?;
            stream
        }
        Source::Pool(listener) => {
            POOLED.store(true, Ordering::Relaxed);
            progress(READY);
            let (stream, _) = listener.accept().map_err(lost)?;
            stream
        }
    };
    let (wake, descriptors) = match handoff::receive(&stream) {
        // Whoever had it stand by needs it no longer.
        Err(error) if kept && error.kind() == std::io::ErrorKind::UnexpectedEof => {
            finish::with_status(0)
        }
        received => received.map_err(lost)?,
    };
    call_process(c"spore-monitor");
    let woken = Instant::now();
    RECEIVED.store(clock::monotonic(), Ordering::Relaxed);
    // Of this thread: those that have filled memory are gone, the others begin later.
    let cpu = clock::now(libc::CLOCK_THREAD_CPUTIME_ID);
    CPU_BEFORE.store(cpu, Ordering::Relaxed);
    if let Some(style) = wake.events {
        config.events = style;
    }
    wake.apply(config, descriptors).map_err(lost)?;
    if !config.forked {
        outlive_starter();
    }
    finish::tell_at_end(stream);
    Ok(woken)
}

/// Has the ports of the program listen ahead of it: whoever wakes the machine may
/// connect in the same moment. Answers where.
fn listen(config: &mut Config) -> Result<Vec<Value>> {
    let rules = config.publish.iter_mut().flatten();
    rules
        .filter(|rule| rule.protocol == Protocol::Tcp)
        .map(|rule| {
            let (fd, host) = listen_at(rule)?;
            rule.listener = Some(Arc::new(fd));
            Ok(json!({"guestPort": rule.guest, "url": format!("http://{host}")}))
        })
        .collect()
}

/// The guest is about to run: the waker hears when each step was done, and the pool,
/// if there is one, may start the next shell.
pub fn taken() {
    let received = RECEIVED.load(Ordering::Relaxed);
    if received != 0 {
        let told = json!({
            "event": "woken",
            "pid": std::process::id(),
            "received": received,
            "prepared": PREPARED.load(Ordering::Relaxed),
            "resumed": clock::monotonic(),
            "cpuBefore": CPU_BEFORE.load(Ordering::Relaxed),
        });
        finish::say_to_waker(&format!("{told}\n"));
    }
    if POOLED.load(Ordering::Relaxed) {
        progress(TAKEN);
    }
}

/// What `ps` shows: which processes run a program, and which only wait.
pub fn call_process(name: &std::ffi::CStr) {
    // SAFETY: a live string that ends with 0, of which the kernel copies 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Does work that nobody waits for on a thread that gives way at once to whoever wakes up
/// (SCHED_IDLE; one of low priority keeps the processor for some milliseconds). Not the
/// process's own: without privileges it could not come back to its policy.
pub fn in_the_background<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let priority: libc::c_int = 0;
            // By number: musl has only a function that fails.
            // SAFETY: reads a structure of one number (`struct sched_param` of the UAPI) that
            // lives; the first 0 is the calling thread.
            unsafe {
                libc::syscall(
                    libc::SYS_sched_setscheduler,
                    0,
                    libc::SCHED_IDLE,
                    &raw const priority,
                )
            };
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn progress(byte: u8) {
    // SAFETY: the pool has left this descriptor; the file is forgotten, so that it
    // stays open.
    let mut file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(PROGRESS) });
    let _ = file.write_all(&[byte]);
}

/// A shell that waits ends with its starter, and so does what was started for a command.
pub fn end_with_starter() {
    // SAFETY: takes only numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn outlive_starter() {
    // SAFETY: takes only numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
}

/// Reads a byte of a shell's progress; `None` once it has ended.
pub fn next_progress(from: &mut impl Read) -> Option<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte).ok().map(|()| byte[0])
}

/// How a starter leaves descriptors to a shell.
pub fn leave_descriptors(
    command: &mut std::process::Command,
    source: RawFd,
    progress: RawFd,
    mut layers: Vec<RawFd>,
) {
    use std::os::unix::process::CommandExt;
    let give = move || {
        // SAFETY: between fork and exec only system calls are made; dup2 clears
        // close-on-exec. Both are moved away from the targets first.
        unsafe {
            let source = libc::fcntl(source, libc::F_DUPFD_CLOEXEC, 64);
            let progress = libc::fcntl(progress, libc::F_DUPFD_CLOEXEC, 64);
            super::shared::leave(&mut layers)?;
            let left = libc::dup2(source, SOURCE) >= 0 && libc::dup2(progress, PROGRESS) >= 0;
            match left {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error()),
            }
        }
    };
    // SAFETY: `give` only makes system calls.
    unsafe { command.pre_exec(give) };
}
