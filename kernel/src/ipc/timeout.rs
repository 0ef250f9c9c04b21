//! How long a call waits.

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;
use crate::mm::user::{self, UserAddr};

const NANOSECONDS: u64 = 1_000_000_000;

/// When a waiting call gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// At once: the call only looks.
    Now,
    /// When CLOCK_MONOTONIC reaches this many nanoseconds.
    At(u64),
    /// Never.
    Never,
}

impl Timeout {
    /// From milliseconds; negative ones never end.
    pub fn from_milliseconds(milliseconds: i32) -> Self {
        match u64::try_from(milliseconds) {
            Err(_) => Self::Never,
            Ok(milliseconds) => Self::after(milliseconds * 1_000_000),
        }
    }
    /// From the `struct timespec` at `addr`; NULL never ends. EFAULT, EINVAL.
    pub fn from_timespec(addr: UserAddr) -> Result<Self> {
        if addr.is_null() {
            return Ok(Self::Never);
        }
        Ok(Self::after(nanoseconds(user::read(addr)?)?))
    }
    /// After `nanoseconds` from now.
    pub fn after(nanoseconds: u64) -> Self {
        match nanoseconds {
            0 => Self::Now,
            _ => Self::At(spore_hal::time::monotonic().saturating_add(nanoseconds)),
        }
    }
    /// The deadline for [`crate::sched::block::park`].
    pub fn deadline(self) -> Option<u64> {
        match self {
            Self::Now => Some(0),
            Self::At(deadline) => Some(deadline),
            Self::Never => None,
        }
    }
    /// What is left of it in nanoseconds; `None` if it never ends.
    pub fn remaining(self) -> Option<u64> {
        match self {
            Self::Now => Some(0),
            Self::At(deadline) => Some(deadline.saturating_sub(spore_hal::time::monotonic())),
            Self::Never => None,
        }
    }
}

/// A duration or point in time in nanoseconds, cut at the largest number. EINVAL
/// for negative seconds or nanoseconds outside a second.
pub fn nanoseconds(time: Timespec) -> Result<u64> {
    let seconds = u64::try_from(time.seconds).map_err(|_| Errno::EINVAL)?;
    let fraction = u64::try_from(time.nanoseconds).map_err(|_| Errno::EINVAL)?;
    if fraction >= NANOSECONDS {
        return Err(Errno::EINVAL);
    }
    Ok(seconds.saturating_mul(NANOSECONDS).saturating_add(fraction))
}

/// Nanoseconds as a `struct timespec`.
pub fn timespec(nanoseconds: u64) -> Timespec {
    Timespec {
        seconds: (nanoseconds / NANOSECONDS) as i64,
        nanoseconds: (nanoseconds % NANOSECONDS) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_their_range_are_refused_or_cut() {
        assert_eq!(
            nanoseconds(Timespec {
                seconds: 1,
                nanoseconds: 5
            }),
            Ok(1_000_000_005)
        );
        assert_eq!(
            nanoseconds(Timespec {
                seconds: -1,
                nanoseconds: 0
            }),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            nanoseconds(Timespec {
                seconds: 0,
                nanoseconds: 1_000_000_000
            }),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            nanoseconds(Timespec {
                seconds: i64::MAX,
                nanoseconds: 0
            }),
            Ok(u64::MAX)
        );
        assert_eq!(
            timespec(1_000_000_005),
            Timespec {
                seconds: 1,
                nanoseconds: 5
            }
        );
    }
}
