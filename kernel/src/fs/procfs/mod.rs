//! /proc, as far as programs read it.

mod descriptors;
mod maps;
mod net;
mod process;
mod settings;
pub mod system;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use spore_abi::boot::BootInfo;

use crate::errno::{Errno, Result};
use crate::fs::inode::Target;
use crate::fs::mount;
use crate::fs::synthetic::{self, Entry, FileSystem, Listing, Subject};
use crate::sched;

static SYSTEM: FileSystem = FileSystem {
    device: 0x16,
    magic: 0x9FA0,
    path: "/proc",
    size: 0,
    root: &ROOT,
};

/// Mounts it at /proc.
pub fn initialise(_info: &BootInfo) {
    mount::mount_at(b"proc", SYSTEM.root());
}

synthetic::entries! {
    CMDLINE "file/proc/cmdline" = Entry::Fixed("spore\n");
    CPUINFO "file/proc/cpuinfo" = Entry::Text(system::cpuinfo);
    FILESYSTEMS "file/proc/filesystems" =
        Entry::Fixed("nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\n\terofs\n");
    LOADAVG "file/proc/loadavg" = Entry::Text(system::loadavg);
    MEMINFO "file/proc/meminfo" = Entry::Text(system::meminfo);
    STAT "file/proc/stat" = Entry::Text(system::stat);
    UPTIME "file/proc/uptime" = Entry::Text(system::uptime);
    VERSION "file/proc/version" = Entry::Text(system::version);
}

static ROOT: Entry = Entry::Directory(
    &[
        ("cmdline", Entry::Piece(&CMDLINE)),
        ("cpuinfo", Entry::Piece(&CPUINFO)),
        ("filesystems", Entry::Piece(&FILESYSTEMS)),
        ("loadavg", Entry::Piece(&LOADAVG)),
        ("meminfo", Entry::Piece(&MEMINFO)),
        ("mounts", Entry::Link(mounts)),
        ("net", Entry::Link(net_link)),
        ("self", Entry::Link(own)),
        ("stat", Entry::Piece(&STAT)),
        ("sys", Entry::Directory(settings::ENTRIES, None)),
        ("thread-self", Entry::Link(own_thread)),
        ("uptime", Entry::Piece(&UPTIME)),
        ("version", Entry::Piece(&VERSION)),
    ],
    Some(&Processes),
);

fn text(text: String) -> Result<Target> {
    Ok(Target::Text(text.into_bytes()))
}

fn mounts(_: Subject) -> Result<Target> {
    text(String::from("self/mounts"))
}

fn net_link(_: Subject) -> Result<Target> {
    text(String::from("self/net"))
}

fn own(_: Subject) -> Result<Target> {
    text(format!("{}", process_id()))
}

fn own_thread(_: Subject) -> Result<Target> {
    text(format!(
        "{}/task/{}",
        process_id(),
        sched::current().shown_tid()
    ))
}

/// Process id of the application.
fn process_id() -> i32 {
    sched::current().process().pid()
}

/// Threads of the application by id.
fn thread_ids() -> Vec<i32> {
    let process = sched::current().process();
    let mut ids: Vec<i32> = process
        .threads
        .lock()
        .iter()
        .map(|thread| thread.shown_tid())
        .collect();
    ids.sort_unstable();
    ids
}

/// A number as a directory name: digits without leading zeros. ENOENT.
fn number(name: &str) -> Result<i32> {
    let number: i32 = name.parse().map_err(|_| Errno::ENOENT)?;
    if format!("{number}") == name {
        Ok(number)
    } else {
        Err(Errno::ENOENT)
    }
}

/// The directories of processes; every thread id leads to its process, unlisted.
struct Processes;

static PROCESS: Entry = Entry::Directory(process::ENTRIES, None);

impl Listing for Processes {
    fn names(&self, _: Subject) -> Vec<String> {
        alloc::vec![format!("{}", process_id())]
    }
    fn entry(&self, _: Subject, name: &str) -> Result<(&'static Entry, Subject)> {
        let tid = number(name)?;
        if tid == process_id() || thread_ids().contains(&tid) {
            return Ok((&PROCESS, Subject { tid, fd: 0 }));
        }
        Err(Errno::ENOENT)
    }
}

/// `task`: the threads of a process.
struct Tasks;

static TASKS: Tasks = Tasks;
static TASK: Entry = Entry::Directory(process::TASK_ENTRIES, None);

impl Listing for Tasks {
    fn names(&self, _: Subject) -> Vec<String> {
        thread_ids().into_iter().map(|id| format!("{id}")).collect()
    }
    fn entry(&self, _: Subject, name: &str) -> Result<(&'static Entry, Subject)> {
        let tid = number(name)?;
        if thread_ids().contains(&tid) {
            Ok((&TASK, Subject { tid, fd: 0 }))
        } else {
            Err(Errno::ENOENT)
        }
    }
}
