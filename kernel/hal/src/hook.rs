//! Places where a piece of the kernel that may be left out comes in.

use crate::Lock;

/// What a piece gives to those that do without it. The piece sets it when it starts, or
/// when it is used for the first time; nothing else refers to the piece.
pub struct Hook<T>(Lock<Option<T>>);

impl<T: Copy> Hook<T> {
    /// Without the piece.
    pub const fn new() -> Self {
        Self(Lock::new(None))
    }
    /// The piece is here. The compiler must not see what it gives: knowing the only value
    /// that is ever set, it would refer to the piece wherever the hook is asked.
    pub fn set(&self, value: T) {
        *self.0.lock() = Some(core::hint::black_box(value));
    }
    /// What the piece gave.
    #[inline]
    pub fn get(&self) -> Option<T> {
        *self.0.lock()
    }
}

impl<T: Copy> Default for Hook<T> {
    fn default() -> Self {
        Self::new()
    }
}
