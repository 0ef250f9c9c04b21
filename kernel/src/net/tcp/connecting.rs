//! Connecting: to a listener of the guest, or through the host.

use super::*;

impl Tcp {
    /// Hears of news on the slot of `connection` from now on.
    pub(super) fn attach(&self, connection: &Connection) {
        let this: Weak<dyn Endpoint> = self.this.clone();
        doorbell::attach(connection.index(), this);
    }
    /// Binds to a free port if there is no binding yet.
    pub(super) fn local(&self, bound: Option<Local>) -> Result<Local> {
        if let Some(local) = bound {
            return Ok(local);
        }
        let sharing = self.options.lock().sharing();
        let bound = PORTS.bind(address::any(self.family), sharing, self.this.clone())?;
        Ok(Local {
            bound,
            movable: true,
            chosen: true,
        })
    }
    /// Connects to a listener of the guest. `None`: nobody listens there.
    pub(super) fn connect_inside(
        &self,
        to: &Address,
        bound: Option<Local>,
    ) -> Result<Option<InsideStream>> {
        let Some(listener) = PORTS.find(to, true).and_then(|owner| owner.upgrade()) else {
            return Ok(None);
        };
        let local = self.local(bound)?;
        let source = address::source_for(to, local.bound.address.port);
        let (mine, theirs) = pair(DEFAULT_LIMIT);
        {
            let mut state = listener.state.lock();
            let State::Listening(listening) = &mut *state else {
                return Ok(None);
            };
            if listening.inside.len() >= listening.backlog {
                return Err(Errno::ECONNREFUSED);
            }
            listening.inside.push_back((Arc::new(theirs), source));
        }
        listener.notifier.notify(events::IN | events::RDNORM);
        Ok(Some(InsideStream {
            end: Arc::new(mine),
            bound: Some(local),
            local: source,
            peer: *to,
            connecting: true,
        }))
    }
    /// Connects through the host.
    pub(super) fn connect_host(&self, to: Address, bound: Option<Local>) -> Result<HostStream> {
        if address::is_own(&to) {
            return Err(Errno::ECONNREFUSED);
        }
        let local = self.local(bound)?;
        let connection = Connection::new(slots::open(slots::STREAM_RX, slots::STREAM_TX)?);
        let (keepalive, times) = self.options.lock().keepalive();
        if keepalive {
            connection.set_keepalive(true, times);
        }
        self.attach(&connection);
        let words = to.to_words();
        let result = host::call(
            call::CONNECT,
            [connection.handle(), words[0], words[1], words[2], 0, 0],
        );
        let connecting = result == -i64::from(Errno::EINPROGRESS.0);
        if result < 0 && !connecting {
            doorbell::detach(connection.index());
            connection.discard();
            return Err(Errno(result.unsigned_abs() as u16));
        }
        Ok(HostStream {
            connection,
            bound: Some(local),
            local: address::source_for(&to, local.bound.address.port),
            peer: to,
            connecting,
            shut_read: false,
            shut_write: false,
        })
    }

    /// connect(AF_UNSPEC): back to an unconnected socket.
    pub(super) fn disconnect(&self) -> Result<()> {
        let old = core::mem::replace(
            &mut *self.state.lock(),
            State::Open {
                bound: None,
                error: None,
            },
        );
        retire(old, true, true);
        Ok(())
    }
}

/// A second connect: EALREADY while the first is under way, its outcome once, then
/// EISCONN; ECANCELED: it had failed and was reported.
pub(super) fn connect_again(stream: &mut HostStream) -> Result<()> {
    let flags = stream.connection.flags();
    if flags & host_flag::CONNECTED == 0 {
        return Err(Errno::EALREADY);
    }
    if let Some(error) = stream.connection.take_error() {
        return Err(error);
    }
    if flags & host_flag::ERROR != 0 && stream.connecting {
        return Err(Errno::ECANCELED);
    }
    if core::mem::replace(&mut stream.connecting, false) {
        Ok(())
    } else {
        Err(Errno::EISCONN)
    }
}
