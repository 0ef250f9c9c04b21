//! The messages that wait in a datagram or seqpacket socket.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use spore_hal::Lock;

use super::UnixSocket;
use crate::errno::{Errno, Result};
use crate::ipc::channel::Files;
use crate::mm::io::Writer;
use crate::net::socket::{Control, Received, SocketAddress, message_flag};

/// What a message costs beside its bytes: a sender is stopped by many small ones too.
const OVERHEAD: usize = 576;
/// Most messages waiting in a socket that is not connected to the sender
/// (`net.unix.max_dgram_qlen`).
pub const QUEUE_LENGTH: usize = 10;

/// One message.
pub struct Message {
    /// What was sent.
    pub bytes: Vec<u8>,
    /// Files passed along.
    pub files: Files,
    /// pid, uid, gid of the sender.
    pub credentials: [u32; 3],
    /// Name of the sender, if it has one.
    pub from: Option<SocketAddress>,
}

impl Message {
    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    cost: usize,
    /// No more messages are taken in.
    refuses: bool,
    /// Nobody will send any more: reading ends behind what is there.
    ended: bool,
    /// Senders that found no room.
    starved: Vec<Weak<UnixSocket>>,
}

/// Messages in the order they arrived.
pub struct Inbox {
    state: Lock<State>,
}

impl Inbox {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            state: Lock::new(State::default()),
        }
    }
    /// Whether a sender counts as ready to write: most of the limit is free. If not,
    /// the sender will be told when that changes.
    pub fn writable(&self, limit: usize, length: usize, sender: &Weak<UnixSocket>) -> bool {
        let mut state = self.state.lock();
        let ready = state.refuses || (state.cost * 4 <= limit && state.messages.len() <= length);
        if !ready {
            Self::remember(&mut state, sender);
        }
        ready
    }
    fn remember(state: &mut State, sender: &Weak<UnixSocket>) {
        if !state.starved.iter().any(|known| known.ptr_eq(sender)) {
            state.starved.push(sender.clone());
        }
    }
    /// Whether a message may be put in. EPIPE if the receiver has shut down; EAGAIN
    /// without room, then the sender will be told when there is some.
    pub fn check_room(&self, limit: usize, length: usize, sender: &Weak<UnixSocket>) -> Result<()> {
        let mut state = self.state.lock();
        if state.refuses || state.ended {
            return Err(Errno::EPIPE);
        }
        if state.cost < limit && state.messages.len() <= length {
            return Ok(());
        }
        Self::remember(&mut state, sender);
        Err(Errno::EAGAIN)
    }
    /// Takes a message in; the sender has checked that there is room.
    pub fn put(&self, message: Message) {
        let mut state = self.state.lock();
        state.cost += message.cost();
        state.messages.push_back(message);
    }
    /// Receives one message. `Ok(None)` at the end; EAGAIN; EFAULT loses the message.
    pub fn take(&self, out: &mut Writer<'_>, flags: u32) -> Result<Option<(Received, [u32; 3])>> {
        let message = {
            let mut state = self.state.lock();
            if flags & message_flag::PEEK != 0 {
                return Self::peek(&state, out);
            }
            match state.messages.pop_front() {
                Some(message) => {
                    state.cost -= message.cost();
                    message
                }
                None if state.ended || state.refuses => return Ok(None),
                None => return Err(Errno::EAGAIN),
            }
        };
        let copied = out.put(&message.bytes)?;
        let control = Control {
            files: message.files,
            credentials: None,
        };
        let received = Received {
            copied,
            full: message.bytes.len(),
            from: message.from,
            control,
        };
        Ok(Some((received, message.credentials)))
    }
    fn peek(state: &State, out: &mut Writer<'_>) -> Result<Option<(Received, [u32; 3])>> {
        let Some(message) = state.messages.front() else {
            return if state.ended || state.refuses {
                Ok(None)
            } else {
                Err(Errno::EAGAIN)
            };
        };
        let copied = out.put(&message.bytes)?;
        let control = Control {
            files: message.files.clone(),
            credentials: None,
        };
        let received = Received {
            copied,
            full: message.bytes.len(),
            from: message.from,
            control,
        };
        Ok(Some((received, message.credentials)))
    }
    /// The senders to tell that there is room, if there is much of it.
    pub fn take_starved(&self, limit: usize) -> Vec<Arc<UnixSocket>> {
        let mut state = self.state.lock();
        if state.starved.is_empty() || (state.cost * 4 > limit && !state.refuses) {
            return Vec::new();
        }
        let starved = core::mem::take(&mut state.starved);
        drop(state);
        starved.iter().filter_map(Weak::upgrade).collect()
    }
    /// Length of the next message, 0 for none (FIONREAD).
    pub fn next_length(&self) -> usize {
        self.state
            .lock()
            .messages
            .front()
            .map_or(0, |message| message.bytes.len())
    }
    /// No message waits.
    pub fn is_empty(&self) -> bool {
        self.state.lock().messages.is_empty()
    }
    /// Nobody will send any more.
    pub fn end(&self) {
        self.state.lock().ended = true;
    }
    /// Reading is at its end, now or behind what waits.
    pub fn has_ended(&self) -> bool {
        let state = self.state.lock();
        state.ended || state.refuses
    }
    /// Takes no more messages.
    pub fn refuse(&self) {
        self.state.lock().refuses = true;
    }
    /// Whether messages are refused.
    pub fn refuses(&self) -> bool {
        self.state.lock().refuses
    }
    /// Refuses and forgets everything; answers whether something waited.
    pub fn close(&self) -> bool {
        let messages = {
            let mut state = self.state.lock();
            state.refuses = true;
            state.cost = 0;
            core::mem::take(&mut state.messages)
        };
        !messages.is_empty()
    }
}
