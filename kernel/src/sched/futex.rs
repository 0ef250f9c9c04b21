//! Futexes (futex(2)). Private and shared ones are the same: one process, and the
//! kernel's own wake of a joined thread is shared while the waiter is private.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spore_hal::{Lock, time};

use crate::errno::{Errno, Result};
use crate::fs::stat::Timespec;
use crate::mm::user::{self, UserAddr};
use crate::sched::block::{Flow, park};
use crate::sched::{self, thread::Thread};

/// Operations (`linux/futex.h`).
mod op {
    pub const WAIT: u32 = 0;
    pub const WAKE: u32 = 1;
    pub const REQUEUE: u32 = 3;
    pub const CMP_REQUEUE: u32 = 4;
    pub const WAKE_OP: u32 = 5;
    pub const WAIT_BITSET: u32 = 9;
    pub const WAKE_BITSET: u32 = 10;
    pub const CLOCK_REALTIME: u32 = 256;
    pub const COMMAND: u32 = 127;
}

const ANY: u32 = u32::MAX;

struct Waiter {
    thread: &'static Thread,
    mask: u32,
    /// Address it waits on now (a requeue changes it).
    addr: AtomicU64,
    woken: AtomicBool,
}

static QUEUES: Lock<BTreeMap<u64, VecDeque<Arc<Waiter>>>> = Lock::new(BTreeMap::new());

/// Wakes up to `count` waiters on `addr` whose mask meets `mask`; answers how many.
pub fn wake(addr: u64, count: u32, mask: u32) -> usize {
    let mut woken: usize = 0;
    while woken < count as usize {
        let waiter = {
            let mut queues = QUEUES.lock();
            let Some(queue) = queues.get_mut(&addr) else {
                break;
            };
            let Some(position) = queue.iter().position(|waiter| waiter.mask & mask != 0) else {
                break;
            };
            let waiter = queue.remove(position);
            if queue.is_empty() {
                queues.remove(&addr);
            }
            waiter
        };
        let Some(waiter) = waiter else { break };
        waiter.woken.store(true, Ordering::Relaxed);
        waiter.thread.wake();
        woken += 1;
    }
    woken
}

fn remove(waiter: &Arc<Waiter>) {
    let addr = waiter.addr.load(Ordering::Relaxed);
    let mut queues = QUEUES.lock();
    if let Some(queue) = queues.get_mut(&addr) {
        queue.retain(|other| !Arc::ptr_eq(other, waiter));
        if queue.is_empty() {
            queues.remove(&addr);
        }
    }
}

struct Enqueued(Arc<Waiter>);

impl Drop for Enqueued {
    fn drop(&mut self) {
        if !self.0.woken.load(Ordering::Relaxed) {
            remove(&self.0);
        }
    }
}

fn wait(addr: UserAddr, value: u32, mask: u32, deadline: Option<u64>, restart: bool) -> Flow {
    if mask == 0 {
        return Errno::EINVAL.into();
    }
    match user::read::<u32>(addr) {
        Ok(found) if found == value => {}
        Ok(_) => return Errno::EAGAIN.into(),
        Err(error) => return error.into(),
    }
    if deadline.is_some_and(|deadline| deadline <= time::monotonic()) {
        return Errno::ETIMEDOUT.into();
    }
    let waiter = Arc::new(Waiter {
        thread: sched::current(),
        mask,
        addr: AtomicU64::new(addr.raw()),
        woken: AtomicBool::new(false),
    });
    QUEUES
        .lock()
        .entry(addr.raw())
        .or_default()
        .push_back(waiter.clone());
    // An old wake-up must not end the wait.
    sched::current().take_wake();
    let enqueued = Enqueued(waiter);
    Flow::blocked(async move {
        loop {
            if enqueued.0.woken.load(Ordering::Relaxed) {
                return Ok(0);
            }
            match park(deadline).await {
                Ok(()) => {}
                Err(_) if enqueued.0.woken.load(Ordering::Relaxed) => return Ok(0),
                Err(Errno::ERESTARTSYS) if !restart => return Err(Errno::EINTR),
                Err(error) => return Err(error),
            }
        }
    })
}

