//! rt_sigaction(2), kill(2) and their relatives.

use core::sync::atomic::Ordering;

use spore_hal::time;
use spore_hal::trap::TrapFrame;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;
use crate::mm::user::{self, UserAddr};
use crate::sched::block::{Flow, park};
use crate::sched::{self, thread::Thread};
use crate::signal::{self, Action, AltStack, Set, SigInfo, UNBLOCKABLE, bit, code, number};

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct KernelAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct KernelStack {
    base: u64,
    flags: u64,
    size: u64,
}

fn check_size(size: u64) -> Result<()> {
    if size == 8 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn check_signal(signal: u32) -> Result<u32> {
    if (1..=number::MAX).contains(&signal) {
        Ok(signal)
    } else {
        Err(Errno::EINVAL)
    }
}

/// rt_sigaction(2).
pub fn rt_sigaction(signal: u32, action: UserAddr, old: UserAddr, size: u64) -> Result<()> {
    check_size(size)?;
    check_signal(signal)?;
    let process = sched::current().process();
    let before = if action.is_null() {
        process.signals.lock().actions[signal as usize - 1]
    } else {
        if bit(signal) & UNBLOCKABLE != 0 {
            return Err(Errno::EINVAL);
        }
        let new: KernelAction = user::read(action)?;
        let new = Action {
            handler: new.handler,
            flags: new.flags,
            restorer: new.restorer,
            mask: new.mask,
        };
        signal::set_action(process, signal, new)
    };
    if !old.is_null() {
        let before = KernelAction {
            handler: before.handler,
            flags: before.flags,
            restorer: before.restorer,
            mask: before.mask,
        };
        user::write(old, &before)?;
    }
    Ok(())
}

/// rt_sigprocmask(2).
pub fn rt_sigprocmask(how: u32, set: UserAddr, old: UserAddr, size: u64) -> Result<()> {
    check_size(size)?;
    let before = sched::current().signals.lock().mask;
    if !set.is_null() {
        let set: Set = user::read(set)?;
        let mask = match how {
            0 => before | set,
            1 => before & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        };
        signal::set_mask(mask);
    }
    if !old.is_null() {
        user::write(old, &before)?;
    }
    Ok(())
}

/// rt_sigpending(2).
pub fn rt_sigpending(set: UserAddr, size: u64) -> Result<()> {
    check_size(size)?;
    let blocked = sched::current().signals.lock().mask;
    user::write(set, &(signal::pending() & blocked))
}

/// rt_sigreturn(2).
pub fn rt_sigreturn(frame: &mut TrapFrame, _args: &[u64; 6]) -> Flow {
    let thread = sched::current();
    match signal::frame::pop(thread, frame) {
        Ok(()) => Flow::Replaced,
        Err(_) => {
            signal::send_fault(thread, SigInfo::fault(number::SEGV, code::KERNEL, 0));
            Flow::Replaced
        }
    }
}

/// sigaltstack(2).
pub fn sigaltstack(stack: UserAddr, old: UserAddr) -> Result<()> {
    const DISABLE: u64 = 2;
    const MIN: u64 = 2048;
    let thread = sched::current();
    let before = thread.signals.lock().alt;
    if !stack.is_null() {
        let new: KernelStack = user::read(stack)?;
        let flags = new.flags & 0xffff_ffff;
        if flags & !(DISABLE | 1 | 1 << 31) != 0 {
            return Err(Errno::EINVAL);
        }
        let alt = if flags & DISABLE != 0 {
            AltStack::default()
        } else if new.size < MIN {
            return Err(Errno::ENOMEM);
        } else {
            AltStack {
                base: new.base,
                size: new.size,
                flags: 0,
            }
        };
        thread.signals.lock().alt = alt;
    }
    if !old.is_null() {
        let flags = if before.size == 0 { DISABLE } else { 0 };
        user::write(
            old,
            &KernelStack {
                base: before.base,
                flags,
                size: before.size,
            },
        )?;
    }
    Ok(())
}

fn own_pid() -> i32 {
    sched::current().process().pid()
}

/// kill(2): there is one process, its group, and everybody (-1).
pub fn kill(pid: i32, signal: u32) -> Result<()> {
    let process = sched::current().process();
    if signal > number::MAX {
        return Err(Errno::EINVAL);
    }
    if pid != process.pid() && pid != 0 && pid != -1 && pid != -process.pid() {
        return Err(Errno::ESRCH);
    }
    if signal != 0 {
        signal::send_to_process(
            process,
            SigInfo::from_process(signal, code::USER, process.pid()),
        );
    }
    Ok(())
}

fn find_thread(tid: i32) -> Result<&'static Thread> {
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    sched::current().process().thread(tid).ok_or(Errno::ESRCH)
}

