//! The ioctls that several kinds of files here answer (`asm-generic/ioctls.h`).

use crate::errno::Result;
use crate::mm::user::{self, UserAddr};

/// FIONREAD, also TIOCINQ and SIOCINQ: bytes that can be read.
pub const FIONREAD: u32 = 0x541b;
/// TIOCOUTQ, also SIOCOUTQ: bytes sent and not yet read.
pub const TIOCOUTQ: u32 = 0x5411;

/// Stores `value` as the int at `argument`. EFAULT.
pub fn answer(argument: u64, value: usize) -> Result<usize> {
    let value = i32::try_from(value).unwrap_or(i32::MAX);
    user::write(UserAddr::new(argument), &value)?;
    Ok(0)
}
