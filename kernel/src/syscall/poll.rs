//! poll, ppoll, select, pselect6.

use alloc::vec;
use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};
use crate::fs::file::events;
use crate::fs::stat::Timespec;
use crate::fs::table::{DescriptorTable, MAX_DESCRIPTORS};
use crate::ipc::interest::{self, Interest};
use crate::ipc::mask;
use crate::ipc::timeout::{self, Timeout};
use crate::mm::user::{self, UserAddr};
use crate::sched::block::Flow;
use crate::sched::current;
use crate::signal;

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

/// Where `revents` lies in it.
const REVENTS: u64 = 6;

/// poll(2).
pub fn poll(fds: UserAddr, count: usize, milliseconds: i32) -> Flow {
    flow(start_poll(
        fds,
        count,
        Timeout::from_milliseconds(milliseconds),
        None,
        None,
    ))
}

/// ppoll(2): the time left is stored in `timeout`.
pub fn ppoll(
    fds: UserAddr,
    count: usize,
    timeout: UserAddr,
    set: UserAddr,
    set_size: usize,
) -> Flow {
    flow(Timeout::from_timespec(timeout).and_then(|time| {
        let set = mask::read(set, set_size)?;
        start_poll(fds, count, time, set, Some(TimeLeft::timespec(timeout)))
    }))
}

/// select(2): the time left is stored in `timeout`.
pub fn select(
    count: i32,
    read: UserAddr,
    write: UserAddr,
    except: UserAddr,
    timeout: UserAddr,
) -> Flow {
    flow(read_timeval(timeout).and_then(|time| {
        start_select(
            count,
            [read, write, except],
            time,
            None,
            Some(TimeLeft::timeval(timeout)),
        )
    }))
}

/// pselect6(2): `set` points to the address and size of a signal mask.
pub fn pselect6(
    count: i32,
    read: UserAddr,
    write: UserAddr,
    except: UserAddr,
    timeout: UserAddr,
    set: UserAddr,
) -> Flow {
    flow(Timeout::from_timespec(timeout).and_then(|time| {
        let [addr, size]: [u64; 2] = if set.is_null() {
            [0, 0]
        } else {
            user::read(set)?
        };
        let set = mask::read(UserAddr::new(addr), size as usize)?;
        start_select(
            count,
            [read, write, except],
            time,
            set,
            Some(TimeLeft::timespec(timeout)),
        )
    }))
}

fn flow(result: Result<Flow>) -> Flow {
    result.unwrap_or_else(Flow::from)
}

/// `struct timeval`; NULL never ends. EFAULT, EINVAL.
fn read_timeval(addr: UserAddr) -> Result<Timeout> {
    if addr.is_null() {
        return Ok(Timeout::Never);
    }
    let [seconds, micros]: [i64; 2] = user::read(addr)?;
    if micros < 0 {
        return Err(Errno::EINVAL);
    }
    let seconds = seconds.saturating_add(micros / 1_000_000);
    let time = Timespec {
        seconds,
        nanoseconds: micros % 1_000_000 * 1_000,
    };
    Ok(Timeout::after(timeout::nanoseconds(time)?))
}

/// Where the time left goes.
#[derive(Clone, Copy)]
struct TimeLeft {
    addr: UserAddr,
    /// Nanoseconds in the unit of the second field.
    unit: u64,
}

impl TimeLeft {
    fn timespec(addr: UserAddr) -> Self {
        Self { addr, unit: 1 }
    }
    fn timeval(addr: UserAddr) -> Self {
        Self { addr, unit: 1_000 }
    }
    /// Stores it; as on Linux, a page that cannot be written is no error.
    fn store(self, timeout: Timeout) {
        let Timeout::At(_) = timeout else { return };
        let left = timeout::timespec(timeout.remaining().unwrap_or(0));
        let _ = user::write(
            self.addr,
            &[left.seconds, left.nanoseconds / self.unit as i64],
        );
    }
}

/// Runs `call` under `mask` and stores the time that is left afterwards.
fn wait(
    call: impl Future<Output = Result<usize>> + Send + 'static,
    timeout: Timeout,
    mask: Option<signal::Set>,
    left: Option<TimeLeft>,
) -> Flow {
    Flow::blocked(async move {
        let result = mask::with(mask, call).await;
        if let Some(left) = left {
            left.store(timeout);
        }
        result
    })
}

