//! `/dev/spore`: every open file is one party that is told, and has a say.
//!
//! Reads give lines of JSON ([`super::message`]), the state first; they wait while
//! there is nothing to tell. Writes take commands ([`super::command`]). fstat
//! says FIFO: that is how it behaves, and event loops decide by it to wait for
//! readiness instead of keeping a thread in read; its size is what can be read at once.
//! inotify(7) hears of lines for which no read waits (IN_MODIFY).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use spore_hal::Lock;

use super::command::{self, Command};
use super::{DESK, look_again, message, tell_holds, tell_ready};
use crate::errno::{Errno, Result};
use crate::fs::file::{File, OpenFile, events};
use crate::fs::inode::{InodeRef, path_text};
use crate::fs::inotify;
use crate::fs::stat::{Stat, mode};
use crate::mm::io::{Reader, Writer};
use crate::sched::notify::Notifier;

/// Most bytes that wait to be read: whoever never reads misses what comes after.
const LIMIT: usize = 1 << 20;
/// Most bytes of one write.
const LONGEST_WRITE: usize = 4096;

#[derive(Default)]
struct State {
    /// What was not read yet.
    unread: Vec<u8>,
    /// The beginning of a line.
    partial: Vec<u8>,
    /// Freezes wait for its word.
    suspends: bool,
    /// It was told to suspend and has not said that it did.
    owes_word: bool,
    /// Freezes wait for it to wait.
    parks: bool,
    /// A read waits for news.
    waits: bool,
    holds: u64,
}

/// An open file.
pub struct Client {
    inode: InodeRef,
    state: Lock<State>,
    notifier: Notifier,
}

/// Opens the device through its file.
pub fn open(inode: InodeRef) -> Arc<dyn File> {
    let client = Arc::new(Client {
        inode,
        state: Lock::new(State {
            unread: message::state().into_bytes(),
            ..State::default()
        }),
        notifier: Notifier::new(),
    });
    DESK.lock().clients.push(Arc::downgrade(&client));
    client
}

impl Client {
    /// Adds a line.
    pub fn tell(&self, line: &str) {
        let waited = {
            let mut state = self.state.lock();
            let waited = core::mem::take(&mut state.waits);
            state.owes_word = false;
            if state.unread.len() + line.len() > LIMIT {
                return;
            }
            state.unread.extend_from_slice(line.as_bytes());
            waited
        };
        self.notifier.notify(events::IN | events::RDNORM);
        if !waited && let Ok(stat) = self.inode.stat() {
            inotify::tell(stat.inode, inotify::MODIFY, 0, None);
        }
    }

    /// A freeze is coming.
    pub fn begin_suspend(&self, patience_ns: u64) {
        self.tell(&message::suspend(patience_ns));
        let mut state = self.state.lock();
        state.owes_word = state.suspends;
    }

    /// The freeze waits for its word.
    pub fn owes_word(&self) -> bool {
        self.state.lock().owes_word
    }

    /// It waits for news, or takes no part.
    pub fn is_parked(&self) -> bool {
        let state = self.state.lock();
        !state.parks || state.waits
    }

    /// How many times it holds the machine awake.
    pub fn holds(&self) -> u64 {
        self.state.lock().holds
    }

    fn obey(&self, command: Command) {
        let mut state = self.state.lock();
        match command {
            Command::Suspend(on) => state.suspends = on,
            Command::Park(on) => state.parks = on,
            Command::Hold => state.holds = state.holds.saturating_add(1),
            Command::Release => state.holds = state.holds.saturating_sub(1),
            Command::Ready | Command::Suspended => {}
        }
        if matches!(command, Command::Suspended | Command::Suspend(false)) {
            state.owes_word = false;
        }
        drop(state);
        match command {
            Command::Hold | Command::Release => tell_holds(),
            Command::Ready => tell_ready(),
            Command::Suspend(_) | Command::Suspended | Command::Park(_) => {}
        }
        look_again();
    }
}

impl File for Client {
    fn read(&self, open: &OpenFile, out: &mut Writer<'_>, _position: u64) -> Result<usize> {
        let mut state = self.state.lock();
        if state.unread.is_empty() {
            if !open.nonblocking() && !state.waits {
                state.waits = true;
                drop(state);
                look_again();
            }
            return Err(Errno::EAGAIN);
        }
        let mut unread = core::mem::take(&mut state.unread);
        // The copy may fault, and what handles that must find the lock free.
        drop(state);
        let copied = out.put(&unread);
        unread.drain(..copied.unwrap_or(0));
        let mut state = self.state.lock();
        unread.append(&mut state.unread);
        state.unread = unread;
        copied
    }
    fn write(&self, _open: &OpenFile, data: &mut Reader<'_>, _position: u64) -> Result<usize> {
        let mut bytes = alloc::vec![0; data.remaining().min(LONGEST_WRITE)];
        let taken = data.take(&mut bytes)?;
        bytes.truncate(taken);
        let mut lines = core::mem::take(&mut self.state.lock().partial);
        lines.extend_from_slice(&bytes);
        let mut rest = lines.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let command = command::parse(&rest[..end]).ok_or(Errno::EINVAL)?;
            self.obey(command);
            rest = &rest[end + 1..];
        }
        if rest.len() > command::LONGEST {
            return Err(Errno::EINVAL);
        }
        self.state.lock().partial = rest.to_vec();
        Ok(taken)
    }
    fn poll(&self) -> u32 {
        let writable = events::OUT | events::WRNORM;
        if self.state.lock().unread.is_empty() {
            writable
        } else {
            writable | events::IN | events::RDNORM
        }
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        let mut stat = self.inode.stat()?;
        stat.mode = stat.mode & !mode::TYPE | mode::FIFO;
        stat.rdev = 0;
        stat.size = i64::try_from(self.state.lock().unread.len()).unwrap_or(i64::MAX);
        Ok(stat)
    }
    fn path(&self) -> String {
        path_text(self.inode.as_ref())
    }
    fn inode(&self) -> Option<InodeRef> {
        Some(self.inode.clone())
    }
    fn released(&self, _open: &OpenFile) {
        let held = {
            let mut state = self.state.lock();
            (state.suspends, state.owes_word, state.parks) = (false, false, false);
            core::mem::take(&mut state.holds) > 0
        };
        if held {
            tell_holds();
        }
        look_again();
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
