//! Communication inside the guest: pipes, unix sockets, eventfd, epoll, timers and
//! signals as files.

pub mod anonymous;
pub mod channel;
pub mod epoll;
pub mod eventfd;
pub mod interest;
pub mod ioctl;
pub mod mask;
pub mod pipe;
pub mod ring;
pub mod signalfd;
pub mod stream;
pub mod timeout;
pub mod timerfd;
pub mod unix;

use alloc::sync::Arc;

use crate::errno::Result;
use crate::fs::file::{File, OpenFile};

/// Opens `file` with the given status flags and gives it the lowest free descriptor. EMFILE.
pub fn install(file: Arc<dyn File>, status: u32, close_on_exec: bool) -> Result<usize> {
    let open = OpenFile::new(file, status);
    let fd = crate::sched::current()
        .process()
        .descriptors
        .insert(open, close_on_exec, 0)?;
    Ok(fd as usize)
}
