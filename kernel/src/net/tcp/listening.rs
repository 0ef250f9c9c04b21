//! Listening: publishing a port, taking connections from outside.

use super::*;

impl Tcp {
    /// Takes the next connection from outside.
    pub(super) fn accept_host(&self, listener: &mut Listener) -> Option<Arc<Tcp>> {
        let connection = listener.connection.as_mut()?;
        loop {
            if connection.available() < ACCEPT_RECORD {
                return None;
            }
            let mut raw = [0; ACCEPT_RECORD as usize];
            connection.peek_bytes(0, &mut raw);
            connection.consume_record(ACCEPT_RECORD);
            let record = AcceptRecord::from_bytes(&raw);
            let slot = slots::accepted(record.slot as usize);
            slots::replenish();
            let Some(slot) = slot.filter(|slot| slot.generation == record.generation) else {
                continue;
            };
            let connection = Connection::new(slot);
            let options = self.options.lock().clone();
            let (keepalive, times) = options.keepalive();
            if keepalive {
                connection.set_keepalive(true, times);
            }
            let stream = HostStream {
                connection,
                bound: None,
                local: address::source_for(&record.peer, listener.local.bound.address.port),
                peer: record.peer,
                connecting: false,
                shut_read: false,
                shut_write: false,
            };
            let socket = Self::with(self.family, State::Host(stream), options);
            if let State::Host(stream) = &*socket.state.lock() {
                socket.attach(&stream.connection);
            }
            return Some(socket);
        }
    }
    /// Publishes a listener, if its port is to be. Answers the slot and the port.
    pub(super) fn publish(&self, local: &Local, backlog: i32) -> Result<(Option<Connection>, u16)> {
        let port = local.bound.address.port;
        let connection = Connection::new(slots::open(LISTENER_RX, 0)?);
        self.attach(&connection);
        slots::replenish();
        let wanted = Address {
            port: if local.movable { 0 } else { port },
            ..local.bound.address
        };
        let words = wanted.to_words();
        let args = [
            connection.handle(),
            words[0],
            words[1],
            words[2],
            backlog as u64,
            u64::from(local.chosen),
        ];
        match host::call(call::LISTEN, args) {
            published @ 1.. => Ok((Some(connection), published as u16)),
            refused => {
                doorbell::detach(connection.index());
                connection.discard();
                if refused == 0 {
                    Ok((None, port))
                } else {
                    Err(Errno(refused.unsigned_abs() as u16))
                }
            }
        }
    }
    pub(super) fn start_listening(&self, mut local: Local, backlog: i32) -> Result<Listener> {
        PORTS.listen(&local.bound)?;
        let (connection, port) = match self.publish(&local, backlog) {
            Ok(published) => published,
            Err(error) => {
                PORTS.stop_listening(&local.bound);
                return Err(error);
            }
        };
        if port != local.bound.address.port {
            let moved = Address {
                port,
                ..local.bound.address
            };
            let sharing = self.options.lock().sharing();
            let bound = PORTS.bind(moved, sharing, self.this.clone())?;
            PORTS.release(&local.bound);
            PORTS.listen(&bound)?;
            local.bound = bound;
        }
        local.movable = false;
        Ok(Listener {
            local,
            connection,
            inside: VecDeque::new(),
            backlog: backlog as usize,
        })
    }
}
