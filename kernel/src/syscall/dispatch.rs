//! From a row of the table to a typed call.

use crate::sched::block::Flow;
use crate::syscall::argument::Argument;

/// A system call as it arrived. The registers keep it until it has returned.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Number.
    pub number: u64,
    /// Raw arguments.
    pub args: [u64; 6],
}

impl Call {
    /// The call that `frame` was built for.
    #[inline]
    pub fn of(frame: &spore_hal::trap::TrapFrame) -> Self {
        Self {
            number: frame.orig,
            args: [
                frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9,
            ],
        }
    }
}

/// A function that can be a system call: typed parameters, a result that becomes a [`Flow`].
pub trait Handler<Parameters> {
    /// Converts the arguments and calls.
    fn invoke(self, args: &[u64; 6]) -> Flow;
}

macro_rules! handler {
    ($($parameter:ident $index:literal),*) => {
        impl<Function, Output, $($parameter: Argument),*> Handler<($($parameter,)*)> for Function
        where
            Function: FnOnce($($parameter),*) -> Output,
            Output: Into<Flow>,
        {
            #[inline]
            fn invoke(self, _args: &[u64; 6]) -> Flow {
                self($($parameter::from_register(_args[$index])),*).into()
            }
        }
    };
}

handler!();
handler!(A 0);
handler!(A 0, B 1);
handler!(A 0, B 1, C 2);
handler!(A 0, B 1, C 2, D 3);
handler!(A 0, B 1, C 2, D 3, E 4);
handler!(A 0, B 1, C 2, D 3, E 4, F 5);

/// How well a call is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As on Linux, for everything programs are known to ask.
    Full,
    /// With limits that the note names.
    Partial,
    /// A fixed answer.
    Constant,
    /// ENOSYS or another refusal, on purpose; not reported as missing.
    Refused,
}

/// How a trace prints an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Descriptor or other signed number.
    Int,
    /// Unsigned number.
    Size,
    /// Hexadecimal number (flags).
    Hex,
    /// Octal mode.
    Mode,
    /// Address.
    Ptr,
    /// NUL-ended path.
    Path,
    /// Buffer whose length is the next argument (written by the program).
    Data,
    /// Buffer whose length is the result (read by the program).
    Filled,
    /// Signal number.
    Signal,
    /// AT_FDCWD or a descriptor.
    Dir,
}

/// One row of the table, for traces and documents.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number.
    pub number: u64,
    /// Name.
    pub name: &'static str,
    /// Argument kinds.
    pub kinds: &'static [Kind],
    /// Level.
    pub level: Level,
    /// What to know about it.
    pub note: &'static str,
}

/// A handler as the generated table holds it.
pub type Entry = fn(&Call, &mut spore_hal::trap::TrapFrame) -> Flow;

/// Offers the handlers to the linker, and builds the rows, from the table.
macro_rules! system_calls {
    ($($number:literal $name:ident($($argument:ident: $kind:ident),*) $level:ident $handler:path, $note:literal;)*
     @registers
     $($number2:literal $name2:ident($($argument2:ident: $kind2:ident),*) $level2:ident $handler2:path, $note2:literal;)*) => {
        $(spore_hal::piece! {
            ["spore.call.", $number, ".", stringify!($name)]
            fn(call: &$crate::syscall::Call, _frame: &mut spore_hal::trap::TrapFrame) -> $crate::sched::block::Flow {
                $crate::syscall::Handler::invoke($handler, &call.args)
            }
        })*
        $(spore_hal::piece! {
            ["spore.call.", $number2, ".", stringify!($name2)]
            fn(call: &$crate::syscall::Call, frame: &mut spore_hal::trap::TrapFrame) -> $crate::sched::block::Flow {
                $handler2(frame, &call.args)
            }
        })*
        /// The rows: calls by number, then those that work on registers.
        pub const ROWS: &[$crate::syscall::Row] = &[
            $($crate::syscall::Row {
                number: $number,
                name: stringify!($name),
                kinds: &[$($crate::syscall::Kind::$kind),*],
                level: $crate::syscall::Level::$level,
                note: $note,
            },)*
            $($crate::syscall::Row {
                number: $number2,
                name: stringify!($name2),
                kinds: &[$($crate::syscall::Kind::$kind2),*],
                level: $crate::syscall::Level::$level2,
                note: $note2,
            },)*
        ];
    };
}
