//! The direct map: guest-physical memory as bytes.

use core::sync::atomic::{AtomicU64, Ordering};

use spore_abi::layout::{DIRECT_VA, LAYERS_END, LAYERS_GPA, PAGE};

static RAM_SIZE: AtomicU64 = AtomicU64::new(0);

/// Tells how much RAM there is; called once at boot.
pub fn set_ram_size(bytes: u64) {
    RAM_SIZE.store(bytes, Ordering::Relaxed);
}

/// Bytes of RAM.
pub fn ram_size() -> u64 {
    RAM_SIZE.load(Ordering::Relaxed)
}

fn check_ram(gpa: u64, len: u64) {
    assert!(
        gpa.checked_add(len).is_some_and(|end| end <= ram_size()),
        "address beyond RAM"
    );
}

/// The bytes of an image layer. `gpa` and `len` come from the boot record.
pub fn layer(gpa: u64, len: u64) -> &'static [u8] {
    assert!(
        gpa >= LAYERS_GPA && gpa.checked_add(len).is_some_and(|end| end <= LAYERS_END),
        "address outside the layers"
    );
    // SAFETY: the monitor maps every layer it lists, read-only, for the life of the
    // VM; the range was checked to lie in the layer space.
    unsafe { core::slice::from_raw_parts((DIRECT_VA + gpa) as *const u8, len as usize) }
}

/// Copies out of RAM at `gpa`.
pub fn read(gpa: u64, buffer: &mut [u8]) {
    check_ram(gpa, buffer.len() as u64);
    // SAFETY: the range lies in RAM, which is mapped; raw copies make no claim of exclusivity.
    unsafe {
        core::ptr::copy(
            (DIRECT_VA + gpa) as *const u8,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    }
}

/// Copies into RAM at `gpa`. Used for page contents of files and programs.
pub fn write(gpa: u64, bytes: &[u8]) {
    check_ram(gpa, bytes.len() as u64);
    assert_frames(gpa);
    // SAFETY: the range lies in RAM above the kernel image (checked), in frames that
    // the frame allocator handed out and no Rust object lives in.
    unsafe { core::ptr::copy(bytes.as_ptr(), (DIRECT_VA + gpa) as *mut u8, bytes.len()) }
}

/// Fills `len` bytes of RAM at `gpa` with zero.
pub fn zero(gpa: u64, len: u64) {
    check_ram(gpa, len);
    assert_frames(gpa);
    // SAFETY: as for `write`.
    unsafe { core::ptr::write_bytes((DIRECT_VA + gpa) as *mut u8, 0, len as usize) }
}

/// Copies one page, of RAM or of a layer, to a page frame.
pub fn copy_frame(from: u64, to: u64) {
    check_readable(from, PAGE);
    check_ram(to, PAGE);
    assert_frames(to);
    // SAFETY: the source is mapped; the destination is an allocated frame as for `write`.
    unsafe {
        core::ptr::copy(
            (DIRECT_VA + from) as *const u8,
            (DIRECT_VA + to) as *mut u8,
            PAGE as usize,
        )
    }
}

/// Panics unless the range lies in RAM or in the layer space.
pub(crate) fn check_readable(gpa: u64, len: u64) {
    let end = gpa.checked_add(len);
    let layer = gpa >= LAYERS_GPA && end.is_some_and(|end| end <= LAYERS_END);
    assert!(
        layer || end.is_some_and(|end| end <= ram_size()),
        "address outside memory"
    );
}

fn assert_frames(gpa: u64) {
    assert!(
        gpa >= spore_abi::layout::FREE_GPA,
        "write into the kernel's own frames"
    );
}

/// The boot record and the launch data, copied by value.
pub fn boot_info() -> spore_abi::boot::BootInfo {
    // SAFETY: the monitor wrote a valid record there before the first instruction;
    // it is plain data and never changes.
    unsafe {
        core::ptr::read(
            (DIRECT_VA + spore_abi::layout::BOOT_GPA) as *const spore_abi::boot::BootInfo,
        )
    }
}

/// The record that the monitor has left in a buffer of ours, copied by value.
pub fn restore_record(gpa: u64) -> spore_abi::restore::RestoreRecord {
    check_ram(gpa, size_of::<spore_abi::restore::RestoreRecord>() as u64);
    // SAFETY: the range lies in RAM; the record is integers, valid for every bit pattern.
    unsafe {
        core::ptr::read_unaligned((DIRECT_VA + gpa) as *const spore_abi::restore::RestoreRecord)
    }
}

/// The launch data that spans of the boot record point into.
pub fn launch_blob() -> &'static [u8] {
    use spore_abi::layout::{BLOB_END, BLOB_GPA};
    // SAFETY: the region lies in RAM, was written before the first instruction and is
    // never written again.
    unsafe {
        core::slice::from_raw_parts(
            (DIRECT_VA + BLOB_GPA) as *const u8,
            (BLOB_END - BLOB_GPA) as usize,
        )
    }
}

/// Copies `count` records of plain data out of the launch data at `offset`; fewer if
/// they would reach beyond its end.
pub fn records<T: Copy>(offset: u32, count: u32) -> alloc::vec::Vec<T> {
    let blob = launch_blob();
    let fits = (blob.len().saturating_sub(offset as usize)) / size_of::<T>();
    let count = (count as usize).min(fits);
    (0..count)
        .map(|index| {
            let at = offset as usize + index * size_of::<T>();
            // SAFETY: the bytes lie inside the launch data; the record types of the
            // contract are integers, valid for every bit pattern.
            unsafe { core::ptr::read_unaligned(blob.as_ptr().add(at).cast::<T>()) }
        })
        .collect()
}
