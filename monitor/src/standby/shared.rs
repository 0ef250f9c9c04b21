//! One copy of an image's layers for all shells of a pool: in memory that cannot be
//! paged out, in huge pages, so that a guest reaches 2 MiB of it at the price of 4 KiB.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use spore_abi::layout::HUGE;

use crate::config::LayerFile;
use crate::mapping::{Mapping, Sharing};

/// First descriptor at which a shell finds the layers.
pub const FIRST: RawFd = 20;
/// Where descriptors are moved first; nothing else is there in a process that starts shells.
const MOVED: RawFd = 600;
/// `linux/mman.h`: make huge pages of what is there now.
const MADV_COLLAPSE: i32 = 25;

/// Copies a layer into memory that shells can map.
pub fn copy(layer: &LayerFile) -> io::Result<File> {
    // SAFETY: a live name; the descriptor becomes owned here.
    let memory = unsafe {
        let fd = libc::memfd_create(c"spore-layer".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(fd)
    };
    memory.set_len(layer.length.next_multiple_of(HUGE))?;
    let source = File::open(&layer.path)?;
    let mut buffer = vec![0; HUGE as usize];
    let mut at = 0;
    while at < layer.length {
        let want = HUGE.min(layer.length - at) as usize;
        source.read_exact_at(&mut buffer[..want], layer.offset + at)?;
        memory.write_all_at(&buffer[..want], at)?;
        at += want as u64;
    }
    let whole = layer.length.next_multiple_of(HUGE);
    let mapping = Mapping::file(&memory, 0, whole, Sharing::Shared)?;
    // SAFETY: advice about a mapping of ours; a kernel without it leaves small pages.
    unsafe { libc::madvise(mapping.as_ptr().cast(), mapping.len(), MADV_COLLAPSE) };
    Ok(memory)
}

/// Makes descriptors survive an exec at [`FIRST`] and above. Between fork and exec.
pub fn leave(files: &[RawFd]) -> io::Result<()> {
    // Two steps: no target may be a file that is still to be moved.
    for fd in files {
        // SAFETY: takes only numbers; the copies are at hand until the exec closes them.
        if unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, MOVED) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for number in 0..files.len() as RawFd {
        // SAFETY: takes only numbers; dup2 clears close-on-exec.
        if unsafe { libc::dup2(MOVED + number, FIRST + number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// In a shell: the layer with this number.
pub fn inherited(number: usize) -> Option<File> {
    let fd = FIRST + number as RawFd;
    // SAFETY: takes only numbers; the descriptor is duplicated before it is owned.
    unsafe {
        let copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100);
        (copy >= 0).then(|| File::from_raw_fd(copy))
    }
}

/// The raw descriptors of files.
pub fn raw(files: &[File]) -> Vec<RawFd> {
    files.iter().map(AsRawFd::as_raw_fd).collect()
}
