//! Sending and receiving.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::inbox::Message;
use super::names::{self, Address};
use super::{Role, UnixSocket};
use crate::errno::{Errno, Result};
use crate::fs::file::events;
use crate::ipc::channel::{Files, ReadMode};
use crate::mm::io::{Reader, Writer};
use crate::net::socket::{Control, Received, SendParameters, kind, message_flag};

/// Bytes of the send buffer that a message cannot use.
const RESERVED: usize = 32;

impl UnixSocket {
    /// send, sendto, sendmsg. EPIPE, ENOTCONN, EISCONN, EMSGSIZE, EAGAIN.
    pub(super) fn transmit(
        &self,
        data: &mut Reader<'_>,
        parameters: &SendParameters,
    ) -> Result<usize> {
        if parameters.flags & message_flag::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.is_stream() {
            self.transmit_bytes(data, parameters)
        } else {
            self.transmit_message(data, parameters)
        }
    }

    fn transmit_bytes(&self, data: &mut Reader<'_>, parameters: &SendParameters) -> Result<usize> {
        let end = self.end();
        if parameters.to.is_some() {
            return Err(if end.is_some() {
                Errno::EISCONN
            } else {
                Errno::EOPNOTSUPP
            });
        }
        if self.state.lock().write_shut {
            return Err(Errno::EPIPE);
        }
        let end = end.ok_or(Errno::ENOTCONN)?;
        let mut files = parameters.control.files.clone();
        end.write_with(data, &mut files)
    }

    fn transmit_message(
        &self,
        data: &mut Reader<'_>,
        parameters: &SendParameters,
    ) -> Result<usize> {
        if self.state.lock().write_shut {
            return Err(Errno::EPIPE);
        }
        let receiver = self.destination(parameters)?;
        let len = data.remaining();
        if len > self.limit().saturating_sub(RESERVED) {
            return Err(Errno::EMSGSIZE);
        }
        let length = self.queue_length_at(&receiver);
        // The bytes are taken only if the message will be: the call may have to try again.
        receiver.inbox.check_room(self.limit(), length, &self.me)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOBUFS)?;
        bytes.resize(len, 0);
        if data.take(&mut bytes)? < len {
            return Err(Errno::EFAULT);
        }
        let credentials = parameters.control.credentials.unwrap_or(self.credentials);
        let from = self.state.lock().local;
        receiver.inbox.put(Message {
            bytes,
            files: parameters.control.files.clone(),
            credentials,
            from,
        });
        receiver.notifier.notify(events::IN | events::RDNORM);
        Ok(len)
    }

    /// The socket that a message goes to.
    fn destination(&self, parameters: &SendParameters) -> Result<Arc<UnixSocket>> {
        if let (Some(to), kind::DGRAM) = (&parameters.to, self.kind) {
            let receiver = names::find(Address::parse(to)?, self.kind)?;
            return if receiver.takes_from(self) {
                Ok(receiver)
            } else {
                Err(Errno::EPERM)
            };
        }
        let mut state = self.state.lock();
        let Role::Messages(peer) = &state.role else {
            return Err(Errno::ENOTCONN);
        };
        if let Some(receiver) = peer.upgrade() {
            return Ok(receiver);
        }
        if self.kind == kind::SEQPACKET {
            return Err(Errno::EPIPE);
        }
        state.role = Role::Idle;
        state.peer = None;
        Err(Errno::ECONNREFUSED)
    }

    /// recv, recvfrom, recvmsg. EAGAIN, ECONNRESET, ENOTCONN, EINVAL.
    pub(super) fn take_in(&self, out: &mut Writer<'_>, flags: u32) -> Result<Received> {
        if flags & message_flag::OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (mut received, sender) = if self.is_stream() {
            let end = self.end().ok_or(Errno::EINVAL)?;
            let mut files = Files::new();
            let mode = ReadMode {
                peek: flags & message_flag::PEEK != 0,
                discard: false,
            };
            let copied = end.read_with(out, mode, &mut files)?;
            let control = Control {
                files,
                credentials: None,
            };
            let peer = self
                .state
                .lock()
                .peer
                .map_or([0; 3], |peer| peer.credentials);
            (
                Received {
                    copied,
                    full: copied,
                    from: None,
                    control,
                },
                peer,
            )
        } else {
            match self.take_message(out, flags)? {
                Some(found) => found,
                None => return Ok(Received::default()),
            }
        };
        if self
            .pass_credentials
            .load(core::sync::atomic::Ordering::Relaxed)
        {
            received.control.credentials = Some(sender);
        }
        Ok(received)
    }

    fn take_message(
        &self,
        out: &mut Writer<'_>,
        flags: u32,
    ) -> Result<Option<(Received, [u32; 3])>> {
        if self.kind == kind::SEQPACKET && !matches!(self.state.lock().role, Role::Messages(_)) {
            return Err(Errno::ENOTCONN);
        }
        if let Some(error) = self.take_own_error() {
            return Err(error);
        }
        let result = self.inbox.take(out, flags);
        if flags & message_flag::PEEK == 0 {
            self.feed_starved();
        }
        result
    }
}
