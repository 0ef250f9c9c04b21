//! Many machines from one snapshot: they share its frames until they write to them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::handoff::{self, Wake};
use super::{pool, shared};
use crate::config;
use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::finish;
use crate::snapshot::restore::Restore;

/// Machines that are made at the same time.
const AT_ONCE: usize = 4;

/// Starts `count` machines of a configuration and waits until all have ended. They
/// end with this process.
pub fn run(path: &Path, count: usize) -> Result<()> {
    let failed = |error: std::io::Error| {
        MonitorError::new(SPORE_INTERNAL, format!("unexpected: no fork: {error}"))
    };
    crate::net::raise_descriptor_limit();
    let config = config::load(path)?;
    finish::remove_at_end(path);
    let snapshot = Restore::open(config.restore.as_deref().unwrap_or(path), &config)?;
    let layers = config.layers.iter().map(shared::copy);
    let mut files: Vec<File> = layers.collect::<std::io::Result<_>>().map_err(failed)?;
    files.push(snapshot.shared_frames()?);
    let mut lives = Vec::new();
    for number in 0..count {
        let stream = pool::start_one("--shell-fork", path, &files).map_err(failed)?;
        let wake = Wake {
            restored_env: config.restored_env.clone(),
            ..Wake::new_machine()
        };
        handoff::send(&stream, &wake, &[]).map_err(failed)?;
        lives.push(BufReader::new(stream));
        // A machine that is made takes a processor; more at a time only wait.
        if number >= AT_ONCE {
            next_line(&mut lives[number - AT_ONCE]);
        }
    }
    for life in &mut lives {
        while next_line(life) {}
    }
    Ok(())
}

/// Waits for what a machine says next; false once it has ended.
fn next_line(life: &mut BufReader<UnixStream>) -> bool {
    let mut line = String::new();
    life.read_line(&mut line).is_ok_and(|length| length > 0)
}
