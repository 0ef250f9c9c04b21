//! Page tables of the application's address space.
//!
//! Windows that the monitor mapped (arena, program, kernel) are large pages
//! that mostly never change. This module edits the rest: large and small pages
//! below the kernel window. Entries are written with accessed and dirty bits
//! set (every walk that has to set them traps under shadow paging).
//!
//! Making an entry present needs no flush. Taking a page or a permission away
//! does: collect a batch, then call [`crate::trap::flush_translations`] before
//! the frames are used again.

use spore_abi::layout::{DIRECT_VA, HUGE, LAYERS_END, LAYERS_GPA, PAGE, PML4_GPA, USER_END};

use crate::direct;

/// Present, writable, user, accessed, dirty.
pub const USER_FLAGS: u64 = 0x67;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const LARGE: u64 = 0x80;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What the tables say about one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing; the size of the hole's entry is the argument (2 MiB or 4 KiB).
    None,
    /// A small page.
    Page {
        /// Guest-physical address.
        gpa: u64,
        /// May be written.
        writable: bool,
    },
    /// A 2 MiB page.
    Huge {
        /// Guest-physical address.
        gpa: u64,
        /// May be written.
        writable: bool,
    },
}

/// Gives pages for new tables: zeroed, guest-physical; `None` when memory is out.
pub type TablePages<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// No page was left for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTables;

fn entry(table: u64, index: usize) -> *mut u64 {
    (DIRECT_VA + table + 8 * index as u64) as *mut u64
}

fn load(table: u64, index: usize) -> u64 {
    // SAFETY: tables are reached only from PML4_GPA downwards through entries that this
    // module or the monitor wrote; all lie in mapped RAM; index is below 512.
    unsafe { entry(table, index).read_volatile() }
}

fn store(table: u64, index: usize, value: u64) {
    // SAFETY: as for `load`; what the value maps lies below the kernel window, so no
    // Rust object of the kernel changes its meaning.
    unsafe { entry(table, index).write_volatile(value) }
}

fn index(va: u64, level: u32) -> usize {
    (va >> (12 + 9 * level)) as usize & 511
}

fn check_user(va: u64, align: u64) {
    assert!(va < USER_END && va.is_multiple_of(align), "not a user page");
}

fn check_frame(gpa: u64, len: u64) {
    let ram = gpa >= spore_abi::layout::FREE_GPA && gpa + len <= direct::ram_size();
    let layer = gpa >= LAYERS_GPA && gpa + len <= LAYERS_END;
    assert!(ram || layer, "not a frame for applications");
}

/// The table that holds the entry for `va` at `level` (1 = page directory, 0 = page
/// table), made if asked for. `None`: absent, or a larger page lies there.
fn table(va: u64, level: u32, pages: Option<TablePages<'_>>) -> Result<Option<u64>, OutOfTables> {
    let mut current = PML4_GPA;
    let mut pages = pages;
    for step in (level + 1..4).rev() {
        let value = load(current, index(va, step));
        if value & PRESENT == 0 {
            let Some(pages) = pages.as_deref_mut() else {
                return Ok(None);
            };
            let page = pages().ok_or(OutOfTables)?;
            store(current, index(va, step), page | USER_FLAGS);
            current = page;
        } else if value & LARGE != 0 {
            return Ok(None);
        } else {
            current = value & ADDRESS;
        }
    }
    Ok(Some(current))
}

/// Looks `va` up.
pub fn lookup(va: u64) -> Mapping {
    let Ok(Some(directory)) = table(va, 1, None) else {
        return Mapping::None;
    };
    let value = load(directory, index(va, 1));
    if value & PRESENT == 0 {
        return Mapping::None;
    }
    if value & LARGE != 0 {
        return Mapping::Huge {
            gpa: value & ADDRESS & !(HUGE - 1),
            writable: value & WRITABLE != 0,
        };
    }
    let value = load(value & ADDRESS, index(va, 0));
    if value & PRESENT == 0 {
        return Mapping::None;
    }
    Mapping::Page {
        gpa: value & ADDRESS,
        writable: value & WRITABLE != 0,
    }
}

/// Whether the 2 MiB block around `va` is described by small pages.
pub fn has_page_table(va: u64) -> bool {
    matches!(table(va, 0, None), Ok(Some(_)))
}

