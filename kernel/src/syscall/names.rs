//! Rows by number.

use crate::syscall::Row;
use crate::syscall::table::ROWS;

/// The row of a call.
pub fn row(number: u64) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.number == number)
}
