//! Getting the kernel's attention: the one way in which other threads reach a
//! vCPU, whether it runs guest code or waits in IDLE.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use spore_abi::layout::VCPU_GPA;
use spore_abi::vcpu::{VcpuBlock, attention};

use crate::memory::{GuestMemory, OutOfRange};

/// Wakes a vCPU thread out of the wait inside `Net::idle`.
pub type IdleWaker = Box<dyn Fn() + Send + Sync>;

/// Handle on the vCPU for the housekeeping, I/O and debugger threads.
pub struct VcpuControl {
    memory: Arc<GuestMemory>,
    /// The vCPU waits in IDLE. Set and cleared by the vCPU thread only.
    idle: AtomicBool,
    /// `kvm_run.immediate_exit`, null until the vCPU exists.
    immediate_exit: AtomicPtr<u8>,
    /// Kernel thread id of the vCPU thread, 0 until it runs.
    thread: AtomicI32,
    idle_waker: OnceLock<IdleWaker>,
}

impl VcpuControl {
    /// A handle on a vCPU that does not run yet. RAM must hold the vCPU block.
    pub fn new(memory: Arc<GuestMemory>) -> Result<Self, OutOfRange> {
        memory.shared::<VcpuBlock>(VCPU_GPA)?;
        Ok(Self {
            memory,
            idle: AtomicBool::new(false),
            immediate_exit: AtomicPtr::new(std::ptr::null_mut()),
            thread: AtomicI32::new(0),
            idle_waker: OnceLock::new(),
        })
    }

    /// The block that monitor and kernel share.
    pub fn block(&self) -> &VcpuBlock {
        // `new` has checked the range, and RAM never shrinks.
        self.memory
            .shared::<VcpuBlock>(VCPU_GPA)
            .expect("checked when the handle was made")
    }

    /// The attention word: whoever waits on behalf of the vCPU returns when it
    /// is not zero.
    pub fn attention(&self) -> &AtomicU32 {
        &self.block().attention
    }

    /// Says how to end a wait in IDLE. Called once, before the vCPU runs.
    pub fn set_idle_waker(&self, waker: IdleWaker) {
        let _ = self.idle_waker.set(waker);
    }

    /// Sets bits of [`attention`] and brings the vCPU to look at them soon.
    pub fn raise(&self, bits: u32) {
        self.attention().fetch_or(bits, Ordering::SeqCst);
        self.nudge();
    }

    /// Hands signals (bit n-1 is signal n) to the kernel.
    pub fn send_signals(&self, bits: u64) {
        self.block().signals.fetch_or(bits, Ordering::SeqCst);
        self.raise(attention::SIGNAL);
    }

    /// Ends the vCPU's wait, or its stay in the guest.
    pub fn nudge(&self) {
        if self.is_idle() {
            if let Some(wake) = self.idle_waker.get() {
                wake();
            }
        } else {
            self.kick();
        }
    }

    /// Brings the vCPU thread out of KVM_RUN, or keeps it from entering.
    pub fn kick(&self) {
        let flag = self.immediate_exit.load(Ordering::Acquire);
        let thread = self.thread.load(Ordering::Acquire);
        if flag.is_null() || thread == 0 {
            return;
        }
        // SAFETY: `flag` points at the immediate_exit byte of the kvm_run page,
        // which stays mapped until the process ends; KVM expects it to be
        // written by other threads. tgkill only signals a thread of our own.
        unsafe {
            AtomicU8Ptr(flag).store_one();
            libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, kick_signal());
        }
    }

    /// Whether the vCPU waits in IDLE.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }

    /// The vCPU thread says whether it is about to wait.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::SeqCst);
    }

    /// The calling thread is the vCPU thread from now on.
    ///
    /// # Safety
    /// `immediate_exit` must point at that field of the vCPU's kvm_run page and
    /// stay valid until the process ends.
    pub unsafe fn attach(&self, immediate_exit: *mut u8) {
        self.immediate_exit.store(immediate_exit, Ordering::Release);
        // SAFETY: gettid has no preconditions.
        self.thread
            .store(unsafe { libc::gettid() }, Ordering::Release);
    }
}

/// The immediate_exit byte.
struct AtomicU8Ptr(*mut u8);

impl AtomicU8Ptr {
    /// # Safety
    /// The pointer must be valid for writes.
    unsafe fn store_one(&self) {
        // SAFETY: promised by the caller; an atomic store needs no alignment
        // beyond that of a byte.
        unsafe { std::sync::atomic::AtomicU8::from_ptr(self.0) }.store(1, Ordering::SeqCst);
    }
}

/// The signal that interrupts KVM_RUN. Real-time, so that no program's signal
/// collides with it.
pub fn kick_signal() -> i32 {
    libc::SIGRTMIN() + 2
}

extern "C" fn on_kick(_: i32) {}

/// Installs the empty handler of the kick signal: its arrival is all that counts.
pub fn install_kick_handler() {
    // SAFETY: a zeroed sigaction with an empty, async-signal-safe handler.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_kick as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(kick_signal(), &action, std::ptr::null_mut());
    }
}
