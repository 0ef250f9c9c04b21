//! Names and argument kinds by number.

use alloc::string::{String, ToString};

use crate::syscall::Row;
use crate::syscall::table::ROWS;

/// The row of a call.
pub fn row(number: u64) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.number == number)
}

/// The name of a call, or its number.
pub fn name(number: u64) -> String {
    row(number).map_or_else(|| number.to_string(), |row| row.name.to_string())
}
