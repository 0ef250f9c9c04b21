//! Who and where the program is: ids, uname, prctl, randomness.

use core::sync::atomic::Ordering;

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};
use crate::process::PARENT_PID;
use crate::sched;

/// getpid(2).
pub fn getpid() -> Result<usize> {
    Ok(sched::current().process().pid() as usize)
}

/// gettid(2).
pub fn gettid() -> Result<usize> {
    Ok(sched::current().shown_tid() as usize)
}

/// getppid(2).
pub fn getppid() -> Result<usize> {
    Ok(PARENT_PID as usize)
}

/// getpgrp(2), getpgid(2), getsid(2), setsid(2).
pub fn getpgrp() -> Result<usize> {
    getpid()
}

/// Calls that succeed without an effect.
pub fn zero() -> Result<usize> {
    Ok(0)
}

/// Calls that programs fall back from.
pub fn absent() -> Result<usize> {
    Err(Errno::ENOSYS)
}

/// Calls that need rights nobody has here.
pub fn not_permitted() -> Result<usize> {
    Err(Errno::EPERM)
}

/// What uname says about the kernel. The release is one that libuv and glibc parse.
pub const RELEASE: &str = "6.1.0-spore";
/// The version line of uname and /proc/version.
pub const VERSION: &str = "#1 SMP Spore";

/// uname(2): six fields of 65 bytes.
pub fn uname(name: UserAddr) -> Result<()> {
    let mut fields = [[0u8; 65]; 6];
    let host = crate::boot::hostname();
    let texts: [&[u8]; 6] = [
        b"Linux",
        &host,
        RELEASE.as_bytes(),
        VERSION.as_bytes(),
        b"x86_64",
        b"(none)",
    ];
    for (field, text) in fields.iter_mut().zip(texts) {
        let len = text.len().min(64);
        field[..len].copy_from_slice(&text[..len]);
    }
    user::write(name, &fields)
}

/// capget(2): no capabilities (versions 1 to 3).
pub fn capget(header: UserAddr, data: UserAddr) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let version: u32 = user::read(header)?;
    let words = match version {
        0x1998_0330 => 1,
        0x2007_1026 | VERSION_3 => 2,
        _ => {
            user::write(header, &VERSION_3)?;
            return if data.is_null() {
                Ok(())
            } else {
                Err(Errno::EINVAL)
            };
        }
    };
    if !data.is_null() {
        user::write_bytes(data, &[0; 24][..12 * words])?;
    }
    Ok(())
}

/// prctl(2).
pub fn prctl(option: i32, a: u64, _b: u64, _c: u64, _d: u64) -> Result<usize> {
    const SET_PDEATHSIG: i32 = 1;
    const GET_PDEATHSIG: i32 = 2;
    const GET_DUMPABLE: i32 = 3;
    const SET_DUMPABLE: i32 = 4;
    const GET_KEEPCAPS: i32 = 7;
    const SET_KEEPCAPS: i32 = 8;
    const SET_NAME: i32 = 15;
    const GET_NAME: i32 = 16;
    const CAPBSET_READ: i32 = 23;
    const SET_TIMERSLACK: i32 = 29;
    const GET_TIMERSLACK: i32 = 30;
    const SET_CHILD_SUBREAPER: i32 = 36;
    const SET_NO_NEW_PRIVS: i32 = 38;
    const GET_NO_NEW_PRIVS: i32 = 39;
    const SET_THP_DISABLE: i32 = 41;
    let thread = sched::current();
    let process = thread.process();
    match option {
        SET_NAME => {
            let text = user::read_string(UserAddr::new(a), 4096).or_else(|error| match error {
                Errno::ENAMETOOLONG => Ok(alloc::vec::Vec::new()),
                other => Err(other),
            })?;
            let mut name = [0; 16];
            let len = text.len().min(15);
            name[..len].copy_from_slice(&text[..len]);
            *thread.name.lock() = name;
            Ok(0)
        }
        GET_NAME => {
            let name = *thread.name.lock();
            user::write_bytes(UserAddr::new(a), &name).map(|()| 0)
        }
        GET_DUMPABLE => Ok(process.dumpable.load(Ordering::Relaxed) as usize),
        SET_DUMPABLE if a <= 1 => {
            process.dumpable.store(a as i32, Ordering::Relaxed);
            Ok(0)
        }
        GET_PDEATHSIG => user::write(UserAddr::new(a), &0u32).map(|()| 0),
        CAPBSET_READ if a <= 40 => Ok(0),
        GET_TIMERSLACK => Ok(50_000),
        GET_NO_NEW_PRIVS => Ok(1),
        GET_KEEPCAPS | SET_PDEATHSIG | SET_KEEPCAPS | SET_TIMERSLACK | SET_CHILD_SUBREAPER
        | SET_NO_NEW_PRIVS | SET_THP_DISABLE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// getrandom(2).
pub fn getrandom(buffer: UserAddr, len: usize, flags: u32) -> Result<usize> {
    if flags & !7 != 0 || flags & 6 == 6 {
        return Err(Errno::EINVAL);
    }
    let len = len.min(33_554_431);
    let mut chunk = [0; 256];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(chunk.len());
        crate::random::fill(&mut chunk[..step]);
        match user::write_bytes(buffer.wrapping_add(done as u64), &chunk[..step]) {
            Ok(()) => done += step,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}
