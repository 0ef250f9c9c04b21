//! Ancillary data of messages (`cmsg(3)`): SCM_RIGHTS and SCM_CREDENTIALS.

use alloc::vec;

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};
use crate::net::socket::Control;
use crate::sched::current;

/// `struct cmsghdr`: length (with itself), level, type.
const HEADER: usize = 16;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
/// Most descriptors in a message (`SCM_MAX_FD`).
const MAX_FILES: usize = 253;
/// Longest ancillary data that is looked at.
const MAX_LEN: usize = 16 << 10;

const fn align(len: usize) -> usize {
    (len + 7) & !7
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).ok_or(Errno::EINVAL)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Decodes what goes with a message. EINVAL for lengths that cannot be, EBADF.
pub fn read(addr: UserAddr, len: usize) -> Result<Control> {
    let mut control = Control::default();
    if addr.is_null() || len == 0 {
        return Ok(control);
    }
    if len > MAX_LEN {
        return Err(Errno::ENOBUFS);
    }
    let mut bytes = vec![0; len];
    user::read_bytes(addr, &mut bytes)?;
    let mut at = 0;
    while at + HEADER <= len {
        let own = word(&bytes, at)? as usize;
        if own < HEADER || word(&bytes, at + 4)? != 0 || own > len - at {
            return Err(Errno::EINVAL);
        }
        let data = &bytes[at + HEADER..at + own];
        match (word(&bytes, at + 8)?, word(&bytes, at + 12)?) {
            (SOL_SOCKET, SCM_RIGHTS) => take_files(&mut control, data)?,
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                control.credentials = Some([word(data, 0)?, word(data, 4)?, word(data, 8)?]);
            }
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            // Packet options of the internet level change nothing here.
            _ => {}
        }
        at += align(own);
    }
    Ok(control)
}

fn take_files(control: &mut Control, data: &[u8]) -> Result<()> {
    let process = current().process();
    for at in (0..data.len() / 4 * 4).step_by(4) {
        if control.files.len() == MAX_FILES {
            return Err(Errno::EINVAL);
        }
        control
            .files
            .push(process.descriptors.get(word(data, at)? as i32)?);
    }
    Ok(())
}

/// Delivers ancillary data; answers its length and whether something did not fit.
pub fn write(
    control: &Control,
    addr: UserAddr,
    room: usize,
    close_on_exec: bool,
) -> Result<(usize, bool)> {
    let mut at = 0;
    let mut cut = false;
    if let Some(credentials) = control.credentials {
        let len = HEADER + size_of_val(&credentials);
        if room >= len {
            put_header(addr, len, SCM_CREDENTIALS)?;
            user::write(addr.wrapping_add(HEADER as u64), &credentials)?;
            at = align(len).min(room);
        } else {
            cut = true;
        }
    }
    if control.files.is_empty() {
        return Ok((at, cut));
    }
    let fit = (room - at).saturating_sub(HEADER) / 4;
    let count = fit.min(control.files.len());
    cut |= count < control.files.len();
    if count == 0 {
        return Ok((at, cut));
    }
    let start = addr.wrapping_add(at as u64);
    let process = current().process();
    for (index, file) in (0u64..).zip(&control.files[..count]) {
        let fd = process.descriptors.insert(file.clone(), close_on_exec, 0)?;
        user::write(start.wrapping_add(HEADER as u64 + 4 * index), &fd)?;
    }
    let len = HEADER + 4 * count;
    put_header(start, len, SCM_RIGHTS)?;
    Ok(((at + align(len)).min(room), cut))
}

fn put_header(at: UserAddr, len: usize, kind: u32) -> Result<()> {
    user::write(at, &[len as u32, 0, SOL_SOCKET, kind])
}
