//! The files of one process and of its threads.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use spore_abi::boot::Span;
use spore_hal::direct;

use super::{TASKS, descriptors, maps, net, system};
use crate::boot;
use crate::errno::{Errno, Result};
use crate::fs::inode::Target;
use crate::fs::synthetic::{self, Entry, Subject};
use crate::mm::vma::{Content, prot};
use crate::mm::{for_each_vma, frames};
use crate::process::{Limit, PARENT_PID, Process, UNLIMITED};
use crate::sched::{self, thread::Thread};
use crate::syscall::credentials::Ids;

/// Bytes of a page in the files that count pages.
const PAGE: u64 = 4096;
/// Clock ticks per second (USER_HZ).
const TICK: u64 = 1_000_000_000 / 100;

synthetic::entries! {
    CGROUP "file/proc/self/cgroup" = Entry::Fixed("0::/\n");
    CMDLINE "file/proc/self/cmdline" = Entry::Text(cmdline);
    COMM "file/proc/self/comm" = Entry::Setting(comm, set_comm);
    CWD "file/proc/self/cwd" = Entry::Link(cwd);
    ENVIRON "file/proc/self/environ" = Entry::Text(environ);
    EXE "file/proc/self/exe" = Entry::Link(exe);
    FD "file/proc/self/fd" = Entry::Directory(&[], Some(&descriptors::Links));
    FDINFO "file/proc/self/fdinfo" = Entry::Directory(&[], Some(&descriptors::Infos));
    IO "file/proc/self/io" = Entry::Fixed(IO_TEXT);
    LIMITS "file/proc/self/limits" = Entry::Text(limits);
    MAPS "file/proc/self/maps" = Entry::Text(maps::maps);
    MOUNTINFO "file/proc/self/mountinfo" = Entry::Fixed(MOUNTINFO_TEXT);
    MOUNTS "file/proc/self/mounts" = Entry::Fixed(MOUNTS_TEXT);
    NET "file/proc/self/net" = Entry::Directory(net::ENTRIES, None);
    OOM_ADJ "file/proc/self/oom_adj" = Entry::Setting(zero, ignore);
    OOM_SCORE "file/proc/self/oom_score" = Entry::Fixed("0\n");
    OOM_SCORE_ADJ "file/proc/self/oom_score_adj" = Entry::Setting(zero, ignore);
    PERSONALITY "file/proc/self/personality" = Entry::Fixed("00000000\n");
    ROOT "file/proc/self/root" = Entry::Link(root);
    SMAPS "file/proc/self/smaps" = Entry::Text(maps::smaps);
    STAT "file/proc/self/stat" = Entry::Text(stat);
    STATM "file/proc/self/statm" = Entry::Text(statm);
    STATUS "file/proc/self/status" = Entry::Text(status);
}

/// `/proc/PID`.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("cgroup", Entry::Piece(&CGROUP)),
    ("cmdline", Entry::Piece(&CMDLINE)),
    ("comm", Entry::Piece(&COMM)),
    ("cwd", Entry::Piece(&CWD)),
    ("environ", Entry::Piece(&ENVIRON)),
    ("exe", Entry::Piece(&EXE)),
    ("fd", Entry::Piece(&FD)),
    ("fdinfo", Entry::Piece(&FDINFO)),
    ("io", Entry::Piece(&IO)),
    ("limits", Entry::Piece(&LIMITS)),
    ("maps", Entry::Piece(&MAPS)),
    ("mountinfo", Entry::Piece(&MOUNTINFO)),
    ("mounts", Entry::Piece(&MOUNTS)),
    ("net", Entry::Piece(&NET)),
    ("oom_adj", Entry::Piece(&OOM_ADJ)),
    ("oom_score", Entry::Piece(&OOM_SCORE)),
    ("oom_score_adj", Entry::Piece(&OOM_SCORE_ADJ)),
    ("personality", Entry::Piece(&PERSONALITY)),
    ("root", Entry::Piece(&ROOT)),
    ("smaps", Entry::Piece(&SMAPS)),
    ("stat", Entry::Piece(&STAT)),
    ("statm", Entry::Piece(&STATM)),
    ("status", Entry::Piece(&STATUS)),
    ("task", Entry::Directory(&[], Some(&TASKS))),
];