/// tkill(2).
pub fn tkill(tid: i32, signal: u32) -> Result<()> {
    let thread = find_thread(tid)?;
    if signal == 0 {
        return Ok(());
    }
    check_signal(signal)?;
    signal::send_to_thread(
        thread,
        SigInfo::from_process(signal, code::TKILL, own_pid()),
    );
    Ok(())
}

/// tgkill(2).
pub fn tgkill(pid: i32, tid: i32, signal: u32) -> Result<()> {
    if pid <= 0 {
        return Err(Errno::EINVAL);
    }
    if pid != own_pid() {
        return Err(Errno::ESRCH);
    }
    tkill(tid, signal)
}

fn read_info(signal: u32, info: UserAddr) -> Result<SigInfo> {
    check_signal(signal)?;
    let words: [u64; 4] = user::read(info)?;
    let code = words[1] as u32 as i32;
    if code >= 0 || code == code::TKILL {
        return Err(Errno::EPERM);
    }
    Ok(SigInfo {
        signal,
        code,
        value0: words[2],
        value1: words[3],
        errno: (words[0] >> 32) as i32,
    })
}

/// rt_sigqueueinfo(2).
pub fn rt_sigqueueinfo(pid: i32, signal: u32, info: UserAddr) -> Result<()> {
    let info = read_info(signal, info)?;
    let process = sched::current().process();
    if pid != process.pid() {
        return Err(Errno::ESRCH);
    }
    signal::send_to_process(process, info);
    Ok(())
}

/// rt_tgsigqueueinfo(2).
pub fn rt_tgsigqueueinfo(pid: i32, tid: i32, signal: u32, info: UserAddr) -> Result<()> {
    let info = read_info(signal, info)?;
    if pid != own_pid() {
        return Err(Errno::ESRCH);
    }
    signal::send_to_thread(find_thread(tid)?, info);
    Ok(())
}

/// pause(2).
pub fn pause() -> Flow {
    Flow::blocked(async {
        loop {
            match park(None).await {
                Ok(()) => {}
                Err(_) => return Err(Errno::EINTR),
            }
        }
    })
}

/// rt_sigsuspend(2).
pub fn rt_sigsuspend(mask: UserAddr, size: u64) -> Flow {
    if let Err(error) = check_size(size) {
        return error.into();
    }
    match user::read::<Set>(mask) {
        Ok(mask) => {
            signal::set_temporary_mask(mask);
            pause()
        }
        Err(error) => error.into(),
    }
}

/// rt_sigtimedwait(2).
pub fn rt_sigtimedwait(set: UserAddr, info: UserAddr, timeout: UserAddr, size: u64) -> Flow {
    let prepared = check_size(size).and_then(|()| {
        let wanted: Set = user::read(set)?;
        let deadline = match timeout.is_null() {
            true => None,
            false => Some(
                time::monotonic()
                    .saturating_add(user::read::<Timespec>(timeout)?.to_nanoseconds()?),
            ),
        };
        Ok((wanted & !UNBLOCKABLE, deadline))
    });
    match prepared {
        Err(error) => error.into(),
        Ok((wanted, deadline)) => Flow::blocked(wait_for(wanted, info, deadline)),
    }
}

async fn wait_for(wanted: Set, info: UserAddr, deadline: Option<u64>) -> Result<usize> {
    let thread = sched::current();
    let registration = signal::pending_notifier().add(thread.observer(), 0);
    // The awaited signals are blocked, so that they do not interrupt; they wake through the notifier.
    let result = loop {
        if let Some(found) = signal::take_pending(wanted) {
            break finish_wait(&found, info);
        }
        match park(deadline).await {
            Ok(()) => {}
            Err(Errno::ETIMEDOUT) => break Err(Errno::EAGAIN),
            Err(_) if signal::pending() & wanted != 0 => {}
            Err(_) => break Err(Errno::EINTR),
        }
    };
    signal::pending_notifier().remove(registration);
    thread.restart.store(false, Ordering::Relaxed);
    result
}

fn finish_wait(found: &SigInfo, info: UserAddr) -> Result<usize> {
    if !info.is_null() {
        let mut words = [0u64; 16];
        words[0] = u64::from(found.signal) | u64::from(found.errno as u32) << 32;
        words[1] = u64::from(found.code as u32);
        words[2] = found.value0;
        words[3] = found.value1;
        user::write(info, &words)?;
    }
    Ok(found.signal as usize)
}
