//! Communication inside the guest: pipes, unix sockets, eventfd, epoll, timers and
//! signals as files.

pub mod channel;
pub mod ring;
pub mod stream;