fn start_poll(
    addr: UserAddr,
    count: usize,
    timeout: Timeout,
    mask: Option<signal::Set>,
    left: Option<TimeLeft>,
) -> Result<Flow> {
    if count > MAX_DESCRIPTORS {
        return Err(Errno::EINVAL);
    }
    let mut fds: Vec<PollFd> = Vec::new();
    fds.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    fds.resize(count, PollFd::default());
    user::read_bytes(addr, fds.as_mut_slice().as_mut_bytes())?;
    crate::net::turn();
    let process = current().process();
    let ready = poll_once(&process.descriptors, &mut fds);
    if ready > 0 || (timeout == Timeout::Now && mask.is_none()) {
        store_results(addr, &fds)?;
        if let Some(left) = left {
            left.store(timeout);
        }
        return Ok(Flow::Done(Ok(ready)));
    }
    let interests = poll_interests(&process.descriptors, &fds);
    let call = async move {
        let count = interest::wait(&interests, timeout, |place, ready| {
            fds[place].revents = ready as u16
        })
        .await?;
        store_results(addr, &fds)?;
        Ok(count)
    };
    Ok(wait(call, timeout, mask, left))
}

fn wanted(fd: &PollFd) -> u32 {
    u32::from(fd.events) | events::ERR | events::HUP
}

/// Fills in what is ready now; answers how many descriptors have something to tell.
fn poll_once(table: &DescriptorTable, fds: &mut [PollFd]) -> usize {
    let mut count = 0;
    for entry in fds {
        entry.revents = match table.get(entry.fd) {
            _ if entry.fd < 0 => 0,
            Ok(open) => (open.file.poll() & wanted(entry)) as u16,
            Err(_) => events::NVAL as u16,
        };
        count += usize::from(entry.revents != 0);
    }
    count
}

fn poll_interests(table: &DescriptorTable, fds: &[PollFd]) -> Vec<Interest> {
    let entries = fds.iter().enumerate();
    entries
        .filter_map(|(place, fd)| {
            Some(Interest {
                place,
                open: table.get(fd.fd).ok()?,
                wanted: wanted(fd),
            })
        })
        .collect()
}

fn store_results(addr: UserAddr, fds: &[PollFd]) -> Result<()> {
    for (entry, fd) in (0u64..).zip(fds) {
        user::write(
            addr.wrapping_add(entry * size_of::<PollFd>() as u64 + REVENTS),
            &fd.revents,
        )?;
    }
    Ok(())
}

/// What each of the three sets of select asks for.
const SET_EVENTS: [u32; 3] = [
    events::IN | events::RDNORM | events::RDBAND | events::HUP | events::ERR,
    events::OUT | events::WRNORM | events::WRBAND | events::ERR,
    events::PRI,
];

/// The three bit sets of select, 64 descriptors a word.
#[derive(Clone, Default)]
struct Sets([Vec<u64>; 3]);

impl Sets {
    /// Reads the first `count` bits of each; NULL is an empty set. EFAULT.
    fn read(addrs: &[UserAddr; 3], count: usize) -> Result<Self> {
        let mut sets = Self::default();
        for (set, addr) in sets.0.iter_mut().zip(addrs) {
            *set = vec![0; count.div_ceil(64)];
            if addr.is_null() {
                continue;
            }
            user::read_bytes(*addr, set.as_mut_slice().as_mut_bytes())?;
            if let (Some(last), 1..) = (set.last_mut(), count % 64) {
                *last &= (1 << (count % 64)) - 1;
            }
        }
        Ok(sets)
    }
    fn store(&self, addrs: &[UserAddr; 3]) -> Result<()> {
        for (set, addr) in self.0.iter().zip(addrs) {
            if !addr.is_null() {
                user::write_bytes(*addr, set.as_slice().as_bytes())?;
            }
        }
        Ok(())
    }
    /// Descriptors in any set, ascending, with the events asked for.
    fn wanted(&self) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        for word in 0..self.0[0].len() {
            let mut any = self.0[0][word] | self.0[1][word] | self.0[2][word];
            while any != 0 {
                let bit = any.trailing_zeros();
                any &= any - 1;
                let events = (0..3)
                    .filter(|set| self.0[*set][word] >> bit & 1 != 0)
                    .map(|set| SET_EVENTS[set]);
                found.push((
                    word * 64 + bit as usize,
                    events.fold(0, |all, events| all | events),
                ));
            }
        }
        found
    }
    /// Empty sets of the same size.
    fn cleared(&self) -> Self {
        Self(self.0.each_ref().map(|set| vec![0; set.len()]))
    }
    /// Marks what `ready` means for `fd` in the sets that `asked` for it.
    fn mark(&mut self, asked: &Self, fd: usize, ready: u32) {
        for (set, events) in SET_EVENTS.iter().enumerate() {
            let bit = 1 << (fd % 64);
            if ready & events != 0 && asked.0[set][fd / 64] & bit != 0 {
                self.0[set][fd / 64] |= bit;
            }
        }
    }
    fn count(&self) -> usize {
        self.0
            .iter()
            .flatten()
            .map(|word| word.count_ones() as usize)
            .sum()
    }
}

