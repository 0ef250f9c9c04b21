//! /proc/sys: what sysctl(8) would show.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::boot;
use crate::errno::Result;
use crate::fs::synthetic::{self, Entry, Subject};
use crate::syscall::identity;

synthetic::entries! {
    FS "file/proc/sys/fs" = Entry::Directory(FS_ENTRIES, None);
    KERNEL "file/proc/sys/kernel" = Entry::Directory(KERNEL_ENTRIES, None);
    NET "file/proc/sys/net" = Entry::Directory(NET_ENTRIES, None);
    VM "file/proc/sys/vm" = Entry::Directory(VM_ENTRIES, None);
}

/// Entries of /proc/sys.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("fs", Entry::Piece(&FS)),
    ("kernel", Entry::Piece(&KERNEL)),
    ("net", Entry::Piece(&NET)),
    ("vm", Entry::Piece(&VM)),
];

const FS_ENTRIES: &[(&str, Entry)] = &[
    ("file-max", Entry::Fixed("1048576\n")),
    ("file-nr", Entry::Fixed("64\t0\t1048576\n")),
    (
        "inotify",
        Entry::Directory(
            &[
                ("max_queued_events", Entry::Fixed("16384\n")),
                ("max_user_instances", Entry::Fixed("1024\n")),
                ("max_user_watches", Entry::Fixed("1048576\n")),
            ],
            None,
        ),
    ),
    ("nr_open", Entry::Fixed("1048576\n")),
    ("pipe-max-size", Entry::Fixed("1048576\n")),
];

const KERNEL_ENTRIES: &[(&str, Entry)] = &[
    ("cap_last_cap", Entry::Fixed("40\n")),
    ("core_pattern", Entry::Fixed("core\n")),
    ("hostname", Entry::Text(hostname)),
    ("ngroups_max", Entry::Fixed("65536\n")),
    ("osrelease", Entry::Text(release)),
    ("ostype", Entry::Fixed("Linux\n")),
    ("perf_event_paranoid", Entry::Fixed("4\n")),
    ("pid_max", Entry::Fixed("4194304\n")),
    (
        "random",
        Entry::Directory(
            &[
                ("boot_id", Entry::Text(boot_id)),
                ("entropy_avail", Entry::Fixed("256\n")),
                ("poolsize", Entry::Fixed("256\n")),
                ("uuid", Entry::Text(uuid)),
            ],
            None,
        ),
    ),
    ("threads-max", Entry::Fixed("32768\n")),
    ("version", Entry::Text(version)),
];

const NET_ENTRIES: &[(&str, Entry)] = &[
    (
        "core",
        Entry::Directory(
            &[
                ("rmem_default", Entry::Fixed("212992\n")),
                ("rmem_max", Entry::Fixed("212992\n")),
                ("somaxconn", Entry::Fixed("4096\n")),
                ("wmem_default", Entry::Fixed("212992\n")),
                ("wmem_max", Entry::Fixed("212992\n")),
            ],
            None,
        ),
    ),
    (
        "ipv4",
        Entry::Directory(
            &[
                ("ip_local_port_range", Entry::Fixed("32768\t60999\n")),
                ("ip_unprivileged_port_start", Entry::Fixed("0\n")),
                ("tcp_fin_timeout", Entry::Fixed("60\n")),
                ("tcp_keepalive_time", Entry::Fixed("7200\n")),
                ("tcp_max_syn_backlog", Entry::Fixed("4096\n")),
                ("tcp_rmem", Entry::Fixed("4096\t131072\t6291456\n")),
                ("tcp_wmem", Entry::Fixed("4096\t16384\t4194304\n")),
            ],
            None,
        ),
    ),
    (
        "ipv6",
        Entry::Directory(
            &[(
                "conf",
                Entry::Directory(&[("all", Entry::Directory(IPV6_ALL, None))], None),
            )],
            None,
        ),
    ),
];

const IPV6_ALL: &[(&str, Entry)] = &[("disable_ipv6", Entry::Fixed("0\n"))];

const VM_ENTRIES: &[(&str, Entry)] = &[
    ("max_map_count", Entry::Fixed("1048576\n")),
    ("mmap_min_addr", Entry::Fixed("65536\n")),
    ("nr_hugepages", Entry::Fixed("0\n")),
    ("overcommit_memory", Entry::Fixed("1\n")),
    ("overcommit_ratio", Entry::Fixed("50\n")),
    ("swappiness", Entry::Fixed("60\n")),
];

fn hostname(_: Subject) -> Result<Vec<u8>> {
    Ok([boot::hostname().as_slice(), b"\n"].concat())
}

fn release(_: Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", identity::RELEASE).into_bytes())
}

fn version(_: Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", identity::VERSION).into_bytes())
}

/// 16 bytes as a random (version 4) UUID.
fn uuid_text(mut bytes: [u8; 16]) -> Vec<u8> {
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('\n');
    text.into_bytes()
}

fn uuid(_: Subject) -> Result<Vec<u8>> {
    let mut bytes = [0; 16];
    crate::random::fill(&mut bytes);
    Ok(uuid_text(bytes))
}

/// The same for as long as the machine runs.
fn boot_id(_: Subject) -> Result<Vec<u8>> {
    Ok(uuid_text(boot::id()))
}