/// Maps a 2 MiB page. The block must not be described by small pages.
pub fn map_huge(
    va: u64,
    gpa: u64,
    writable: bool,
    pages: TablePages<'_>,
) -> Result<(), OutOfTables> {
    check_user(va, HUGE);
    check_frame(gpa, HUGE);
    assert!(gpa.is_multiple_of(HUGE), "frame is not aligned");
    let directory = table(va, 1, Some(pages))?.ok_or(OutOfTables)?;
    let flags = if writable {
        USER_FLAGS
    } else {
        USER_FLAGS & !WRITABLE
    };
    store(directory, index(va, 1), gpa | flags | LARGE);
    Ok(())
}

/// Maps a small page, splitting nothing: a large page there is a caller's mistake
/// (call [`split`] first).
pub fn map_page(
    va: u64,
    gpa: u64,
    writable: bool,
    pages: TablePages<'_>,
) -> Result<(), OutOfTables> {
    check_user(va, PAGE);
    check_frame(gpa, PAGE);
    let leaf = table(va, 0, Some(pages))?.ok_or(OutOfTables)?;
    let flags = if writable {
        USER_FLAGS
    } else {
        USER_FLAGS & !WRITABLE
    };
    store(leaf, index(va, 0), gpa | flags);
    Ok(())
}

/// Removes a small page; answers its frame and whether it was writable. Needs a flush.
pub fn unmap_page(va: u64) -> Option<(u64, bool)> {
    check_user(va, PAGE);
    let leaf = table(va, 0, None).ok()??;
    let value = load(leaf, index(va, 0));
    if value & PRESENT == 0 {
        return None;
    }
    store(leaf, index(va, 0), 0);
    Some((value & ADDRESS, value & WRITABLE != 0))
}

/// Changes whether a small page may be written; taking it away needs a flush.
pub fn set_writable(va: u64, writable: bool) {
    check_user(va, PAGE);
    if let Ok(Some(leaf)) = table(va, 0, None) {
        let value = load(leaf, index(va, 0));
        if value & PRESENT != 0 {
            store(
                leaf,
                index(va, 0),
                if writable {
                    value | WRITABLE
                } else {
                    value & !WRITABLE
                },
            );
        }
    }
}

/// Removes a 2 MiB page; answers its frame. Needs a flush.
pub fn unmap_huge(va: u64) -> Option<u64> {
    check_user(va, HUGE);
    let directory = table(va, 1, None).ok()??;
    let value = load(directory, index(va, 1));
    if value & PRESENT == 0 || value & LARGE == 0 {
        return None;
    }
    store(directory, index(va, 1), 0);
    Some(value & ADDRESS & !(HUGE - 1))
}

/// Splits the 2 MiB page around `va` into 512 small ones with the same frames and rights.
pub fn split(va: u64, pages: TablePages<'_>) -> Result<(), OutOfTables> {
    let block = va & !(HUGE - 1);
    check_user(block, HUGE);
    let Some(directory) = table(block, 1, None)? else {
        return Ok(());
    };
    let value = load(directory, index(block, 1));
    if value & PRESENT == 0 || value & LARGE == 0 {
        return Ok(());
    }
    let page = pages().ok_or(OutOfTables)?;
    let base = value & ADDRESS & !(HUGE - 1);
    for slot in 0..512 {
        store(page, slot, (base + PAGE * slot as u64) | value & 0x67);
    }
    store(directory, index(block, 1), page | USER_FLAGS);
    Ok(())
}

/// Removes the page table of the 2 MiB block at `va` and answers it, so that the
/// block can be mapped anew; all its entries must be absent. Needs a flush.
pub fn take_page_table(va: u64) -> Option<u64> {
    check_user(va, HUGE);
    let directory = table(va, 1, None).ok()??;
    let value = load(directory, index(va, 1));
    if value & PRESENT == 0 || value & LARGE != 0 {
        return None;
    }
    store(directory, index(va, 1), 0);
    Some(value & ADDRESS)
}

/// Clears a page that becomes a table.
pub fn zero_table(gpa: u64) {
    assert!(
        gpa + PAGE <= direct::ram_size() && gpa >= spore_abi::layout::PT_POOL_GPA,
        "not a table page"
    );
    // SAFETY: the caller has just been given this page and nothing refers to it.
    unsafe { core::ptr::write_bytes((DIRECT_VA + gpa) as *mut u8, 0, PAGE as usize) }
}
