//! Waiting for any of several files: what poll and select have in common.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::fs::file::OpenFile;
use crate::ipc::timeout::Timeout;
use crate::sched::block::{Watch, park};

/// One file that a call waits for.
pub struct Interest {
    /// The caller's number for it.
    pub place: usize,
    /// The file.
    pub open: Arc<OpenFile>,
    /// Events that end the wait.
    pub wanted: u32,
}

/// Tells `found` of every file that has a wanted event; answers how many there are.
pub fn look(interests: &[Interest], mut found: impl FnMut(usize, u32)) -> usize {
    let mut count = 0;
    for interest in interests {
        let ready = interest.open.file.poll() & interest.wanted;
        if ready != 0 {
            found(interest.place, ready);
            count += 1;
        }
    }
    count
}

/// Waits until a file has a wanted event, tells `found` of all that have. Zero when
/// the time is over; EINTR.
pub async fn wait(
    interests: &[Interest],
    timeout: Timeout,
    mut found: impl FnMut(usize, u32),
) -> Result<usize> {
    let _watches: Vec<Watch> = interests
        .iter()
        .map(|interest| Watch::new(&interest.open))
        .collect();
    loop {
        let count = look(interests, &mut found);
        if count > 0 {
            return Ok(count);
        }
        match park(timeout.deadline()).await {
            Ok(()) => {}
            Err(Errno::ETIMEDOUT) => return Ok(0),
            Err(_) => return Err(Errno::EINTR),
        }
    }
}
