//! What a waker hands to a shell: one JSON line, and descriptors beside it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Config, PublishRule};
use crate::events::Style;

/// Longest message.
const LIMIT: usize = 384 << 10;
/// Most descriptors: the streams and some listeners.
const DESCRIPTORS: usize = 16;

/// How a machine that stands by is to go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wake {
    /// Published ports; `None`: as the shell's own configuration says.
    pub publish: Option<Vec<PublishRule>>,
    /// Listening sockets among the descriptors, in the order of `publish`.
    pub listeners: usize,
    /// The first three descriptors are the standard streams.
    pub streams: bool,
    /// Environment of this machine, KEY=VALUE.
    pub restored_env: Vec<String>,
    /// Host name; empty: as configured.
    pub hostname: String,
    /// Name of this machine.
    pub instance: String,
    /// How events are told; absent: as the shell's own configuration says.
    pub events: Option<Style>,
    /// Files for the streams, instead of descriptors; absent: the shell's own streams.
    pub files: Option<Files>,
    /// Unix socket on which the machine takes orders; absent: as configured.
    pub orders: Option<PathBuf>,
}

/// Where a machine writes to whose waker cannot hand descriptors over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Files {
    /// Standard output: what the monitor tells.
    pub events: PathBuf,
    /// Standard error: what the program writes, if events are told as JSON.
    pub output: PathBuf,
}

impl Wake {
    /// A wish for a machine with a name of its own.
    pub fn new_machine() -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
        let instance = name.trim().to_owned();
        let hostname = match instance.get(..8) {
            Some(start) => format!("spore-{start}"),
            None => String::new(),
        };
        Self {
            instance,
            hostname,
            ..Self::default()
        }
    }

    /// Carries the wishes over into a configuration. Descriptors that are listeners
    /// become the program's ports.
    pub fn apply(self, config: &mut Config, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let mut descriptors = descriptors.into_iter();
        if self.streams {
            for (number, fd) in descriptors.by_ref().take(3).enumerate() {
                become_stream(&fd, number as RawFd);
            }
        }
        if let Some(Files { events, output }) = &self.files {
            become_stream(&append(events)?, 1);
            become_stream(&append(output)?, 2);
        }
        if self.orders.is_some() {
            config.orders = self.orders;
        }
        if let Some(mut publish) = self.publish {
            for (rule, fd) in publish.iter_mut().zip(descriptors.take(self.listeners)) {
                rule.listener = Some(std::sync::Arc::new(fd));
                rule.lent = true;
            }
            config.publish = Some(publish);
        }
        config.restored_env = self.restored_env;
        if !self.hostname.is_empty() {
            config.hostname = self.hostname;
        }
        config.instance = self.instance;
        Ok(())
    }
}

/// The waker has made the folder.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn become_stream(file: &impl AsRawFd, number: RawFd) {
    // SAFETY: copies one of our descriptors over a standard one.
    unsafe { libc::dup2(file.as_raw_fd(), number) };
}

/// Room for control messages with that many descriptors.
fn control_space() -> Vec<u64> {
    // SAFETY: computes a size.
    let bytes = unsafe { libc::CMSG_SPACE((DESCRIPTORS * size_of::<RawFd>()) as u32) };
    vec![0; (bytes as usize).div_ceil(8)]
}

/// Sends a wish with its descriptors.
pub fn send(socket: &UnixStream, wake: &Wake, descriptors: &[RawFd]) -> io::Result<()> {
    let mut text = serde_json::to_vec(wake)?;
    text.push(b'\n');
    if descriptors.len() > DESCRIPTORS || text.len() > LIMIT {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = control_space();
    let mut part = libc::iovec {
        iov_base: text.as_mut_ptr().cast(),
        iov_len: text.len(),
    };
    // SAFETY: all buffers live until the call returns and have the stated lengths; the
    // one control message is laid out by the CMSG functions inside its buffer.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !descriptors.is_empty() {
            let bytes = std::mem::size_of_val(descriptors);
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(bytes as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes as u32) as _;
            let place = libc::CMSG_DATA(header);
            std::ptr::copy_nonoverlapping(descriptors.as_ptr().cast::<u8>(), place, bytes);
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(count) if count == text.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Receives a wish with its descriptors.
pub fn receive(socket: &UnixStream) -> io::Result<(Wake, Vec<OwnedFd>)> {
    let mut text = Vec::new();
    let mut descriptors = Vec::new();
    let mut buffer = vec![0_u8; 64 << 10];
    while text.last() != Some(&b'\n') {
        let count = receive_part(socket, &mut buffer, &mut descriptors)?;
        if count == 0 || text.len() + count > LIMIT {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&buffer[..count]);
    }
    Ok((serde_json::from_slice(&text)?, descriptors))
}

fn receive_part(
    socket: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = control_space();
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all buffers live until the call returns and have the stated lengths; the
    // kernel has filled in the control messages that the CMSG functions walk, and the
    // descriptors in them belong to nobody else.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = (control.len() * 8) as _;
        let count = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        let Ok(count) = usize::try_from(count) else {
            return Err(io::Error::last_os_error());
        };
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(current) = header.as_ref() {
            if current.cmsg_level == libc::SOL_SOCKET && current.cmsg_type == libc::SCM_RIGHTS {
                #[allow(clippy::unnecessary_cast, reason = "32 bits wide with musl")]
                let bytes = current.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(current).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    let fd = data.add(index).read_unaligned();
                    descriptors.push(OwnedFd::from_raw_fd(fd));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_wish_arrives_with_its_descriptors() {
        let (one, two) = UnixStream::pair().unwrap();
        let (mut given, mut kept) = UnixStream::pair().unwrap();
        let wake = Wake {
            instance: "7".into(),
            restored_env: vec!["A=b".into()],
            ..Wake::default()
        };
        send(&one, &wake, &[given.as_raw_fd()]).unwrap();
        given.shutdown(std::net::Shutdown::Read).unwrap();
        let (got, descriptors) = receive(&two).unwrap();
        assert_eq!(
            (got.instance, got.restored_env),
            ("7".into(), vec!["A=b".into()])
        );
        drop(given);
        let mut arrived = UnixStream::from(descriptors.into_iter().next().unwrap());
        arrived.write_all(b"x").unwrap();
        let mut byte = [0];
        kept.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        given = one;
        drop(given);
        assert!(receive(&two).is_err());
    }
}