fn requeue(from: UserAddr, wake_count: u32, move_count: u32, to: UserAddr) -> usize {
    let woken = wake(from.raw(), wake_count, ANY);
    let mut moved = 0;
    let mut queues = QUEUES.lock();
    while moved < move_count as usize {
        let Some(waiter) = queues.get_mut(&from.raw()).and_then(VecDeque::pop_front) else {
            break;
        };
        waiter.addr.store(to.raw(), Ordering::Relaxed);
        queues.entry(to.raw()).or_default().push_back(waiter);
        moved += 1;
    }
    if queues.get(&from.raw()).is_some_and(VecDeque::is_empty) {
        queues.remove(&from.raw());
    }
    woken + moved
}

/// FUTEX_WAKE_OP: changes the second word, wakes on the first, and on the second if
/// its old value compares as asked.
fn wake_op(addr: UserAddr, count: u32, count2: u32, addr2: UserAddr, code: u32) -> Result<usize> {
    let sign = |bits: u32| (bits << 20) as i32 >> 20;
    let (mut operand, compare) = (sign(code >> 12 & 0xfff), sign(code & 0xfff));
    if code >> 31 == 1 {
        operand = 1i32.wrapping_shl(operand as u32);
    }
    let old = user::read::<u32>(addr2)? as i32;
    let new = match code >> 28 & 7 {
        0 => operand,
        1 => old.wrapping_add(operand),
        2 => old | operand,
        3 => old & !operand,
        4 => old ^ operand,
        _ => return Err(Errno::ENOSYS),
    };
    user::write(addr2, &(new as u32))?;
    let mut woken = wake(addr.raw(), count, ANY);
    let met = match code >> 24 & 15 {
        0 => old == compare,
        1 => old != compare,
        2 => old < compare,
        3 => old <= compare,
        4 => old > compare,
        5 => old >= compare,
        _ => return Err(Errno::ENOSYS),
    };
    if met {
        woken += wake(addr2.raw(), count2, ANY);
    }
    Ok(woken)
}

/// futex(2).
pub fn futex(
    addr: UserAddr,
    operation: u32,
    value: u32,
    timeout: UserAddr,
    addr2: UserAddr,
    value3: u32,
) -> Flow {
    if !addr.raw().is_multiple_of(4) {
        return Errno::EINVAL.into();
    }
    let command = operation & op::COMMAND;
    match command {
        op::WAIT | op::WAIT_BITSET => {
            let deadline = match deadline(command, operation, timeout) {
                Ok(deadline) => deadline,
                Err(error) => return error.into(),
            };
            let mask = if command == op::WAIT { ANY } else { value3 };
            // A relative timeout cannot be restarted as it is.
            wait(
                addr,
                value,
                mask,
                deadline,
                command == op::WAIT_BITSET || deadline.is_none(),
            )
        }
        op::WAKE => Ok(wake(addr.raw(), value, ANY)).into(),
        op::WAKE_BITSET if value3 == 0 => Errno::EINVAL.into(),
        op::WAKE_BITSET => Ok(wake(addr.raw(), value, value3)).into(),
        op::REQUEUE => Ok(requeue(addr, value, timeout.raw() as u32, addr2)).into(),
        op::CMP_REQUEUE => match user::read::<u32>(addr) {
            Ok(found) if found == value3 => {
                Ok(requeue(addr, value, timeout.raw() as u32, addr2)).into()
            }
            Ok(_) => Errno::EAGAIN.into(),
            Err(error) => error.into(),
        },
        op::WAKE_OP => wake_op(addr, value, timeout.raw() as u32, addr2, value3).into(),
        // Priority inheritance is not offered; glibc's default mutexes do not use it.
        _ => Errno::ENOSYS.into(),
    }
}

/// CLOCK_MONOTONIC deadline of a timeout argument: relative for WAIT, absolute for WAIT_BITSET.
fn deadline(command: u32, operation: u32, timeout: UserAddr) -> Result<Option<u64>> {
    if timeout.is_null() {
        return Ok(None);
    }
    let nanoseconds = user::read::<Timespec>(timeout)?.to_nanoseconds()?;
    let (monotonic, realtime) = time::now();
    Ok(Some(if command == op::WAIT {
        monotonic.saturating_add(nanoseconds)
    } else if operation & op::CLOCK_REALTIME != 0 {
        monotonic.saturating_add(nanoseconds.saturating_sub(realtime))
    } else {
        nanoseconds
    }))
}
