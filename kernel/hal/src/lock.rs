//! Mutual exclusion inside the kernel.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A lock. With one vCPU it is a borrow flag: taking it twice is a bug that
/// ends in a kernel panic rather than in a hang.
pub struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through a `Guard`, of which `taken` admits one
// at a time.
unsafe impl<T: Send> Sync for Lock<T> {}
// SAFETY: moving the lock moves the value; no thread identity is kept.
unsafe impl<T: Send> Send for Lock<T> {}

/// Access to the locked value; gives the lock back when dropped.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Lock<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }
    /// Takes the lock. Panics if it is taken: with one vCPU nobody could free it.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Guard<'_, T> {
        // Unit tests on a host have threads: another one may hold the lock for a moment.
        let attempts = if cfg!(feature = "hosted") { 1 << 24 } else { 1 };
        for _ in 0..attempts {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            core::hint::spin_loop();
        }
        panic!("kernel lock taken twice");
    }
    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        if cfg!(feature = "hosted") {
            return (!self.taken.swap(true, Ordering::Acquire)).then_some(Guard { lock: self });
        }
        // Plain loads and stores: one vCPU, no interrupts inside the kernel.
        if self.taken.load(Ordering::Relaxed) {
            return None;
        }
        self.taken.store(true, Ordering::Relaxed);
        Some(Guard { lock: self })
    }
    /// The value of a lock that is owned alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock, so no other reference to the value exists.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard itself is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}
