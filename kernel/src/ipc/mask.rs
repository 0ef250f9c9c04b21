//! The signal mask that ppoll, pselect6 and epoll_pwait set while they wait.

use core::future::Future;

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};
use crate::{sched, signal};

/// Reads the `sigset_t` at `addr`, NULL for none. EINVAL unless `size` is 8; EFAULT.
pub fn read(addr: UserAddr, size: usize) -> Result<Option<signal::Set>> {
    if addr.is_null() {
        return Ok(None);
    }
    if size != size_of::<signal::Set>() {
        return Err(Errno::EINVAL);
    }
    user::read(addr).map(Some)
}

/// Runs `call` under `mask`. The former mask is back when it answers, except after
/// EINTR: then it comes back once the signal's handler has run.
pub async fn with(
    mask: Option<signal::Set>,
    call: impl Future<Output = Result<usize>>,
) -> Result<usize> {
    let Some(mask) = mask else { return call.await };
    signal::set_temporary_mask(mask);
    let result = call.await;
    if result != Err(Errno::EINTR) {
        let saved = sched::current().signals.lock().saved_mask.take();
        if let Some(saved) = saved {
            signal::set_mask(saved);
        }
    }
    result
}