fn start_select(
    count: i32,
    addrs: [UserAddr; 3],
    timeout: Timeout,
    mask: Option<signal::Set>,
    left: Option<TimeLeft>,
) -> Result<Flow> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let process = current().process();
    let asked = Sets::read(&addrs, limit_to_table(&process.descriptors, count))?;
    let mut interests = Vec::new();
    for (fd, wanted) in asked.wanted() {
        interests.push(Interest {
            place: fd,
            open: process.descriptors.get(fd as i32)?,
            wanted,
        });
    }
    crate::net::turn();
    let mut found = asked.cleared();
    let ready = interest::look(&interests, |fd, ready| found.mark(&asked, fd, ready));
    if ready > 0 || (timeout == Timeout::Now && mask.is_none()) {
        found.store(&addrs)?;
        if let Some(left) = left {
            left.store(timeout);
        }
        return Ok(Flow::Done(Ok(found.count())));
    }
    let call = async move {
        interest::wait(&interests, timeout, |fd, ready| {
            found.mark(&asked, fd, ready)
        })
        .await?;
        found.store(&addrs)?;
        Ok(found.count())
    };
    Ok(wait(call, timeout, mask, left))
}

/// The sets may be shorter than `count` says: only open descriptors count.
fn limit_to_table(table: &DescriptorTable, count: usize) -> usize {
    const FD_SETSIZE: usize = 1024;
    if count <= FD_SETSIZE {
        return count;
    }
    let used = table.descriptors().last().map_or(0, |fd| *fd as usize + 1);
    count.min(used.next_multiple_of(64).max(FD_SETSIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<T>(values: &mut [T]) -> UserAddr {
        UserAddr::new(values.as_mut_ptr() as u64)
    }

    #[test]
    fn sets_are_read_up_to_the_given_number_of_descriptors() {
        let (mut read, mut write) = ([0b1011u64, u64::MAX], [0b0010u64, 0]);
        let addrs = [at(&mut read), at(&mut write), UserAddr::new(0)];
        let sets = Sets::read(&addrs, 66).unwrap();
        let wanted = sets.wanted();
        let descriptors: Vec<usize> = wanted.iter().map(|(fd, _)| *fd).collect();
        assert_eq!(descriptors, [0, 1, 3, 64, 65]);
        assert_eq!(wanted[0].1, SET_EVENTS[0]);
        assert_eq!(wanted[1].1, SET_EVENTS[0] | SET_EVENTS[1]);
    }

    #[test]
    fn results_hold_what_was_asked_for_and_is_ready() {
        let (mut read, mut write) = ([0b11u64], [0b10u64]);
        let addrs = [at(&mut read), at(&mut write), UserAddr::new(0)];
        let asked = Sets::read(&addrs, 2).unwrap();
        let mut found = asked.cleared();
        found.mark(&asked, 0, events::OUT);
        assert_eq!(found.count(), 0);
        found.mark(&asked, 0, events::HUP);
        found.mark(&asked, 1, events::OUT | events::ERR);
        assert_eq!(found.count(), 3);
        found.store(&addrs).unwrap();
        assert_eq!((read, write), ([0b11], [0b10]));
    }
}
