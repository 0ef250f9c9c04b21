//! The pool: keeps shells that stand by, and replaces those that were taken.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::pipe;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::shared;
use super::shell::{self, READY, TAKEN};
use crate::config;
use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::finish;

/// Shells that may end before they were taken, in a row, until the pool gives up.
const FAILURES: u32 = 3;

/// How long a machine that was woken has the processors to itself: the next shell is not
/// needed before its first answer.
const REST: Duration = Duration::from_millis(30);

enum News {
    Ready,
    Taken,
    Ended,
}

/// Keeps `count` shells of a configuration at `socket`, until the process ends.
/// Prints a line for each that is ready or taken.
pub fn keep(config: &Path, count: usize, socket: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        MonitorError::new(SPORE_INTERNAL, format!("unexpected: no pool: {error}"))
    };
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    finish::remove_at_end(socket);
    finish::remove_at_end(config);
    let settings = config::load(config)?;
    let layers = settings.layers.iter().map(shared::copy);
    let layers: Vec<File> = layers.collect::<std::io::Result<_>>().map_err(failed)?;
    let (say, hear) = channel();
    let start = |say: &Sender<News>| start(config, &listener, &layers, say).map_err(failed);
    for _ in 0..count {
        start(&say)?;
    }
    let mut failures = 0;
    // When a replacement is due, for each that was taken.
    let mut due: VecDeque<Instant> = VecDeque::new();
    loop {
        let wait = due.front().map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let news = match hear.recv_timeout(wait) {
            Ok(news) => news,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                due.pop_front();
                start(&say)?;
                continue;
            }
        };
        match news {
            News::Ready => {
                failures = 0;
                println!("{}", json!({"event": "standby"}));
            }
            News::Taken => {
                println!("{}", json!({"event": "taken"}));
                due.push_back(Instant::now() + REST);
            }
            News::Ended => {
                failures += 1;
                if failures >= FAILURES {
                    return Err(MonitorError::new(
                        SPORE_INTERNAL,
                        "unexpected: shells end before they are used",
                    ));
                }
                start(&say)?;
            }
        }
    }
}

/// Starts a shell and a thread that listens to its progress.
fn start(
    config: &Path,
    listener: &UnixListener,
    layers: &[File],
    say: &Sender<News>,
) -> std::io::Result<()> {
    let (mut progress, given) = pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("--shell").arg(config);
    shell::leave_descriptors(
        &mut command,
        listener.as_raw_fd(),
        given.as_raw_fd(),
        shared::raw(layers),
    );
    let child = command.spawn()?;
    drop(given);
    let say = say.clone();
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    thread.spawn(move || {
        let mut taken = false;
        while let Some(byte) = shell::next_progress(&mut progress) {
            let news = match byte {
                READY => News::Ready,
                TAKEN => News::Taken,
                _ => continue,
            };
            taken |= matches!(news, News::Taken);
            let _ = say.send(news);
            if taken {
                break;
            }
        }
        if !taken {
            let _ = say.send(News::Ended);
        }
        reap(child);
    })?;
    Ok(())
}

/// Waits for a process, so that it does not stay as a zombie.
fn reap(mut child: Child) {
    let _ = child.wait();
}

/// Has a thread wait for a process, for as long as that may be.
pub fn reap_later(child: Child) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    thread.spawn(move || reap(child)).map(drop)
}

/// Starts a shell of its own for one life: without a pool. `how`: what kind of shell;
/// `files`: what is left to it.
pub fn start_one(how: &str, config: &Path, files: &[File]) -> std::io::Result<UnixStream> {
    let (mine, given) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(how).arg(config);
    shell::leave_descriptors(
        &mut command,
        given.as_raw_fd(),
        given.as_raw_fd(),
        shared::raw(files),
    );
    reap_later(command.spawn()?)?;
    Ok(mine)
}

/// The path of a pool's socket, if one is named.
pub fn socket(words: &str) -> Option<PathBuf> {
    (words != "-").then(|| PathBuf::from(words))
}
