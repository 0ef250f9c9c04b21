//! /sys, as far as programs read it: processors, memory limits, huge pages.

use alloc::format;
use alloc::vec::Vec;

use spore_abi::boot::BootInfo;

use crate::errno::Result;
use crate::fs::mount;
use crate::fs::synthetic::{self, Entry, FileSystem, Subject};
use crate::mm::frames;

static SYSTEM: FileSystem = FileSystem {
    device: 0x17,
    magic: 0x6265_6572,
    path: "/sys",
    size: 4096,
    root: &ROOT,
};

/// Mounts it at /sys.
pub fn initialise(_info: &BootInfo) {
    mount::mount_at(b"sys", SYSTEM.root());
}

synthetic::entries! {
    CPUS "file/sys/devices/system/cpu" = Entry::Directory(
            &[
                ("online", Entry::Text(processors)),
                ("possible", Entry::Text(processors)),
                ("present", Entry::Text(processors)),
                ("kernel_max", Entry::Fixed("0\n")),
                ("cpu0", Entry::Directory(CPU, None)),
            ],
            None,
        );
    NODES "file/sys/devices/system/node" = Entry::Directory(
            &[
                ("online", Entry::Fixed("0\n")),
                ("possible", Entry::Fixed("0\n")),
                ("node0", Entry::Directory(NODE, None)),
            ],
            None,
        );
    CGROUP "file/sys/fs/cgroup" = Entry::Directory(CGROUP_ENTRIES, None);
    MM "file/sys/kernel/mm" = Entry::Directory(&[("transparent_hugepage", HUGE)], None);
}

static ROOT: Entry = Entry::Directory(
    &[
        (
            "devices",
            Entry::Directory(&[("system", Entry::Directory(DEVICES_SYSTEM, None))], None),
        ),
        (
            "fs",
            Entry::Directory(&[("cgroup", Entry::Piece(&CGROUP))], None),
        ),
        (
            "kernel",
            Entry::Directory(&[("mm", Entry::Piece(&MM))], None),
        ),
    ],
    None,
);

const DEVICES_SYSTEM: &[(&str, Entry)] =
    &[("cpu", Entry::Piece(&CPUS)), ("node", Entry::Piece(&NODES))];

const NODE: &[(&str, Entry)] = &[("cpulist", Entry::Text(processors))];

const CPU: &[(&str, Entry)] = &[
    ("online", Entry::Fixed("1\n")),
    (
        "topology",
        Entry::Directory(
            &[
                ("core_id", Entry::Fixed("0\n")),
                ("physical_package_id", Entry::Fixed("0\n")),
                ("core_siblings_list", Entry::Fixed("0\n")),
                ("thread_siblings_list", Entry::Fixed("0\n")),
                ("thread_siblings", Entry::Fixed("1\n")),
            ],
            None,
        ),
    ),
];

const CGROUP_ENTRIES: &[(&str, Entry)] = &[
    ("cgroup.controllers", Entry::Fixed("cpu memory pids\n")),
    ("cgroup.procs", Entry::Text(processes)),
    ("cgroup.type", Entry::Fixed("domain\n")),
    ("cpu.max", Entry::Fixed("max 100000\n")),
    ("cpu.weight", Entry::Fixed("100\n")),
    ("memory.current", Entry::Text(memory_used)),
    ("memory.high", Entry::Fixed("max\n")),
    ("memory.max", Entry::Text(memory_all)),
    ("memory.swap.max", Entry::Fixed("0\n")),
    ("pids.max", Entry::Fixed("max\n")),
];

const HUGE: Entry = Entry::Directory(
    &[
        ("enabled", Entry::Fixed("always [madvise] never\n")),
        (
            "defrag",
            Entry::Fixed("always defer defer+madvise [madvise] never\n"),
        ),
        ("hpage_pmd_size", Entry::Fixed("2097152\n")),
    ],
    None,
);

fn processors(_: Subject) -> Result<Vec<u8>> {
    Ok(match crate::fs::procfs::system::processors() {
        1 => b"0\n".to_vec(),
        count => format!("0-{}\n", count - 1).into_bytes(),
    })
}

fn processes(_: Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", crate::sched::current().process().pid()).into_bytes())
}

fn memory_all(_: Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", frames::totals().0).into_bytes())
}

fn memory_used(_: Subject) -> Result<Vec<u8>> {
    let (all, free) = frames::totals();
    Ok(format!("{}\n", all - free).into_bytes())
}
