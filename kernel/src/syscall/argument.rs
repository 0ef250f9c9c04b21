//! From raw registers to typed parameters: one conversion per type, no casts in handlers.

use crate::mm::user::UserAddr;

/// A parameter type of system-call handlers.
pub trait Argument: Sized {
    /// Converts the register as the Linux ABI does (upper bits of narrow types are ignored).
    fn from_register(raw: u64) -> Self;
}

macro_rules! narrow {
    ($($type:ty),*) => {
        $(impl Argument for $type {
            fn from_register(raw: u64) -> Self {
                raw as $type
            }
        })*
    };
}

narrow!(i32, u32, i64, u64, usize);

impl Argument for UserAddr {
    fn from_register(raw: u64) -> Self {
        UserAddr::new(raw)
    }
}
