//! What can go wrong before and beside the program, as codes that users can look
//! up. The registry is `packages/errors/src/registry.ts`; the table below repeats
//! name, exit status and next step of the codes that the monitor itself prints.
//! (SPORE_GUEST_CRASH has the program's status; the table gives 70 for it.)

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
        #[cfg(test)]
        const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    SPORE_KVM_MISSING 69 "load the KVM module of this processor (kvm_intel, kvm_amd), switch virtualisation on in the firmware, and see `spore doctor`"
    SPORE_KVM_PERMISSION 77 "add yourself to its group (`sudo usermod -aG kvm \"$USER\"`) and log in again"
    SPORE_KVM_FAILED 71 "see `spore doctor`"
    SPORE_MEMORY_TOO_SMALL 64 "give more with `--memory`"
    SPORE_MEMORY_UNAVAILABLE 71 "give less with `--memory`, or free memory on the host"
    SPORE_PORT_TAKEN 69 "stop what listens there, or publish on another port: `--publish 0:PORT` picks a free one"
    SPORE_PORT_PERMISSION 77 "publish on a port from 1024 upwards"
    SPORE_PORT_UNDECLARED 64 "publish a port that it declares, or declare this one (`ports` in spore.config.ts) and build again"
    SPORE_IMAGE_DAMAGED 65 "build it again"
    SPORE_SNAPSHOT_DAMAGED 65 "take it again with `spore snapshot`"
    SPORE_SNAPSHOT_FOREIGN 65 "take one here with `spore snapshot`, of this image and this version of Spore"
    SPORE_SNAPSHOT_FAILED 70 "see what the program said above, and `spore snapshot --help` for what to wait for"
    SPORE_OUTPUT_WRITE 73 "choose a place that can be written to and has room"
    SPORE_LAUNCH_CONFIG 70 "this is a bug in Spore unless you wrote the file: please report it"
    SPORE_KERNEL_PANIC 70 "this is a bug in Spore: please report it with the command that led to it"
    SPORE_INTERNAL 70 "this is a bug in Spore: please report it; SPORE_DEBUG=1 prints where it happened"
    SPORE_GUEST_CRASH 70 "the lines above say where; `--trace` shows its system calls and `--gdb PORT` lets gdb attach"
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
        write!(f, "error[{name}]: {what} — {next_step}")
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
                "error[SPORE_PORT_TAKEN]: port 80 is taken — {}",
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

    #[test]
    fn the_table_agrees_with_the_registry() {
        let registry = include_str!("../../packages/errors/src/registry.ts");
        for code in ALL {
            let start = format!("  {}: {{\n", code.name);
            let (_, entry) = registry.split_once(&start).expect(code.name);
            let (entry, _) = entry.split_once("\n  },").expect(code.name);
            let status = format!("exit: {},", code.exit_status);
            let by_program = entry.contains("exit: \"program\",");
            assert!(by_program || entry.contains(&status), "{}", code.name);
            assert!(entry.contains(code.next_step), "{}", code.name);
        }
    }
}
