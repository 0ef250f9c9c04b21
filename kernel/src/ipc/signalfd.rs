//! signalfd(2): pending signals that are read like a file.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use spore_hal::Lock;
use zerocopy::{Immutable, IntoBytes};

use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::stat::Stat;
use crate::ipc::anonymous::{self, Home};
use crate::mm::io::Writer;
use crate::sched::notify::{Notifier, Observer, Registration};
use crate::signal::{self, SigInfo};

/// Signals that arrive by reading.
pub struct SignalFd {
    mask: AtomicU64,
    /// Its place among those who hear of pending signals, until it is closed.
    registration: Lock<Option<Registration>>,
    notifier: Notifier,
    inode: u64,
}

/// `struct signalfd_siginfo`.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Record {
    signo: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    tid: u32,
    band: u32,
    overrun: u32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    unused: [u64; 6],
}

const RECORD_SIZE: usize = size_of::<Record>();
const _: () = assert!(RECORD_SIZE == 128);

/// si_code of timer signals.
const CODE_TIMER: i32 = -2;

impl Record {
    fn new(info: &SigInfo) -> Self {
        let (low, high) = (info.value0 as u32, (info.value0 >> 32) as u32);
        let base = Self {
            signo: info.signal,
            errno: info.errno,
            code: info.code,
            ..Self::default()
        };
        let valued = Self {
            int: info.value1 as i32,
            ptr: info.value1,
            ..base
        };
        match info.code {
            CODE_TIMER => Self {
                tid: low,
                overrun: high,
                ..valued
            },
            // From a process, by kill, tgkill or sigqueue.
            ..=0 => Self {
                pid: low,
                uid: high,
                ..valued
            },
            _ => Self {
                addr: info.value0,
                ..valued
            },
        }
    }
}

impl SignalFd {
    /// Reads the signals of `mask`.
    pub fn new(mask: signal::Set) -> Arc<Self> {
        let file = Arc::new(Self {
            mask: AtomicU64::new(mask),
            registration: Lock::new(None),
            notifier: Notifier::new(),
            inode: anonymous::next_inode(),
        });
        let registration = signal::pending_notifier().add(file.clone(), 0);
        *file.registration.lock() = Some(registration);
        file
    }
    /// Changes which signals are read.
    pub fn set_mask(&self, mask: signal::Set) {
        self.mask.store(mask, Ordering::Relaxed);
        self.notifier.notify(events::IN | events::RDNORM);
    }
    fn mask(&self) -> signal::Set {
        self.mask.load(Ordering::Relaxed)
    }
}

impl Observer for SignalFd {
    fn notified(&self, _events: u32, _key: u64) {
        self.notifier.notify(events::IN | events::RDNORM);
    }
}

impl File for SignalFd {
    fn read(&self, _open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        if out.remaining() < RECORD_SIZE {
            return Err(Errno::EINVAL);
        }
        let mut copied = 0;
        while out.remaining() >= RECORD_SIZE {
            let Some(info) = signal::take_pending(self.mask()) else {
                break;
            };
            match out.put(Record::new(&info).as_bytes()) {
                Ok(RECORD_SIZE) => copied += RECORD_SIZE,
                _ if copied > 0 => break,
                _ => return Err(Errno::EFAULT),
            }
        }
        if copied == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(copied)
        }
    }
    fn poll(&self) -> u32 {
        if signal::pending() & self.mask() != 0 {
            events::IN | events::RDNORM
        } else {
            0
        }
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::attributes(Home::Anonymous, self.inode, 0o600))
    }
    fn path(&self) -> String {
        String::from("anon_inode:[signalfd]")
    }
    fn released(&self, _open: &OpenFile) {
        let registration = self.registration.lock().take();
        if let Some(registration) = registration {
            signal::pending_notifier().remove(registration);
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_who_sent_a_signal() {
        let info = SigInfo {
            signal: 10,
            code: -1,
            value0: 1000 << 32 | 42,
            value1: 7,
            errno: 0,
        };
        let record = Record::new(&info);
        assert_eq!(
            (record.signo, record.code, record.pid, record.uid),
            (10, -1, 42, 1000)
        );
        assert_eq!((record.int, record.ptr, record.addr), (7, 7, 0));
        assert_eq!(record.as_bytes().len(), 128);
        let fault = SigInfo {
            signal: 11,
            code: 1,
            value0: 0xdead_beef_0000,
            value1: 0,
            errno: 0,
        };
        assert_eq!(Record::new(&fault).addr, 0xdead_beef_0000);
    }
}
