//! /proc/self/maps and smaps.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::errno::Result;
use crate::fs::synthetic::Subject;
use crate::mm::for_each_vma;
use crate::mm::vma::{Content, Vma, prot};

/// Column of the path in a line of maps.
const NAME_COLUMN: usize = 73;

/// One line: `start-end perms offset dev:dev inode path`, as `proc_pid_maps(5)` says.
fn line(vma: &Vma) -> String {
    let flag = |bit: u32, letter: char| if vma.prot & bit != 0 { letter } else { '-' };
    let (device, inode) = match &vma.content {
        Content::File { file, .. } => file.stat().map_or((0, 0), |stat| (stat.device, stat.inode)),
        Content::Program { .. } => (crate::fs::overlay::DEVICE, 1),
        Content::Anonymous | Content::Named(_) => (0, 0),
    };
    let mut line = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {inode} ",
        vma.start,
        vma.end,
        flag(prot::READ, 'r'),
        flag(prot::WRITE, 'w'),
        flag(prot::EXEC, 'x'),
        if vma.shared { 's' } else { 'p' },
        vma.offset(),
        device >> 8,
        device & 0xFF,
    );
    let name = vma.name();
    if !name.is_empty() {
        while line.len() < NAME_COLUMN {
            line.push(' ');
        }
        line.push_str(&name);
    }
    line.push('\n');
    line
}

/// maps. The address space is locked while lines are made: nothing here touches user memory.
pub fn maps(_: Subject) -> Result<Vec<u8>> {
    let mut text = String::new();
    for_each_vma(|vma| text.push_str(&line(vma)));
    Ok(text.into_bytes())
}

/// smaps: sizes in KiB; every mapped page counts as resident.
pub fn smaps(_: Subject) -> Result<Vec<u8>> {
    let mut text = String::new();
    for_each_vma(|vma| {
        let size = vma.len() / 1024;
        text.push_str(&line(vma));
        text.push_str(&format!(
            "Size:           {size:8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n\
             Rss:            {size:8} kB\nPss:            {size:8} kB\n"
        ));
    });
    Ok(text.into_bytes())
}
