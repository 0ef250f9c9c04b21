//! The kernel heap: talc over 2 MiB frames that the frame allocator lends.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use spore_abi::boot::KernelHeader;
use spore_abi::layout::{DIRECT_VA, FREE_GPA, HUGE, KERNEL_VA, PAGE};
use talc::{OomHandler, Span, Talc};

use crate::Lock;

/// Gives the guest-physical address of that many bytes (whole 2 MiB frames) in one
/// piece, or `None`.
pub type FrameSource = fn(u64) -> Option<u64>;

static SOURCE: AtomicUsize = AtomicUsize::new(0);

struct Grow;

impl OomHandler for Grow {
    fn handle_oom(talc: &mut Talc<Self>, layout: Layout) -> Result<(), ()> {
        // Room for talc's own words and the alignment.
        let wanted = (layout.size() + layout.align() + 4096) as u64;
        let len = wanted.checked_next_multiple_of(HUGE).ok_or(())?;
        let raw = SOURCE.load(Ordering::Relaxed);
        if raw == 0 {
            return Err(());
        }
        // SAFETY: only `set_frame_source` stores here, and it stores a `FrameSource`.
        let source = unsafe { core::mem::transmute::<usize, FrameSource>(raw) };
        let frame = source(len).ok_or(())?;
        let base = (DIRECT_VA + frame) as *mut u8;
        // SAFETY: the frame was taken from the allocator for good and is mapped RAM.
        unsafe { talc.claim(Span::from_base_size(base, len as usize)) }.map(|_| ())
    }
}

/// The global allocator of the kernel.
pub struct Heap(Lock<Talc<Grow>>);

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap {
    /// An empty heap.
    pub const fn new() -> Self {
        Self(Lock::new(Talc::new(Grow)))
    }
}

/// The kernel's heap. Tests on the host use that of the standard library.
#[cfg_attr(not(feature = "hosted"), global_allocator)]
static HEAP: Heap = Heap::new();

/// Gives the heap its first memory, at least `len` bytes: what the kernel's image has
/// left of its last 2 MiB frame, or else whole frames from `free` on. Answers where
/// free memory begins then.
pub fn add_first(free: u64, len: u64) -> u64 {
    // SAFETY: the header page is mapped and never changes.
    let image_end = unsafe { (*(KERNEL_VA as *const KernelHeader)).image_end };
    let start = image_end.next_multiple_of(PAGE);
    let rest = start.next_multiple_of(HUGE) - start;
    if rest >= len {
        claim(start, rest);
        return free;
    }
    let len = len.next_multiple_of(HUGE);
    assert!(
        free >= FREE_GPA && free + len <= crate::direct::ram_size(),
        "not free memory"
    );
    claim(DIRECT_VA + free, len);
    free + len
}

fn claim(start: u64, len: u64) {
    // SAFETY: the range is mapped RAM that nobody else uses, for good.
    let claimed = unsafe {
        HEAP.0
            .lock()
            .claim(Span::from_base_size(start as *mut u8, len as usize))
    };
    assert!(claimed.is_ok(), "the first heap memory is too small");
}

/// Names where further memory comes from; called once at boot.
pub fn set_frame_source(source: FrameSource) {
    SOURCE.store(source as usize, Ordering::Relaxed);
}

// SAFETY: talc hands out disjoint, aligned memory; the lock serialises access.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller passes a layout of non-zero size (contract of GlobalAlloc).
        match unsafe { self.0.lock().malloc(layout) } {
            Ok(pointer) => pointer.as_ptr(),
            Err(()) => core::ptr::null_mut(),
        }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = core::ptr::NonNull::new(pointer) {
            // SAFETY: the caller got the pointer from `alloc` with this layout.
            unsafe { self.0.lock().free(pointer, layout) }
        }
    }
}
