//! Communication inside the guest: pipes, unix sockets, eventfd, epoll, timers and
//! signals as files.

pub mod anonymous;
pub mod channel;
pub mod epoll;
pub mod eventfd;
pub mod ioctl;
pub mod pipe;
pub mod ring;
pub mod stream;
