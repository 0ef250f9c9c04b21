//! What can go wrong before and beside the program, as codes that users can look
//! up. The same codes stand in `packages/errors`; a test there compares.

use std::fmt;

/// A stable error code with its exit status and next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The name users see.
    pub name: &'static str,
    /// Exit status of the monitor.
    pub exit_status: u8,
    /// What the user can do about it.
    pub next_step: &'static str,
}

macro_rules! codes {
    ($($name:ident $status:literal $next:literal)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`")]
            pub const $name: Code = Code {
                name: stringify!($name),
                exit_status: $status,
                next_step: $next,
            };
        )*
        /// All codes of the monitor.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    SPORE_KVM_MISSING 69 "Enable virtualisation (KVM) on this machine; `spore doctor` shows what is missing."
    SPORE_KVM_PERMISSION 77 "Give your user access to /dev/kvm (usually: add it to the group kvm and log in again)."
    SPORE_KVM_FAILED 70 "Run `spore doctor`; if it finds nothing, report this with the kernel version."
    SPORE_MEMORY_TOO_SMALL 65 "Give the program more memory with --memory."
    SPORE_MEMORY_UNAVAILABLE 71 "Free memory on this machine or ask for less with --memory."
    SPORE_PORT_TAKEN 69 "Stop what uses the port or publish another one with --publish."
    SPORE_PORT_PERMISSION 77 "Publish a port from 1024 upwards with --publish."
    SPORE_IMAGE_DAMAGED 65 "Build the image again."
    SPORE_LAUNCH_CONFIG 70 "Start the program with `spore run`."
    SPORE_KERNEL_PANIC 70 "This is a fault of Spore, not of your program: please report it."
    SPORE_GUEST_CRASH 70 "Run it again with --trace to see its last system calls."
}

/// An error on its way to the user: a code and one line of what happened.
#[derive(Clone, Debug)]
pub struct MonitorError {
    /// Which error.
    pub code: Code,
    /// What happened, without the final stop.
    pub what: String,
}

impl MonitorError {
    /// Makes an error.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
        }
    }
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a path or message contains.
        let what: String = self
            .what
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let Code {
            name, next_step, ..
        } = self.code;
        write!(f, "error[{name}]: {what}. {next_step}")
    }
}

impl std::error::Error for MonitorError {}

/// Result of everything that can fail with a code.
pub type Result<T> = std::result::Result<T, MonitorError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_code_and_next_step() {
        let line = MonitorError::new(SPORE_PORT_TAKEN, "port 80\nis taken").to_string();
        assert_eq!(
            line,
            format!(
                "error[SPORE_PORT_TAKEN]: port 80 is taken. {}",
                SPORE_PORT_TAKEN.next_step
            )
        );
    }

    #[test]
    fn codes_are_distinct_and_fail() {
        for (index, code) in ALL.iter().enumerate() {
            assert_ne!(code.exit_status, 0);
            assert!(ALL[..index].iter().all(|other| other.name != code.name));
        }
    }
}
