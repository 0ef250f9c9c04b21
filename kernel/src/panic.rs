//! The end when the kernel itself is at fault.

use alloc::format;

use spore_abi::hostcall::number;
use spore_hal::host;

/// Tells the monitor why and stops.
pub fn fatal(reason: &str) -> ! {
    let gpa = host::static_gpa(reason.as_ptr() as u64);
    host::call(number::PANIC, [gpa, reason.len() as u64, 0, 0, 0, 0]);
    loop {
        core::hint::spin_loop();
    }
}

/// The panic handler's work.
pub fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    let text = match info.location() {
        Some(place) => format!("{} ({}:{})", info.message(), place.file(), place.line()),
        None => format!("{}", info.message()),
    };
    fatal(&text)
}
