//! What may be written to `/dev/spore`: one word or two a line.

/// A line that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ready`: warm enough to be frozen.
    Ready,
    /// `hold`: not to be frozen until as many `release`.
    Hold,
    /// `release`.
    Release,
    /// `suspend on|off`: freezes wait for this one's `suspended`.
    Suspend(bool),
    /// `suspended`: what had to be done before the freeze is done.
    Suspended,
    /// `park on|off`: the freeze waits for a read of this one that waits.
    Park(bool),
}

/// Longest line.
pub const LONGEST: usize = 64;

/// Reads one line, without its end.
pub fn parse(line: &[u8]) -> Option<Command> {
    Some(match line {
        b"ready" => Command::Ready,
        b"hold" => Command::Hold,
        b"release" => Command::Release,
        b"suspend on" => Command::Suspend(true),
        b"suspend off" => Command::Suspend(false),
        b"suspended" => Command::Suspended,
        b"park on" => Command::Park(true),
        b"park off" => Command::Park(false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_whole_lines() {
        assert_eq!(parse(b"ready"), Some(Command::Ready));
        assert_eq!(parse(b"suspend off"), Some(Command::Suspend(false)));
        assert_eq!(parse(b"park on"), Some(Command::Park(true)));
        for unknown in [&b""[..], b"ready ", b"suspend", b"park  on", b"READY"] {
            assert_eq!(parse(unknown), None);
        }
    }
}
