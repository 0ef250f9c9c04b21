//! The seams between the kernel and its linker (`packages/linker`).
//!
//! An image holds only the system calls and services that its app needs. The linker
//! chooses them by the names that [`piece!`](crate::piece) gives, and generates the tables
//! that [`generated!`](crate::generated) reads; nothing else refers to a piece, so that
//! one that was not chosen is not reachable and stays out.

/// Offers a function to the linker under the name that the parts in brackets make.
#[macro_export]
macro_rules! piece {
    ([$($name:tt)*] fn($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        const _: () = {
            #[allow(unsafe_code, reason = "only tables that the linker generates use the name")]
            #[unsafe(export_name = concat!($($name)*))]
            fn piece($($argument: $type),*) $(-> $result)? $body
        };
    };
}

/// Leaves a text for the linker under a name; nothing in the kernel refers to it.
#[macro_export]
macro_rules! linker_text {
    ($name:literal, $text:expr) => {
        const _: () = {
            #[allow(unsafe_code, reason = "only the linker reads it")]
            #[unsafe(export_name = $name)]
            static TEXT: [u8; $text.len()] = {
                let mut bytes = [0; $text.len()];
                bytes.copy_from_slice($text.as_bytes());
                bytes
            };
        };
    };
}

/// Defines a function that answers the entries of a generated table, which stand between
/// the symbols `$start` and `$end`. A test on the host has no linker: its tables are empty.
#[macro_export]
macro_rules! generated {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident() -> &'static [$type:ty] = $start:literal .. $end:literal;) => {
        $(#[$doc])*
        #[inline]
        $visibility fn $name() -> &'static [$type] {
            #[cfg(test)]
            return &[];
            #[cfg(not(test))]
            #[allow(unsafe_code, reason = "the linker defines both symbols around whole entries")]
            {
                unsafe extern "Rust" {
                    #[link_name = $start]
                    safe static START: [$type; 0];
                    #[link_name = $end]
                    safe static END: [$type; 0];
                }
                $crate::pieces::between(&START, &END)
            }
        }
    };
}

/// The entries between two generated symbols.
#[doc(hidden)]
#[inline]
pub fn between<T>(start: &'static [T; 0], end: &'static [T; 0]) -> &'static [T] {
    let (start, end) = (start.as_ptr(), end.as_ptr());
    // SAFETY: (1) the linker lays whole entries of this type between the two symbols, and
    // never changes them; (2) references to them exist only as shared ones.
    unsafe {
        let length = end.offset_from_unsigned(start);
        core::slice::from_raw_parts(start, length)
    }
}
