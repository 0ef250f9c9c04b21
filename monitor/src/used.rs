//! What a recorded program used, read from the guest when the run ends.

use std::mem::offset_of;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use spore_abi::hostcall::UseRecord;

use crate::memory::GuestMemory;

/// Where the guest counts.
pub struct Used {
    memory: Arc<GuestMemory>,
    gpa: u64,
}

impl Used {
    /// `gpa` is the guest's word; whether it is in memory shows when it is read.
    pub fn new(memory: Arc<GuestMemory>, gpa: u64) -> Self {
        Self { memory, gpa }
    }

    /// The `used` event; nothing if the guest named a place outside of its memory.
    pub fn event(&self) -> Option<Value> {
        let mut bytes = vec![0; size_of::<UseRecord>()];
        self.memory.read_bytes(self.gpa, &mut bytes).ok()?;
        Some(describe(&bytes))
    }
}

fn describe(bytes: &[u8]) -> Value {
    let word = |at: usize| {
        let field = bytes
            .get(at..at + 8)
            .and_then(|field| field.try_into().ok());
        field.map_or(0, u64::from_le_bytes)
    };
    let numbers = offset_of!(UseRecord, families) / 8;
    let calls: Map<String, Value> = (0..numbers)
        .map(|number| (number, word(number * 8)))
        .filter(|(_, count)| *count > 0)
        .map(|(number, count)| (number.to_string(), json!(count)))
        .collect();
    let families = word(offset_of!(UseRecord, families));
    let families: Vec<u32> = (0..64).filter(|bit| families >> bit & 1 == 1).collect();
    let start = offset_of!(UseRecord, files);
    let len = usize::try_from(word(offset_of!(UseRecord, files_len))).unwrap_or(usize::MAX);
    let end = start.saturating_add(len).min(bytes.len());
    let files: Vec<String> = bytes[start..end]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let complete = word(offset_of!(UseRecord, files_full)) == 0;
    json!({"event": "used", "calls": calls, "families": families, "files": files, "complete": complete})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_families_and_names_come_out() {
        let mut bytes = vec![0; size_of::<UseRecord>()];
        bytes[8..16].copy_from_slice(&3_u64.to_le_bytes());
        let families = offset_of!(UseRecord, families);
        bytes[families..families + 8].copy_from_slice(&0b110_u64.to_le_bytes());
        let len = offset_of!(UseRecord, files_len);
        bytes[len..len + 8].copy_from_slice(&14_u64.to_le_bytes());
        let files = offset_of!(UseRecord, files);
        bytes[files..files + 14].copy_from_slice(b"/proc/cpuinfo\0");
        let expected = json!({
            "event": "used", "calls": {"1": 3}, "families": [1, 2],
            "files": ["/proc/cpuinfo"], "complete": true,
        });
        assert_eq!(describe(&bytes), expected);
    }

    #[test]
    fn a_length_that_cannot_be_is_cut() {
        let bytes = vec![0xff; size_of::<UseRecord>()];
        let described = describe(&bytes);
        assert_eq!(described["complete"], json!(false));
        assert_eq!(described["families"].as_array().map(Vec::len), Some(64));
    }
}
