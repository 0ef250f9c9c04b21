//! Guest memory as the monitor sees it: one RAM region and read-only layers.
//!
//! The guest is hostile: every address it hands over goes through here. Ranges
//! are checked without overflow, data is copied once and then judged, and words
//! that both sides touch are reached as atomics. No reference to plain guest
//! memory ever exists, because the guest may change it at any time.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence};

use spore_abi::boot::{BootInfo, FileRecord, KernelHeader, LayerRecord, VmaRecord};
use spore_abi::cpuid::Table;
use spore_abi::hostcall::{CrashRecord, DebugRegisters, HostCall};
use spore_abi::layout::{BOOT_GPA, HUGE, PAGE};
use spore_abi::time::TimePage;
use spore_abi::vcpu::VcpuBlock;

use crate::mapping::Mapping;

/// [`BootInfo::ram_present`].
const RAM_PRESENT: u64 = BOOT_GPA + std::mem::offset_of!(BootInfo, ram_present) as u64;

/// A guest-physical range that does not lie in guest memory, or is misaligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

/// Types that may be copied from and to guest memory byte by byte.
///
/// # Safety
/// Every bit pattern must be a valid value, and the type must hold no pointer
/// or reference into the monitor.
pub unsafe trait Plain: Copy {}

/// Types that may be shared with a running guest by reference.
///
/// # Safety
/// The type must be `repr(C)` and consist of atomics only.
pub unsafe trait Shared {}

macro_rules! plain {
    ($($name:ty),*) => {
        // SAFETY: integers and `repr(C)` structures of integers: every bit
        // pattern is a value, and none holds a pointer.
        $(unsafe impl Plain for $name {})*
    };
}
plain!(u8, u16, u32, u64, i32, i64);
plain!(
    HostCall,
    KernelHeader,
    BootInfo,
    LayerRecord,
    VmaRecord,
    FileRecord,
    Table
);
plain!(CrashRecord, DebugRegisters);
plain!(spore_abi::restore::RestoreRecord);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for VcpuBlock {}
// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for TimePage {}
// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for spore_abi::net::Header {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU64 {}

/// A read-only layer in guest-physical memory.
pub struct Layer {
    /// Guest-physical address of its first byte.
    pub gpa: u64,
    /// Bytes of the image (the mapping may be longer, up to a page).
    pub len: u64,
    /// Where it lies on the host.
    pub mapping: Mapping,
}

impl Layer {
    /// Its bytes; a layer is mapped read-only.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is at least that long, lives as long as `self`, and
        // nobody writes to it but a debugger, which no caller of this has.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr(), self.len as usize) }
    }
}

/// All memory of one guest. Shared by reference between the monitor's threads.
pub struct GuestMemory {
    ram: Mapping,
    layers: Vec<Layer>,
}

impl GuestMemory {
    /// Takes over RAM (guest-physical 0 and up) and the layers.
    pub fn new(ram: Mapping, layers: Vec<Layer>) -> Self {
        Self { ram, layers }
    }

    /// Bytes of RAM.
    pub fn ram_size(&self) -> u64 {
        self.ram.len() as u64
    }

    /// How much of RAM the VM has, from 0 up: the guest asks for the rest. The record
    /// lies in the guest's memory, so that a snapshot has it too, and the guest may have
    /// spoilt it: anything from the first 2 MiB to all RAM may come out.
    pub fn ram_present(&self) -> u64 {
        let record = self.read::<u64>(RAM_PRESENT).unwrap_or(u64::MAX);
        (record / HUGE * HUGE).clamp(HUGE, self.ram_size())
    }