/// `/proc/PID/task/TID`.
pub const TASK_ENTRIES: &[(&str, Entry)] = &[
    ("cgroup", Entry::Piece(&CGROUP)),
    ("cmdline", Entry::Piece(&CMDLINE)),
    ("comm", Entry::Piece(&COMM)),
    ("exe", Entry::Piece(&EXE)),
    ("fd", Entry::Piece(&FD)),
    ("maps", Entry::Piece(&MAPS)),
    ("stat", Entry::Piece(&STAT)),
    ("statm", Entry::Piece(&STATM)),
    ("status", Entry::Piece(&STATUS)),
];

const IO_TEXT: &str = "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n";

const MOUNTS_TEXT: &str = "none / tmpfs rw,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n\
                      sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0\n";

const MOUNTINFO_TEXT: &str = "21 1 0:21 / / rw,relatime - tmpfs none rw\n\
                         22 21 0:22 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
                         23 21 0:23 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro\n";

fn span(span: Span) -> Result<Vec<u8>> {
    Ok(boot::bytes(span).to_vec())
}

fn cmdline(_: Subject) -> Result<Vec<u8>> {
    span(direct::boot_info().argv)
}

fn environ(_: Subject) -> Result<Vec<u8>> {
    span(direct::boot_info().envp)
}

fn thread(subject: Subject) -> Result<&'static Thread> {
    sched::current()
        .process()
        .thread(subject.tid)
        .ok_or(Errno::ESRCH)
}

fn thread_name(thread: &Thread) -> String {
    let name = *thread.name.lock();
    let len = name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(name.len());
    String::from_utf8_lossy(&name[..len]).into_owned()
}

fn comm(subject: Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", thread_name(thread(subject)?)).into_bytes())
}

fn set_comm(subject: Subject, text: &[u8]) -> Result<()> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut name = [0; 16];
    let len = text.len().min(15);
    name[..len].copy_from_slice(&text[..len]);
    *thread(subject)?.name.lock() = name;
    Ok(())
}

fn zero(_: Subject) -> Result<Vec<u8>> {
    Ok(b"0\n".to_vec())
}

fn ignore(_: Subject, _: &[u8]) -> Result<()> {
    Ok(())
}

fn exe(_: Subject) -> Result<Target> {
    Ok(Target::Text(boot::exec_path().to_vec()))
}

fn cwd(_: Subject) -> Result<Target> {
    Ok(Target::Object(
        sched::current().process().fs.lock().cwd.clone(),
    ))
}

fn root(_: Subject) -> Result<Target> {
    Ok(Target::Object(
        sched::current().process().fs.lock().root.clone(),
    ))
}

/// Address-space figures, in bytes.
#[derive(Default)]
struct Usage {
    size: u64,
    data: u64,
    stack: u64,
    text: u64,
    shared: u64,
    resident: u64,
}

/// Resident memory is the RAM that was handed out plus the program's own segments;
/// untouched reservations are not in it.
fn usage() -> Usage {
    let mut usage = Usage::default();
    let mut program = 0;
    for_each_vma(|vma| {
        let len = vma.len();
        usage.size += len;
        match vma.content {
            Content::Named("[stack]") => usage.stack += len,
            Content::Program { .. } if vma.prot & prot::EXEC != 0 => usage.text += len,
            _ if vma.prot & prot::WRITE != 0 && !vma.shared => usage.data += len,
            _ => {}
        }
        if let Content::Program { .. } = vma.content {
            program += len;
        }
        if vma.shared {
            usage.shared += len;
        }
    });
    let (all, free) = frames::totals();
    let used = all
        .saturating_sub(free)
        .saturating_sub(direct::boot_info().free_start);
    usage.resident = used + program;
    usage.shared += program;
    usage
}

fn statm(_: Subject) -> Result<Vec<u8>> {
    let usage = usage();
    let pages = |bytes: u64| bytes / PAGE;
    Ok(format!(
        "{} {} {} {} 0 {} 0\n",
        pages(usage.size),
        pages(usage.resident),
        pages(usage.shared),
        pages(usage.text),
        pages(usage.data + usage.stack)
    )
    .into_bytes())
}

