//! Recording what the program uses: counts that the monitor reads when the run ends, however it ends.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use spore_abi::boot::{BootInfo, option};
use spore_abi::hostcall::{UseRecord, number};
use spore_hal::{Lock, host};

use crate::errno::Result;
use crate::mm::user::{self, UserAddr};
use crate::sched::thread::Thread;
use crate::syscall::{Call, Kind, names};
use crate::trace::Tracer;

/// socket(2) and socketpair(2).
const SOCKETS: [u64; 2] = [41, 53];
/// Where the files are that the library OS makes up.
const FOLDERS: [&[u8]; 3] = [b"/proc", b"/sys", b"/dev"];

static RECORD: Lock<UseRecord> = Lock::new(UseRecord::EMPTY);
static FILES: Lock<BTreeSet<Vec<u8>>> = Lock::new(BTreeSet::new());

/// Starts recording if the launch asked for it and nothing traces.
pub fn initialise(info: &BootInfo) {
    if info.options & option::RECORD == 0 || super::tracer().is_some() {
        return;
    }
    let address = core::ptr::from_ref(&*RECORD.lock()) as u64;
    host::call(number::RECORD, [host::static_gpa(address), 0, 0, 0, 0, 0]);
    super::set_tracer(&Recorder);
}

struct Recorder;

impl Tracer for Recorder {
    fn enter(&self, _thread: &Thread, call: &Call) {
        count(call);
        let kinds = names::row(call.number).map_or(&[][..], |row| row.kinds);
        for (argument, kind) in call.args.iter().zip(kinds) {
            if matches!(kind, Kind::Path) && *argument != 0 {
                note_file(UserAddr::new(*argument));
            }
        }
    }

    fn leave(&self, _thread: &Thread, _call: &Call, _result: Result<usize>) {}

    fn ended(&self, _code: u64, _signal: u64) {}
}

fn count(call: &Call) {
    let mut record = RECORD.lock();
    let last = record.calls.len() - 1;
    let index = usize::try_from(call.number).unwrap_or(last).min(last);
    record.calls[index] = record.calls[index].saturating_add(1);
    if SOCKETS.contains(&call.number) && call.args[0] < 64 {
        record.families |= 1 << call.args[0];
    }
}

/// Notes a name below one of the folders, once.
fn note_file(path: UserAddr) {
    let Ok(name) = user::read_path(path) else {
        return;
    };
    let below = |folder: &&[u8]| {
        name.strip_prefix(*folder)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    if !FOLDERS.iter().any(below) || !FILES.lock().insert(name.clone()) {
        return;
    }
    let mut record = RECORD.lock();
    let start = record.files_len as usize;
    let end = start + name.len() + 1;
    // What finds no room is one of thousands: the folder then counts as a whole.
    if let Some(room) = record.files.get_mut(start..end) {
        room[..name.len()].copy_from_slice(&name);
        room[name.len()] = 0;
        record.files_len = end as u64;
    } else {
        record.files_full = 1;
    }
}
