//! Doorbells and the pages shared with the monitor.

use core::sync::atomic::{AtomicU32, Ordering, compiler_fence};

use spore_abi::hostcall::HostCall;
use spore_abi::layout::{
    DIRECT_VA, DOORBELL_CALL_GPA, DOORBELL_KICK_GPA, HOSTCALL_GPA, RINGS_END, RINGS_GPA, VCPU_GPA,
};
use spore_abi::vcpu::VcpuBlock;

use crate::direct;

/// The block shared with the monitor for vCPU 0.
#[inline]
pub fn vcpu() -> &'static VcpuBlock {
    // SAFETY: the page is mapped for the life of the VM and consists of atomics.
    unsafe { &*((DIRECT_VA + VCPU_GPA) as *const VcpuBlock) }
}

/// Makes a synchronous host call: leaves the guest (tens of microseconds).
pub fn call(number: u64, args: [u64; 6]) -> i64 {
    let block = (DIRECT_VA + HOSTCALL_GPA) as *mut HostCall;
    // SAFETY: the block is mapped and used by this vCPU alone; the doorbell page has
    // no memory behind it, the store only leaves the guest, and the monitor has
    // written `result` when it comes back.
    unsafe {
        block.write_volatile(HostCall {
            number,
            args,
            result: 0,
        });
        compiler_fence(Ordering::SeqCst);
        ring(DOORBELL_CALL_GPA);
        compiler_fence(Ordering::SeqCst);
        (&raw const (*block).result).read_volatile()
    }
}

/// Makes a host call whose second argument is the GPA of `block`, which the monitor
/// may change. Kernel memory is mapped linearly, so its GPA is known.
pub fn call_with<T>(number: u64, first: u64, block: &mut T) -> i64 {
    call(
        number,
        [
            first,
            static_gpa(core::ptr::from_mut(block) as u64),
            0,
            0,
            0,
            0,
        ],
    )
}

/// GPA of an address in kernel memory: image, heap or stack.
pub fn static_gpa(address: u64) -> u64 {
    use spore_abi::layout::KERNEL_WINDOW;
    if address >= DIRECT_VA {
        address - DIRECT_VA
    } else {
        address.wrapping_sub(KERNEL_WINDOW)
    }
}

/// Wakes the I/O thread of the monitor (an ioeventfd; no exit to user space).
pub fn kick() {
    // SAFETY: as for `call`; the store has no effect on memory.
    unsafe { ring(DOORBELL_KICK_GPA) }
}

/// Stores to a doorbell. A fixed instruction, because the host decodes it.
///
/// # Safety
/// `gpa` must be one of the doorbell pages.
unsafe fn ring(gpa: u64) {
    // SAFETY: the caller passes a doorbell address, which the monitor maps.
    unsafe {
        core::arch::asm!("mov dword ptr [{0}], eax", in(reg) DIRECT_VA + gpa, in("eax") 1, options(nostack, preserves_flags));
    }
}

/// The ring header area as a shared reference to `T` (a structure of atomics from
/// `spore_abi::net`) at `offset`.
pub fn rings<T: SharedAtomics>(offset: u64) -> &'static T {
    assert!(
        offset.is_multiple_of(align_of::<T>() as u64)
            && offset + size_of::<T>() as u64 <= RINGS_END - RINGS_GPA,
        "ring header too large"
    );
    // SAFETY: the area is mapped RAM reserved for ring headers; `T` consists of
    // atomics (promised by the marker trait), so concurrent host access is defined.
    unsafe { &*((DIRECT_VA + RINGS_GPA + offset) as *const T) }
}

/// Types made of atomics only, for memory that the host changes at any time.
///
/// # Safety
/// Every field must be an atomic integer or an array or structure of such.
pub unsafe trait SharedAtomics: Sync {}

// SAFETY: `repr(C)`, atomic integers only.
unsafe impl SharedAtomics for spore_abi::net::Header {}

/// An aligned word of RAM as an atomic (futex words of the kernel, ring indices).
pub fn word(gpa: u64) -> &'static AtomicU32 {
    assert!(
        gpa.is_multiple_of(4) && gpa + 4 <= direct::ram_size(),
        "address beyond RAM"
    );
    // SAFETY: aligned, inside mapped RAM; atomics tolerate concurrent access.
    unsafe { &*((DIRECT_VA + gpa) as *const AtomicU32) }
}

/// Copies between a ring buffer in RAM and user memory or a kernel slice: the ring
/// side is raw memory that the host may change, so it is never borrowed as a slice.
pub mod ring_memory {
    use super::{DIRECT_VA, direct};
    use crate::user::{self, Fault};

    fn check(gpa: u64, len: usize) {
        assert!(
            gpa.checked_add(len as u64)
                .is_some_and(|end| end <= direct::ram_size()),
            "address beyond RAM"
        );
    }
    /// Ring to user memory.
    pub fn to_user(to: u64, gpa: u64, len: usize) -> Result<(), Fault> {
        check(gpa, len);
        // SAFETY: the range is mapped RAM; the slice is only read by the copy routine,
        // which tolerates concurrent change (bytes are copied once, never interpreted).
        user::copy_out(to, unsafe {
            core::slice::from_raw_parts((DIRECT_VA + gpa) as *const u8, len)
        })
    }
    /// User memory to ring.
    pub fn from_user(gpa: u64, from: u64, len: usize) -> Result<(), Fault> {
        check(gpa, len);
        // SAFETY: the range is mapped RAM inside a ring that the guest owns the writing
        // of; the host only reads it after the index is published.
        user::copy_in(
            unsafe { core::slice::from_raw_parts_mut((DIRECT_VA + gpa) as *mut u8, len) },
            from,
        )
    }
    /// Ring to kernel slice.
    pub fn read(gpa: u64, buffer: &mut [u8]) {
        direct::read(gpa, buffer);
    }
    /// Copies a plain record to RAM at `gpa`.
    pub fn write_record<T: Copy>(gpa: u64, record: &T) {
        // SAFETY: `record` is a live value of plain data; its bytes are only read.
        write(gpa, unsafe {
            core::slice::from_raw_parts(core::ptr::from_ref(record).cast::<u8>(), size_of::<T>())
        });
    }
    /// Kernel slice to ring.
    pub fn write(gpa: u64, bytes: &[u8]) {
        check(gpa, bytes.len());
        // SAFETY: as for `from_user`.
        unsafe { core::ptr::copy(bytes.as_ptr(), (DIRECT_VA + gpa) as *mut u8, bytes.len()) }
    }
}
