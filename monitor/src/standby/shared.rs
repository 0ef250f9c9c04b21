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
/// Where descriptors are moved first: above all that a shell is left.
const MOVED: RawFd = 64;
/// `linux/mman.h`: make huge pages of what is there now.
const MADV_COLLAPSE: i32 = 25;

/// Copies a layer into memory that shells can map.
pub fn copy(layer: &LayerFile) -> io::Result<File> {
    let memory = memory(layer.length.next_multiple_of(HUGE))?;
    let source = File::open(&layer.path)?;
    let mut buffer = vec![0; HUGE as usize];
    let mut at = 0;
    while at < layer.length {
        let want = HUGE.min(layer.length - at) as usize;
        source.read_exact_at(&mut buffer[..want], layer.offset + at)?;
        memory.write_all_at(&buffer[..want], at)?;
        at += want as u64;
    }
    make_huge(&memory)?;
    Ok(memory)
}

/// A file in memory, of whole frames.
pub fn memory(length: u64) -> io::Result<File> {
    // SAFETY: a live name; the descriptor becomes owned here.
    let memory = unsafe {
        let fd = libc::memfd_create(c"spore".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(fd)
    };
    memory.set_len(length)?;
    Ok(memory)
}

/// Makes huge pages of a file in memory, where the host can.
pub fn make_huge(memory: &File) -> io::Result<()> {
    let mapping = Mapping::file(memory, 0, memory.metadata()?.len(), Sharing::Shared)?;
    // SAFETY: advice about a mapping of ours; a kernel without it leaves small pages.
    unsafe { libc::madvise(mapping.as_ptr().cast(), mapping.len(), MADV_COLLAPSE) };
    Ok(())
}

/// Makes descriptors survive an exec at [`FIRST`] and above. Between fork and exec, so
/// without taking memory: `files` are replaced by copies out of the way first.
pub fn leave(files: &mut [RawFd]) -> io::Result<()> {
    for fd in files.iter_mut() {
        // SAFETY: takes only numbers; the exec closes the copies.
        *fd = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, MOVED) };
        if *fd < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for (number, fd) in files.iter().enumerate() {
        // SAFETY: takes only numbers; dup2 clears close-on-exec.
        if unsafe { libc::dup2(*fd, FIRST + number as RawFd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Puts files where [`inherited`] finds them, in this process and in copies of it.
pub fn keep(files: Vec<File>) -> io::Result<()> {
    for (number, file) in files.into_iter().enumerate() {
        let place = FIRST + number as RawFd;
        // SAFETY: takes only numbers.
        if unsafe { libc::dup3(file.as_raw_fd(), place, libc::O_CLOEXEC) } < 0 {
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
