//! Files about the whole machine: memory, processors, load.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use spore_hal::cpu::cpuid;
use spore_hal::{direct, time};

use crate::boot;
use crate::errno::Result;
use crate::fs::synthetic::Subject;
use crate::mm::frames;
use crate::sched;
use crate::syscall::identity;

/// Processors that the program sees.
pub fn processors() -> u32 {
    direct::boot_info().vcpus.max(1)
}

/// Their numbers as a list such as `0-3`.
pub fn processor_list() -> String {
    match processors() {
        1 => String::from("0"),
        count => format!("0-{}", count - 1),
    }
}

/// Time since boot, ns.
fn up() -> u64 {
    time::monotonic().saturating_sub(boot::started())
}

/// /proc/meminfo.
pub fn meminfo(_: Subject) -> Result<Vec<u8>> {
    let (all, free) = frames::totals();
    let rows = [
        ("MemTotal", all),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", all - free),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", all - free),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("CommitLimit", all),
        ("Committed_AS", all - free),
        ("VmallocTotal", 34_359_738_367 << 10),
        ("VmallocUsed", 0),
        ("AnonHugePages", 0),
    ];
    let mut text = String::new();
    for (name, bytes) in rows {
        text.push_str(&format!(
            "{:<15} {:>8} kB\n",
            format!("{name}:"),
            bytes / 1024
        ));
    }
    text.push_str(
        "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n",
    );
    Ok(text.into_bytes())
}

fn words(leaf: (u32, u32, u32, u32)) -> [u32; 4] {
    [leaf.0, leaf.1, leaf.2, leaf.3]
}

/// Name of the maker (leaf 0) and of the model (leaves 0x80000002 to 4).
fn names() -> (String, String) {
    let (_, b, c, d) = cpuid(0, 0);
    let vendor: Vec<u8> = [b, d, c]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut model = Vec::new();
    if cpuid(0x8000_0000, 0).0 >= 0x8000_0004 {
        for leaf in 0x8000_0002..=0x8000_0004 {
            model.extend(
                words(cpuid(leaf, 0))
                    .iter()
                    .flat_map(|word| word.to_le_bytes()),
            );
        }
    }
    let text = |bytes: &[u8]| {
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        String::from(String::from_utf8_lossy(&bytes[..end]).trim())
    };
    (text(&vendor), text(&model))
}

/// Flag names of leaf 1 (edx, ecx) and leaf 7 (ebx), as far as programs look for them.
fn flags() -> String {
    const EDX1: [(u32, &str); 13] = [
        (0, "fpu"),
        (4, "tsc"),
        (5, "msr"),
        (6, "pae"),
        (8, "cx8"),
        (9, "apic"),
        (13, "pge"),
        (15, "cmov"),
        (19, "clflush"),
        (23, "mmx"),
        (24, "fxsr"),
        (25, "sse"),
        (26, "sse2"),
    ];
    const ECX1: [(u32, &str); 14] = [
        (0, "pni"),
        (1, "pclmulqdq"),
        (9, "ssse3"),
        (12, "fma"),
        (13, "cx16"),
        (19, "sse4_1"),
        (20, "sse4_2"),
        (22, "movbe"),
        (23, "popcnt"),
        (25, "aes"),
        (26, "xsave"),
        (28, "avx"),
        (29, "f16c"),
        (30, "rdrand"),
    ];
    const EBX7: [(u32, &str); 13] = [
        (0, "fsgsbase"),
        (3, "bmi1"),
        (5, "avx2"),
        (8, "bmi2"),
        (9, "erms"),
        (16, "avx512f"),
        (17, "avx512dq"),
        (18, "rdseed"),
        (19, "adx"),
        (28, "avx512cd"),
        (29, "sha_ni"),
        (30, "avx512bw"),
        (31, "avx512vl"),
    ];
    let (_, _, ecx, edx) = cpuid(1, 0);
    let (_, ebx, _, _) = cpuid(7, 0);
    let mut list = String::new();
    for (word, names) in [(edx, &EDX1[..]), (ecx, &ECX1[..]), (ebx, &EBX7[..])] {
        for (_, name) in names.iter().filter(|(bit, _)| word >> bit & 1 == 1) {
            list.push_str(name);
            list.push(' ');
        }
    }
    list.push_str("syscall nx rdtscp lm constant_tsc nonstop_tsc hypervisor");
    list
}