/// proc_pid_stat(5), 52 fields.
fn stat(subject: Subject) -> Result<Vec<u8>> {
    let thread = thread(subject)?;
    let process = sched::current().process();
    let usage = usage();
    let ticks = crate::stats::busy_nanoseconds() / TICK;
    let threads = process.threads.lock().len();
    let started = process.started.saturating_sub(boot::started()) / TICK;
    let (pid, name) = (subject.tid, thread_name(thread));
    let group = process.pid();
    let (size, resident) = (usage.size, usage.resident / PAGE);
    Ok(format!(
        "{pid} ({name}) R {PARENT_PID} {group} {group} 0 -1 4194304 0 0 0 0 {ticks} 0 0 0 20 0 {threads} 0 {started} \
         {size} {resident} 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    .into_bytes())
}

fn status(subject: Subject) -> Result<Vec<u8>> {
    let thread = thread(subject)?;
    let process = sched::current().process();
    let usage = usage();
    let who = process.credentials.lock().clone();
    let ids = |ids: Ids| {
        let Ids {
            real,
            effective,
            saved,
        } = ids;
        format!("{real}\t{effective}\t{saved}\t{effective}")
    };
    let (users, groups) = (ids(who.user), ids(who.group));
    let others: String = who.groups.iter().map(|id| format!("{id} ")).collect();
    let kib = |bytes: u64| bytes / 1024;
    let blocked = thread.signals.lock().mask;
    let pending = crate::signal::pending();
    let (ignored, caught) = dispositions(process);
    let threads = process.threads.lock().len();
    let mask = process.fs.lock().umask;
    let group = process.pid();
    Ok(format!(
        "Name:\t{}\nUmask:\t{mask:04o}\nState:\tR (running)\nTgid:\t{group}\nNgid:\t0\nPid:\t{}\nPPid:\t{PARENT_PID}\nTracerPid:\t0\n\
         Uid:\t{users}\nGid:\t{groups}\nFDSize:\t256\nGroups:\t{others}\n\
         VmPeak:\t{:8} kB\nVmSize:\t{:8} kB\nVmLck:\t       0 kB\nVmPin:\t       0 kB\nVmHWM:\t{:8} kB\nVmRSS:\t{:8} kB\n\
         RssAnon:\t{:8} kB\nRssFile:\t{:8} kB\nRssShmem:\t       0 kB\nVmData:\t{:8} kB\nVmStk:\t{:8} kB\nVmExe:\t{:8} kB\n\
         VmLib:\t       0 kB\nVmPTE:\t       0 kB\nVmSwap:\t       0 kB\nThreads:\t{threads}\nSigQ:\t0/4096\n\
         SigPnd:\t0000000000000000\nShdPnd:\t{pending:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n\
         CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n\
         NoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed:\t{:x}\nCpus_allowed_list:\t{}\n\
         voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n",
        thread_name(thread),
        subject.tid,
        kib(usage.size),
        kib(usage.size),
        kib(usage.resident),
        kib(usage.resident),
        kib(usage.resident.saturating_sub(usage.shared)),
        kib(usage.shared.min(usage.resident)),
        kib(usage.data),
        kib(usage.stack),
        kib(usage.text),
        (1u64 << system::processors().min(63)) - 1,
        system::processor_list(),
    )
    .into_bytes())
}

/// Signals that are ignored and signals that have a handler, as sets.
fn dispositions(process: &Process) -> (u64, u64) {
    let signals = process.signals.lock();
    let set = |wanted: fn(u64) -> bool| {
        (0..)
            .zip(&signals.actions)
            .filter(|(_, action)| wanted(action.handler))
            .fold(0, |set, (bit, _)| set | 1u64 << bit)
    };
    (set(|handler| handler == 1), set(|handler| handler > 1))
}

fn limits(_: Subject) -> Result<Vec<u8>> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let limits: [Limit; 16] = *sched::current().process().limits.lock();
    let number = |value: u64| {
        if value == UNLIMITED {
            String::from("unlimited")
        } else {
            format!("{value}")
        }
    };
    let mut text = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    for ((name, unit), limit) in NAMES.iter().zip(limits) {
        text.push_str(&format!(
            "{name:<25} {:<20} {:<20} {unit:<10}\n",
            number(limit.soft),
            number(limit.hard)
        ));
    }
    Ok(text.into_bytes())
}
