//! pipe, pipe2.

use alloc::sync::Arc;

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, open};
use crate::ipc::pipe::Pipe;
use crate::mm::user::{self, UserAddr};

/// pipe(2).
pub fn pipe(descriptors: UserAddr) -> Result<()> {
    pipe2(descriptors, 0)
}

/// pipe2(2). EINVAL for unknown flags and for O_DIRECT (packet mode), as on kernels without it.
pub fn pipe2(descriptors: UserAddr, flags: u32) -> Result<()> {
    if flags & !(open::CLOEXEC | open::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = Pipe::pair();
    let status = flags & open::NONBLOCK;
    install_pair(
        descriptors,
        (reader, open::RDONLY | status),
        (writer, open::WRONLY | status),
        flags & open::CLOEXEC != 0,
    )
}

/// Gives two files descriptors and stores these as two ints at `descriptors`; both
/// or none. EMFILE, EFAULT.
pub fn install_pair(
    descriptors: UserAddr,
    first: (Arc<dyn File>, u32),
    second: (Arc<dyn File>, u32),
    close_on_exec: bool,
) -> Result<()> {
    let process = crate::sched::current().process();
    let table = &process.descriptors;
    let one = table.insert(OpenFile::new(first.0, first.1), close_on_exec, 0)?;
    let two = match table.insert(OpenFile::new(second.0, second.1), close_on_exec, 0) {
        Ok(two) => two,
        Err(error) => {
            drop(table.remove(one));
            return Err(error);
        }
    };
    user::write(descriptors, &[one, two]).inspect_err(|_| {
        drop(table.remove(one));
        drop(table.remove(two));
    })
}
