//! Limits, usage, priorities, processors.

use core::sync::atomic::Ordering;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::mm::frames;
use crate::mm::user::{self, UserAddr};
use crate::process::{Limit, limit};
use crate::sched;

fn index(resource: u32) -> Result<usize> {
    if resource < 16 {
        Ok(resource as usize)
    } else {
        Err(Errno::EINVAL)
    }
}

fn write_limit(addr: UserAddr, limit: Limit) -> Result<()> {
    user::write(addr, &[limit.soft, limit.hard])
}

fn set_limit(resource: usize, addr: UserAddr) -> Result<()> {
    let [soft, hard]: [u64; 2] = user::read(addr)?;
    let process = sched::current().process();
    let mut limits = process.limits.lock();
    if soft > hard {
        return Err(Errno::EINVAL);
    }
    if hard > limits[resource].hard || resource == limit::NPROC && hard > 1 {
        return Err(Errno::EPERM);
    }
    limits[resource] = Limit { soft, hard };
    if resource == limit::NOFILE {
        process.descriptors.set_limit(soft);
    }
    Ok(())
}

/// getrlimit(2).
pub fn getrlimit(resource: u32, addr: UserAddr) -> Result<()> {
    let limit = sched::current().process().limits.lock()[index(resource)?];
    write_limit(addr, limit)
}

/// setrlimit(2).
pub fn setrlimit(resource: u32, addr: UserAddr) -> Result<()> {
    set_limit(index(resource)?, addr)
}

/// prlimit64(2).
pub fn prlimit64(pid: i32, resource: u32, new: UserAddr, old: UserAddr) -> Result<()> {
    let process = sched::current().process();
    if pid != 0 && pid != process.pid() {
        return Err(Errno::ESRCH);
    }
    let resource = index(resource)?;
    let before = process.limits.lock()[resource];
    if !new.is_null() {
        set_limit(resource, new)?;
    }
    if !old.is_null() {
        write_limit(old, before)?;
    }
    Ok(())
}

/// Processor time of the process so far, ns.
pub fn process_cpu_time() -> u64 {
    // One processor that sleeps when idle: what was not idle was the program's.
    crate::stats::busy_nanoseconds()
}

/// Peak memory in KiB.
fn peak_kib() -> i64 {
    let (total, free) = frames::totals();
    ((total - free) / 1024) as i64
}

/// getrusage(2): RUSAGE_SELF 0, RUSAGE_THREAD 1, RUSAGE_CHILDREN -1.
pub fn getrusage(who: i32, addr: UserAddr) -> Result<()> {
    let time = match who {
        0 => process_cpu_time(),
        1 => sched::thread_time(sched::current()),
        -1 => 0,
        _ => return Err(Errno::EINVAL),
    };
    let mut words = [0i64; 18];
    words[0] = (time / 1_000_000_000) as i64;
    words[1] = (time % 1_000_000_000 / 1000) as i64;
    words[4] = peak_kib();
    user::write(addr, &words)
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    total_ram: u64,
    free_ram: u64,
    shared_ram: u64,
    buffer_ram: u64,
    total_swap: u64,
    free_swap: u64,
    processes: u16,
    pad: u16,
    pad2: u32,
    total_high: u64,
    free_high: u64,
    unit: u32,
    tail: u32,
}

/// sysinfo(2).
pub fn sysinfo(addr: UserAddr) -> Result<()> {
    let (total, free) = frames::totals();
    let process = sched::current().process();
    let info = SysInfo {
        uptime: ((spore_hal::time::monotonic() - process.started) / 1_000_000_000) as i64 + 1,
        loads: [0; 3],
        total_ram: total,
        free_ram: free,
        shared_ram: 0,
        buffer_ram: 0,
        total_swap: 0,
        free_swap: 0,
        processes: 1,
        pad: 0,
        pad2: 0,
        total_high: 0,
        free_high: 0,
        unit: 1,
        tail: 0,
    };
    user::write(addr, &info)
}

/// getpriority(2): 20 minus the nice value.
pub fn getpriority(which: u32, _who: i32) -> Result<usize> {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    Ok((20 - sched::current().nice.load(Ordering::Relaxed)) as usize)
}

/// setpriority(2): only downwards, as for an ordinary user.
pub fn setpriority(which: u32, _who: i32, value: i32) -> Result<()> {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    let thread = sched::current();
    let value = value.clamp(-20, 19);
    if value < thread.nice.load(Ordering::Relaxed) {
        return Err(Errno::EACCES);
    }
    thread.nice.store(value, Ordering::Relaxed);
    Ok(())
}

/// ESRCH unless `pid` is 0 or one of the program's threads.
fn check_thread(pid: i32) -> Result<()> {
    let process = sched::current().process();
    if pid == 0 || pid == process.pid() || process.thread(pid).is_some() {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

fn check_policy_of(pid: i32) -> Result<()> {
    if pid < 0 {
        return Err(Errno::EINVAL);
    }
    check_thread(pid)
}

/// sched_setscheduler(2): everybody is scheduled alike.
pub fn sched_setscheduler(pid: i32, policy: u32, param: UserAddr) -> Result<()> {
    const RESET_ON_FORK: u32 = 0x4000_0000;
    check_policy_of(pid)?;
    let priority: i32 = user::read(param)?;
    let policy = policy & !RESET_ON_FORK;
    if !(priority_min(policy)?..=priority_max(policy)?).contains(&(priority as usize)) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// sched_setparam(2).
pub fn sched_setparam(pid: i32, param: UserAddr) -> Result<()> {
    sched_setscheduler(pid, 0, param)
}

/// sched_getscheduler(2): SCHED_OTHER.
pub fn sched_getscheduler(pid: i32) -> Result<usize> {
    check_policy_of(pid).map(|()| 0)
}

/// sched_rr_get_interval(2).
pub fn sched_rr_get_interval(pid: i32, interval: UserAddr) -> Result<()> {
    const SLICE: i64 = 4_000_000;
    check_policy_of(pid)?;
    user::write(interval, &[0, SLICE])
}

/// sched_setaffinity(2): the one processor must be among those asked for.
pub fn sched_setaffinity(pid: i32, size: usize, mask: UserAddr) -> Result<()> {
    check_thread(pid)?;
    let mut first = [0u8; 1];
    user::read_bytes(mask, &mut first[..size.min(1)])?;
    if first[0] & 1 == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// sched_getparam(2): priority 0.
pub fn sched_getparam(pid: i32, param: UserAddr) -> Result<()> {
    check_policy_of(pid)?;
    user::write(param, &0i32)
}

/// sched_get_priority_max(2).
pub fn priority_max(policy: u32) -> Result<usize> {
    match policy {
        1 | 2 => Ok(99),
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// sched_get_priority_min(2).
pub fn priority_min(policy: u32) -> Result<usize> {
    match policy {
        1 | 2 => Ok(1),
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// sched_getaffinity(2): one processor; answers the bytes written.
pub fn sched_getaffinity(pid: i32, size: usize, mask: UserAddr) -> Result<usize> {
    check_thread(pid)?;
    if size < 8 || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    user::write(mask, &1u64)?;
    Ok(8)
}

/// getcpu(2).
pub fn getcpu(cpu: UserAddr, node: UserAddr) -> Result<()> {
    for place in [cpu, node] {
        if !place.is_null() {
            user::write(place, &0u32)?;
        }
    }
    Ok(())
}