    /// Sets [`Self::ram_present`].
    pub fn set_ram_present(&self, bytes: u64) {
        // Every guest has its first page.
        let _ = self.write(RAM_PRESENT, &bytes);
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Host address of RAM's first byte.
    pub fn ram_base(&self) -> *mut u8 {
        self.ram.as_ptr()
    }

    /// Host address of a range that lies wholly in RAM: for system calls that
    /// read or write guest memory themselves (recv into a ring). The pointer is
    /// valid for `len` bytes as long as this object lives.
    pub fn ram_pointer(&self, gpa: u64, len: u64) -> Result<*mut u8, OutOfRange> {
        let end = gpa.checked_add(len).ok_or(OutOfRange)?;
        if end > self.ram_size() {
            return Err(OutOfRange);
        }
        // SAFETY: gpa <= end <= size of the mapping, so the result stays inside it.
        Ok(unsafe { self.ram.as_ptr().add(gpa as usize) })
    }

    /// Host address of a readable range: RAM or one layer.
    fn readable_pointer(&self, gpa: u64, len: u64) -> Result<*const u8, OutOfRange> {
        if let Ok(pointer) = self.ram_pointer(gpa, len) {
            return Ok(pointer);
        }
        let end = gpa.checked_add(len).ok_or(OutOfRange)?;
        let layer = self
            .layers
            .iter()
            .find(|layer| gpa >= layer.gpa && end <= layer.gpa + layer.len)
            .ok_or(OutOfRange)?;
        // SAFETY: the range was just checked to lie inside the layer, whose
        // mapping is at least `len` bytes long.
        Ok(unsafe { layer.mapping.as_ptr().add((gpa - layer.gpa) as usize) })
    }

    /// Copies bytes out of RAM or a layer.
    pub fn read_bytes(&self, gpa: u64, into: &mut [u8]) -> Result<(), OutOfRange> {
        let from = self.readable_pointer(gpa, into.len() as u64)?;
        // SAFETY: `from` is valid for the length of `into`, which is the
        // monitor's own memory and cannot overlap a guest mapping.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        fetched_once();
        Ok(())
    }

    /// Copies bytes out into a new vector. `limit` bounds what a guest can make
    /// the monitor allocate.
    pub fn read_vec(&self, gpa: u64, len: u64, limit: u64) -> Result<Vec<u8>, OutOfRange> {
        if len > limit {
            return Err(OutOfRange);
        }
        let mut bytes = vec![0; len as usize];
        self.read_bytes(gpa, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies bytes into RAM. Layers cannot be written.
    pub fn write_bytes(&self, gpa: u64, from: &[u8]) -> Result<(), OutOfRange> {
        let to = self.ram_pointer(gpa, from.len() as u64)?;
        // SAFETY: `to` is valid for the length of `from`, which is the
        // monitor's own memory and cannot overlap a guest mapping.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// Copies bytes into RAM, or into this guest's own copy of a layer: for the
    /// debugger, whose breakpoints lie in the program's code. Layers must have
    /// been mapped privately.
    pub fn patch_bytes(&self, gpa: u64, from: &[u8]) -> Result<(), OutOfRange> {
        if self.write_bytes(gpa, from).is_ok() {
            return Ok(());
        }
        let to = self.readable_pointer(gpa, from.len() as u64)?;
        if !self.layers.iter().all(|layer| layer.mapping.is_private()) {
            return Err(OutOfRange);
        }
        // SAFETY: in range of a layer, and private mappings are writable; KVM
        // sees the copied page as the host does.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.cast_mut(), from.len()) };
        Ok(())
    }

    /// Copies a value out of RAM or a layer (no alignment needed).
    pub fn read<T: Plain>(&self, gpa: u64) -> Result<T, OutOfRange> {
        let from = self.readable_pointer(gpa, size_of::<T>() as u64)?;
        // SAFETY: in range, and `Plain` says that any bytes are a value.
        let value = unsafe { from.cast::<T>().read_unaligned() };
        fetched_once();
        Ok(value)
    }

    /// Copies a value into RAM (no alignment needed).
    pub fn write<T: Plain>(&self, gpa: u64, value: &T) -> Result<(), OutOfRange> {
        let to = self.ram_pointer(gpa, size_of::<T>() as u64)?;
        // SAFETY: in range; RAM is writable.
        unsafe { to.cast::<T>().write_unaligned(*value) };
        Ok(())
    }

    /// A structure of atomics that the running guest shares with the monitor.
    pub fn shared<T: Shared>(&self, gpa: u64) -> Result<&T, OutOfRange> {
        let pointer = self.ram_pointer(gpa, size_of::<T>() as u64)?.cast::<T>();
        if !pointer.is_aligned() {
            return Err(OutOfRange);
        }
        // SAFETY: in range, aligned, and `Shared` types consist of atomics, which
        // any number of writers may touch; the memory lives as long as `self`.
        Ok(unsafe { &*pointer })
    }

    /// Brings the host's page behind an address into being, without a change of
    /// what is there; addresses outside RAM are left alone.
    pub fn touch(&self, gpa: u64) {
        if let Ok(byte) = self.ram_pointer(gpa, 1) {
            // SAFETY: in range for as long as `self` lives. Guest and monitor may
            // use the byte meanwhile: to replace 0 by 0 harms neither.
            let byte = unsafe { AtomicU8::from_ptr(byte) };
            // The processor counts it as a write, whatever it finds.
            let _ = byte.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The 2 MiB frames of RAM with memory of the host behind any of their pages. Others
    /// read zero.
    pub fn resident_frames(&self) -> Vec<u64> {
        let size = self.ram_size();
        let mut pages = vec![0_u8; (size / PAGE) as usize];
        // SAFETY: RAM is a mapping of that size, and the answer has a byte for each page.
        let result =
            unsafe { libc::mincore(self.ram_base().cast(), size as usize, pages.as_mut_ptr()) };
        // Whatever the host does not say is looked at.
        pages
            .chunks((HUGE / PAGE) as usize)
            .zip((0..size).step_by(HUGE as usize))
            .filter(|(pages, _)| result != 0 || pages.iter().any(|page| page & 1 != 0))
            .map(|(_, gpa)| gpa)
            .collect()
    }

    /// Puts part of a file in the place of a frame of RAM: this guest's own copy, made
    /// where it writes. The guest must not run yet.
    pub fn map_frame(&self, gpa: u64, file: &File, offset: u64) -> io::Result<()> {
        let start = self
            .ram_pointer(gpa, HUGE)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the range is a part of RAM, which this object owns; RAM is only ever
        // reached by copies and atomics.
        let mapped = unsafe {
            libc::mmap(
                start.cast(),
                HUGE as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        match mapped == libc::MAP_FAILED {
            true => Err(io::Error::last_os_error()),
            false => Ok(()),
        }
    }

    /// Makes this guest's own copy of pages of a frame that was mapped. The guest must
    /// not run yet.
    pub fn populate(&self, gpa: u64, len: u64) {
        if let Ok(start) = self.ram_pointer(gpa, len) {
            // SAFETY: advice about a part of RAM. A host that does not know it leaves the
            // copies to the guest's first writes.
            unsafe { libc::madvise(start.cast(), len as usize, libc::MADV_POPULATE_WRITE) };
        }
    }

    /// Gives all memory behind an address back to the host: it reads zero then. The guest
    /// must not run, and nobody else use what lies there.
    pub fn forget_from(&self, gpa: u64) -> io::Result<()> {
        let len = self.ram_size().saturating_sub(gpa);
        let start = self
            .ram_pointer(gpa, len)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        // Not advice: where a file is mapped, that would bring the file's bytes back.
        // SAFETY: the range is a part of RAM, which this object owns; RAM is only ever
        // reached by copies and atomics.
        let mapped = unsafe {
            libc::mmap(
                start.cast(),
                len as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: advice about a part of RAM.
        unsafe { libc::madvise(start.cast(), len as usize, libc::MADV_HUGEPAGE) };
        Ok(())
    }

    /// Takes small pages behind a frame of RAM: few of its pages will be used.
    pub fn want_small_pages(&self, gpa: u64) {
        if let Ok(start) = self.ram_pointer(gpa, HUGE) {
            // SAFETY: advice about a part of RAM.
            unsafe { libc::madvise(start.cast(), HUGE as usize, libc::MADV_NOHUGEPAGE) };
        }
    }

    /// Appends a page of RAM to `bytes` unless it is zero; answers whether it did.
    /// The guest must not run: it is read twice.
    pub fn append_unless_zero(&self, gpa: u64, bytes: &mut Vec<u8>) -> bool {
        let Ok(page) = self.ram_pointer(gpa, PAGE) else {
            return false;
        };
        // SAFETY: the page lies in RAM; the guest does not run and the monitor's threads
        // reach this memory only through atomics and copies of their own.
        let page = unsafe { std::slice::from_raw_parts(page.cast::<u64>(), PAGE as usize / 8) };
        if page.iter().fold(0, |all, word| all | word) == 0 {
            return false;
        }
        // SAFETY: the same bytes as bytes.
        let page = unsafe { std::slice::from_raw_parts(page.as_ptr().cast::<u8>(), PAGE as usize) };
        bytes.extend_from_slice(page);
        true
    }

    /// Copies from a layer into RAM: `length` bytes at `offset` of layer number
    /// `layer` to `gpa`.
    pub fn copy_from_layer(
        &self,
        layer: usize,
        offset: u64,
        length: u64,
        gpa: u64,
    ) -> Result<(), OutOfRange> {
        let layer = self.layers.get(layer).ok_or(OutOfRange)?;
        let end = offset.checked_add(length).ok_or(OutOfRange)?;
        if end > layer.len {
            return Err(OutOfRange);
        }
        let to = self.ram_pointer(gpa, length)?;
        // SAFETY: both ranges were checked; RAM and layers are different mappings.
        unsafe {
            let from = layer.mapping.as_ptr().add(offset as usize);
            std::ptr::copy_nonoverlapping(from, to, length as usize);
        }
        Ok(())
    }
}

/// Keeps the compiler from fetching a copied value again after it was checked:
/// the guest may have changed it since.
fn fetched_once() {
    compiler_fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> GuestMemory {
        GuestMemory::new(Mapping::anonymous(2 << 20).expect("2 MiB"), Vec::new())
    }

    #[test]
    fn copies_what_lies_inside() {
        let memory = memory();
        memory.write(0x1001, &0x1122_3344_5566_7788_u64).unwrap();
        assert_eq!(memory.read::<u64>(0x1001), Ok(0x1122_3344_5566_7788));
        assert_eq!(memory.read_vec(0x1001, 2, 2), Ok(vec![0x88, 0x77]));
    }

    #[test]
    fn refuses_what_reaches_outside() {
        let memory = memory();
        let size = memory.ram_size();
        assert_eq!(memory.read::<u64>(size - 7), Err(OutOfRange));
        assert_eq!(memory.read::<u8>(u64::MAX), Err(OutOfRange));
        assert_eq!(memory.write_bytes(size, &[1]), Err(OutOfRange));
        assert_eq!(memory.ram_pointer(8, u64::MAX - 4), Err(OutOfRange));
        assert_eq!(memory.read_vec(0, 3, 2), Err(OutOfRange));
        assert!(memory.shared::<AtomicU64>(4).is_err());
        assert_eq!(memory.copy_from_layer(0, 0, 1, 0), Err(OutOfRange));
    }
}
