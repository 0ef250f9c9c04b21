//! Lines for the person who runs the program: warnings, traces.

use alloc::string::String;
use core::fmt::{self, Write};

/// Prints a line to the log (the host's standard error).
#[macro_export]
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}

/// See [`crate::log!`].
pub fn line(text: fmt::Arguments<'_>) {
    let mut buffer = String::new();
    if buffer.write_fmt(text).is_ok() {
        buffer.push('\n');
        crate::net::stream::log(buffer.as_bytes());
    }
}
