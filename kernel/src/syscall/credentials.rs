//! Who the program is: user and group ids. They guard nothing inside of the guest,
//! where one program is alone with its files; but a program that gave up being root
//! checks that it did.

use alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::mm::user::{self, UserAddr};
use crate::sched;

/// "Leave it as it is."
const KEEP: u32 = u32::MAX;
/// Groups of a process, at most (`NGROUPS_MAX`).
const GROUPS: usize = 65_536;

/// Real, effective and saved id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Who started the program.
    pub real: u32,
    /// As whom it acts.
    pub effective: u32,
    /// To whom it may return.
    pub saved: u32,
}

/// Users and groups of a process.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Users.
    pub user: Ids,
    /// Groups.
    pub group: Ids,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl Ids {
    const fn all(id: u32) -> Self {
        Self {
            real: id,
            effective: id,
            saved: id,
        }
    }
    fn allows(&self, id: u32) -> bool {
        id == KEEP || id == self.real || id == self.effective || id == self.saved
    }
    /// setuid, setgid.
    fn set(&mut self, id: u32, root: bool) -> Result<()> {
        if id == KEEP {
            return Err(Errno::EINVAL);
        }
        if root {
            *self = Self::all(id);
        } else if id == self.real || id == self.saved {
            self.effective = id;
        } else {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
    /// setreuid, setregid.
    fn set_both(&mut self, real: u32, effective: u32, root: bool) -> Result<()> {
        let old = *self;
        let real_allowed = real == KEEP || real == old.real || real == old.effective;
        if !(root || real_allowed && old.allows(effective)) {
            return Err(Errno::EPERM);
        }
        self.replace(real, effective, KEEP);
        if real != KEEP || effective != KEEP && effective != old.real {
            self.saved = self.effective;
        }
        Ok(())
    }
    /// setresuid, setresgid.
    fn set_all(&mut self, real: u32, effective: u32, saved: u32, root: bool) -> Result<()> {
        if !root && ![real, effective, saved].iter().all(|id| self.allows(*id)) {
            return Err(Errno::EPERM);
        }
        self.replace(real, effective, saved);
        Ok(())
    }
    fn replace(&mut self, real: u32, effective: u32, saved: u32) {
        let places = [
            (&mut self.real, real),
            (&mut self.effective, effective),
            (&mut self.saved, saved),
        ];
        for (place, id) in places {
            if id != KEEP {
                *place = id;
            }
        }
    }
}

impl Credentials {
    /// Those of whoever started the machine.
    pub fn new(user: u32, group: u32) -> Self {
        Self {
            user: Ids::all(user),
            group: Ids::all(group),
            groups: Vec::new(),
        }
    }
    const fn is_root(&self) -> bool {
        self.user.effective == 0
    }
}

fn with<T>(act: impl FnOnce(&mut Credentials) -> T) -> T {
    act(&mut sched::current().process().credentials.lock())
}

fn change(
    which: impl FnOnce(&mut Credentials) -> &mut Ids,
    act: impl FnOnce(&mut Ids, bool) -> Result<()>,
) -> Result<()> {
    with(|credentials| {
        let root = credentials.is_root();
        act(which(credentials), root)
    })
}

/// getuid(2).
pub fn getuid() -> Result<usize> {
    Ok(with(|credentials| credentials.user.real) as usize)
}

/// geteuid(2).
pub fn geteuid() -> Result<usize> {
    Ok(with(|credentials| credentials.user.effective) as usize)
}

/// getgid(2).
pub fn getgid() -> Result<usize> {
    Ok(with(|credentials| credentials.group.real) as usize)
}

/// getegid(2).
pub fn getegid() -> Result<usize> {
    Ok(with(|credentials| credentials.group.effective) as usize)
}

/// getresuid(2).
pub fn getresuid(real: UserAddr, effective: UserAddr, saved: UserAddr) -> Result<()> {
    write_ids(with(|credentials| credentials.user), real, effective, saved)
}

/// getresgid(2).
pub fn getresgid(real: UserAddr, effective: UserAddr, saved: UserAddr) -> Result<()> {
    write_ids(
        with(|credentials| credentials.group),
        real,
        effective,
        saved,
    )
}

fn write_ids(ids: Ids, real: UserAddr, effective: UserAddr, saved: UserAddr) -> Result<()> {
    user::write(real, &ids.real)?;
    user::write(effective, &ids.effective)?;
    user::write(saved, &ids.saved)
}

/// setuid(2).
pub fn setuid(id: u32) -> Result<()> {
    change(|all| &mut all.user, |ids, root| ids.set(id, root))
}

/// setgid(2).
pub fn setgid(id: u32) -> Result<()> {
    change(|all| &mut all.group, |ids, root| ids.set(id, root))
}

/// setreuid(2).
pub fn setreuid(real: u32, effective: u32) -> Result<()> {
    change(
        |all| &mut all.user,
        |ids, root| ids.set_both(real, effective, root),
    )
}

/// setregid(2).
pub fn setregid(real: u32, effective: u32) -> Result<()> {
    change(
        |all| &mut all.group,
        |ids, root| ids.set_both(real, effective, root),
    )
}

/// setresuid(2).
pub fn setresuid(real: u32, effective: u32, saved: u32) -> Result<()> {
    change(
        |all| &mut all.user,
        |ids, root| ids.set_all(real, effective, saved, root),
    )
}

/// setresgid(2).
pub fn setresgid(real: u32, effective: u32, saved: u32) -> Result<()> {
    change(
        |all| &mut all.group,
        |ids, root| ids.set_all(real, effective, saved, root),
    )
}

/// setfsuid(2): answers who it was; the file system asks nobody.
pub fn setfsuid(_id: u32) -> Result<usize> {
    geteuid()
}

/// setfsgid(2).
pub fn setfsgid(_id: u32) -> Result<usize> {
    getegid()
}

/// getgroups(2).
pub fn getgroups(size: i32, list: UserAddr) -> Result<usize> {
    let room = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let groups = with(|credentials| credentials.groups.clone());
    if room == 0 {
        return Ok(groups.len());
    }
    if room < groups.len() {
        return Err(Errno::EINVAL);
    }
    for (at, group) in groups.iter().enumerate() {
        user::write(list.wrapping_add(4 * at as u64), group)?;
    }
    Ok(groups.len())
}

/// setgroups(2).
pub fn setgroups(size: i32, list: UserAddr) -> Result<()> {
    if !with(|credentials| credentials.is_root()) {
        return Err(Errno::EPERM);
    }
    let count = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if count > GROUPS {
        return Err(Errno::EINVAL);
    }
    let read = |at: usize| user::read::<u32>(list.wrapping_add(4 * at as u64));
    let mut groups = (0..count).map(read).collect::<Result<Vec<u32>>>()?;
    groups.sort_unstable();
    with(|credentials| credentials.groups = groups);
    Ok(())
}
