//! clone(2), clone3(2) and what belongs to a thread's life.

use core::sync::atomic::Ordering;

use spore_abi::layout::USER_END;
use spore_hal::cpu;
use spore_hal::trap::TrapFrame;

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};
use crate::process::Process;
use crate::sched;
use crate::sched::block::Flow;

/// CLONE_* flags (`linux/sched.h`).
mod flag {
    pub const VM: u64 = 0x100;
    pub const SIGHAND: u64 = 0x800;
    pub const THREAD: u64 = 0x10000;
    pub const SETTLS: u64 = 0x80000;
    pub const PARENT_SETTID: u64 = 0x10_0000;
    pub const CHILD_CLEARTID: u64 = 0x20_0000;
    pub const CHILD_SETTID: u64 = 0x100_0000;
}

struct CloneRequest {
    flags: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
}

/// Most threads of a process.
const MAX_THREADS: usize = 32_000;

fn spawn(frame: &TrapFrame, request: &CloneRequest) -> Result<usize> {
    if request.flags & flag::THREAD == 0 || request.flags & flag::VM == 0 {
        return crate::syscall::process::no_processes();
    }
    if request.flags & flag::SIGHAND == 0 {
        return Err(Errno::EINVAL);
    }
    let parent = sched::current();
    let process = parent.process();
    if process.threads.lock().len() >= MAX_THREADS {
        return Err(Errno::EAGAIN);
    }
    let tid = Process::next_tid();
    if request.flags & flag::PARENT_SETTID != 0 {
        user::write(UserAddr::new(request.parent_tid), &tid)?;
    }
    if request.flags & flag::CHILD_SETTID != 0 {
        user::write(UserAddr::new(request.child_tid), &tid)?;
    }
    let child = sched::create(tid, process);
    let mut registers = *frame;
    registers.rax = 0;
    if request.stack != 0 {
        registers.rsp = request.stack;
    }
    sched::copy_registers(&registers, child);
    if request.flags & flag::SETTLS != 0 {
        child.saved.lock().fs_base = request.tls;
    }
    if request.flags & flag::CHILD_CLEARTID != 0 {
        child
            .clear_child_tid
            .store(request.child_tid, Ordering::Relaxed);
    }
    child.signals.lock().mask = parent.signals.lock().mask;
    *child.name.lock() = *parent.name.lock();
    process.threads.lock().push(child);
    crate::signal::refresh(child);
    sched::start(child);
    Ok(tid as usize)
}

/// clone(2): flags, stack, parent tid, child tid, tls.
pub fn clone(frame: &mut TrapFrame, args: &[u64; 6]) -> Flow {
    let request = CloneRequest {
        flags: args[0],
        stack: args[1],
        parent_tid: args[2],
        child_tid: args[3],
        tls: args[4],
    };
    spawn(frame, &request).into()
}

/// clone3(2): `struct clone_args`, at least 64 bytes.
pub fn clone3(frame: &mut TrapFrame, args: &[u64; 6]) -> Flow {
    read_request(UserAddr::new(args[0]), args[1])
        .and_then(|request| spawn(frame, &request))
        .into()
}

fn read_request(addr: UserAddr, size: u64) -> Result<CloneRequest> {
    if size < 64 {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    let words: [u64; 8] = user::read(addr)?;
    let stack = words[5]
        .checked_add(words[6])
        .filter(|top| *top <= USER_END)
        .ok_or(Errno::EINVAL)?;
    Ok(CloneRequest {
        flags: words[0],
        stack,
        parent_tid: words[3],
        child_tid: words[2],
        tls: words[7],
    })
}

/// arch_prctl(2).
pub fn arch_prctl(code: i32, addr: u64) -> Result<()> {
    match code {
        0x1002 if addr >= USER_END => Err(Errno::EPERM),
        0x1002 => {
            cpu::set_fs_base(addr);
            Ok(())
        }
        0x1003 => user::write(UserAddr::new(addr), &cpu::fs_base()),
        // GS holds the library OS's own block; ARCH_GET_GS shows what a program expects.
        0x1004 => user::write(UserAddr::new(addr), &0u64),
        0x1001 => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

/// set_tid_address(2): answers the thread id.
pub fn set_tid_address(addr: u64) -> Result<usize> {
    let thread = sched::current();
    thread.clear_child_tid.store(addr, Ordering::Relaxed);
    Ok(thread.tid() as usize)
}

/// set_robust_list(2).
pub fn set_robust_list(head: u64, len: u64) -> Result<()> {
    if len != 24 {
        return Err(Errno::EINVAL);
    }
    sched::current().robust_list.store(head, Ordering::Relaxed);
    Ok(())
}

/// get_robust_list(2).
pub fn get_robust_list(pid: i32, head: UserAddr, len: UserAddr) -> Result<()> {
    let current = sched::current();
    let thread = if pid == 0 {
        current
    } else {
        current.process().thread(pid).ok_or(Errno::ESRCH)?
    };
    user::write(head, &thread.robust_list.load(Ordering::Relaxed))?;
    user::write(len, &24u64)
}

/// sched_yield(2).
pub fn sched_yield() -> Flow {
    if !sched::others_runnable() {
        crate::net::turn();
        return Ok(0usize).into();
    }
    let mut yielded = false;
    Flow::blocked(core::future::poll_fn(move |_| {
        if core::mem::replace(&mut yielded, true) {
            core::task::Poll::Ready(Ok(0))
        } else {
            sched::current().wake_later();
            core::task::Poll::Pending
        }
    }))
}

/// membarrier(2): with one processor every barrier is met; 0 asks what exists.
pub fn membarrier(command: i32, flags: u32, _cpu: i32) -> Result<usize> {
    const KNOWN: i32 = 0x1f;
    match command {
        _ if flags != 0 => Err(Errno::EINVAL),
        0 => Ok(KNOWN as usize),
        1 | 2 | 4 | 8 | 16 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// Wakes robust futexes that a dying thread holds (`linux/futex.h`, robust list).
pub fn release_robust(thread: &'static crate::sched::thread::Thread) {
    const OWNER_DIED: u32 = 0x4000_0000;
    const WAITERS: u32 = 0x8000_0000;
    const TID: u32 = 0x3fff_ffff;
    const LIMIT: usize = 2048;
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    if head == 0 {
        return;
    }
    let Ok(words) = user::read::<[u64; 3]>(UserAddr::new(head)) else {
        return;
    };
    let offset = words[1];
    let mut entry = words[0];
    let release = |entry: u64| {
        let addr = (entry & !1).wrapping_add(offset);
        let Ok(value) = user::read::<u32>(UserAddr::new(addr)) else {
            return;
        };
        if value & TID == thread.tid() as u32 {
            let _ = user::write(UserAddr::new(addr), &(value & WAITERS | OWNER_DIED));
            if value & WAITERS != 0 {
                sched::futex::wake(addr, 1, u32::MAX);
            }
        }
    };
    for _ in 0..LIMIT {
        if entry & !1 == head {
            break;
        }
        release(entry);
        let Ok(next) = user::read::<u64>(UserAddr::new(entry & !1)) else {
            break;
        };
        entry = next;
    }
    if words[2] != 0 {
        release(words[2]);
    }
}