/// Frequency in kHz that the processor states (leaf 0x16), else a round figure.
fn kilohertz() -> u32 {
    if cpuid(0, 0).0 >= 0x16 {
        let (base, ..) = cpuid(0x16, 0);
        if base & 0xFFFF != 0 {
            return (base & 0xFFFF) * 1000;
        }
    }
    2_000_000
}

/// /proc/cpuinfo.
pub fn cpuinfo(_: Subject) -> Result<Vec<u8>> {
    let (vendor, model) = names();
    let (signature, ..) = cpuid(1, 0);
    let family = (signature >> 8 & 0xF)
        + if signature >> 8 & 0xF == 0xF {
            signature >> 20 & 0xFF
        } else {
            0
        };
    let number = (signature >> 4 & 0xF) | (signature >> 12 & 0xF0);
    let (stepping, khz, count, flags) = (signature & 0xF, kilohertz(), processors(), flags());
    let mut text = String::new();
    for processor in 0..count {
        text.push_str(&format!(
            "processor\t: {processor}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {number}\nmodel name\t: {model}\n\
             stepping\t: {stepping}\ncpu MHz\t\t: {}.{:03}\ncache size\t: 1024 KB\nphysical id\t: 0\nsiblings\t: {count}\n\
             core id\t\t: {processor}\ncpu cores\t: {count}\nfpu\t\t: yes\nflags\t\t: {flags}\nbogomips\t: {}.00\n\
             clflush size\t: 64\ncache_alignment\t: 64\n\n",
            khz / 1000,
            khz % 1000,
            khz / 500,
        ));
    }
    Ok(text.into_bytes())
}

/// /proc/stat.
pub fn stat(_: Subject) -> Result<Vec<u8>> {
    const TICK: u64 = 10_000_000;
    let busy = crate::stats::busy_nanoseconds() / TICK;
    let idle = (up() / TICK).saturating_sub(busy);
    let booted = time::realtime().saturating_sub(up()) / 1_000_000_000;
    let mut text = format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n");
    for processor in 0..processors() {
        text.push_str(&format!("cpu{processor} {busy} 0 0 {idle} 0 0 0 0 0 0\n"));
    }
    let threads = sched::current().process().threads.lock().len();
    text.push_str(&format!(
        "intr 0\nctxt 0\nbtime {booted}\nprocesses {threads}\nprocs_running 1\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n"
    ));
    Ok(text.into_bytes())
}

/// /proc/uptime.
pub fn uptime(_: Subject) -> Result<Vec<u8>> {
    let hundredths =
        |nanoseconds: u64| (nanoseconds / 1_000_000_000, nanoseconds / 10_000_000 % 100);
    let (seconds, part) = hundredths(up());
    let (idle, idle_part) = hundredths(up().saturating_sub(crate::stats::busy_nanoseconds()));
    Ok(format!("{seconds}.{part:02} {idle}.{idle_part:02}\n").into_bytes())
}

/// /proc/loadavg.
pub fn loadavg(_: Subject) -> Result<Vec<u8>> {
    let threads = sched::current().process().threads.lock().len();
    Ok(format!(
        "0.00 0.00 0.00 1/{threads} {}\n",
        crate::sched::current().process().pid()
    )
    .into_bytes())
}

/// /proc/version.
pub fn version(_: Subject) -> Result<Vec<u8>> {
    Ok(format!(
        "Linux version {} (spore) {}\n",
        identity::RELEASE,
        identity::VERSION
    )
    .into_bytes())
}
