//! The wall clock as file times use it.

use crate::fs::stat::Timespec;

/// CLOCK_REALTIME.
pub fn now() -> Timespec {
    let nanoseconds = realtime();
    Timespec {
        seconds: (nanoseconds / 1_000_000_000).cast_signed(),
        nanoseconds: (nanoseconds % 1_000_000_000).cast_signed(),
    }
}

#[cfg(not(test))]
fn realtime() -> u64 {
    spore_hal::time::realtime()
}

#[cfg(test)]
fn realtime() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}
