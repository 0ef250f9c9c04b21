//! Builds the guest's first page tables.
//!
//! Accessed and dirty bits are set in every entry: otherwise a processor, or the
//! software that stands in for one, writes them back page by page. Nothing is
//! marked no-execute: a JIT may place code in any page.

use spore_abi::layout::{HUGE, PAGE, PML4_GPA, PT_POOL_END, PT_POOL_GPA};

use crate::memory::{GuestMemory, OutOfRange};

/// Present, writable, user, accessed, dirty: every table entry.
pub const TABLE: u64 = 0x67;
/// This entry maps 2 MiB.
pub const LARGE: u64 = 0x80;
/// Bits of an entry that hold the address.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a mapping allows, as page-table bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Access {
    /// Read and execute, at any privilege.
    ReadOnly = 0x65,
    /// Read, write and execute, at any privilege.
    Full = 0x67,
    /// Read, write and execute at CPL0 only.
    Supervisor = 0x63,
}

/// Why a mapping cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// Addresses or length are no multiples of the page size.
    Misaligned,
    /// Something is mapped there already.
    Taken,
    /// The page-table pool is used up.
    PoolEmpty,
    /// The address is not canonical or lies in the upper half.
    NoSuchAddress,
}

impl From<OutOfRange> for MapError {
    fn from(_: OutOfRange) -> Self {
        Self::PoolEmpty
    }
}

/// The tables under construction.
pub struct PageTables<'a> {
    memory: &'a GuestMemory,
    next: u64,
}

impl<'a> PageTables<'a> {
    /// Starts with an empty top-level table. The pool must be zero.
    pub fn new(memory: &'a GuestMemory) -> Self {
        Self {
            memory,
            next: PT_POOL_GPA,
        }
    }

    /// First unused page of the pool.
    pub fn next_free(&self) -> u64 {
        self.next
    }

    /// Maps `len` bytes with 2 MiB pages.
    pub fn map_large(
        &mut self,
        va: u64,
        gpa: u64,
        len: u64,
        access: Access,
    ) -> Result<(), MapError> {
        check(va, gpa, len, HUGE)?;
        let mut done = 0;
        while done < len {
            let table = self.table_for(va + done, 21)?;
            // Fill this directory as far as it goes before walking again.
            let mut index = index_at(va + done, 21);
            while index < 512 && done < len {
                self.set(table + index * 8, (gpa + done) | access as u64 | LARGE)?;
                index += 1;
                done += HUGE;
            }
        }
        Ok(())
    }

    /// Maps one 4 KiB page.
    pub fn map_page(&mut self, va: u64, gpa: u64, access: Access) -> Result<(), MapError> {
        check(va, gpa, PAGE, PAGE)?;
        let table = self.table_for(va, 12)?;
        self.set(table + index_at(va, 12) * 8, gpa | access as u64)
    }

    fn set(&self, entry: u64, value: u64) -> Result<(), MapError> {
        if self.memory.read::<u64>(entry)? & 1 != 0 {
            return Err(MapError::Taken);
        }
        Ok(self.memory.write(entry, &value)?)
    }

    /// The table that holds the entry for `va` at the level of `shift`.
    fn table_for(&mut self, va: u64, shift: u32) -> Result<u64, MapError> {
        let mut table = PML4_GPA;
        let mut level = 39;
        while level > shift {
            let at = table + index_at(va, level) * 8;
            let mut entry: u64 = self.memory.read(at)?;
            if entry & 1 == 0 {
                entry = self.allocate()? | TABLE;
                self.memory.write(at, &entry)?;
            } else if entry & LARGE != 0 {
                return Err(MapError::Taken);
            }
            table = entry & ADDRESS;
            level -= 9;
        }
        Ok(table)
    }

    fn allocate(&mut self) -> Result<u64, MapError> {
        if self.next >= PT_POOL_END {
            return Err(MapError::PoolEmpty);
        }
        let page = self.next;
        self.next += PAGE;
        Ok(page)
    }
}

/// Most pages that [`walk`] tells of: a guest may have made its tables endless.
const MOST_LEAVES: usize = 1 << 20;

/// A page that the guest's tables map, as they stand in memory.
pub struct Leaf {
    /// First guest-virtual address.
    pub va: u64,
    /// Guest-physical address of its entry.
    pub at: u64,
    /// The entry.
    pub entry: u64,
    /// It maps 2 MiB, else 4 KiB.
    pub large: bool,
}

impl Leaf {
    /// Guest-physical address of the page.
    pub fn gpa(&self) -> u64 {
        let size = if self.large { HUGE } else { PAGE };
        self.entry & ADDRESS & !(size - 1)
    }
}

/// What the guest's tables are, as they stand in memory.
#[derive(Default)]
pub struct Tables {
    /// Every page that they map, by address.
    pub leaves: Vec<Leaf>,
    /// Guest-physical addresses of the tables.
    pub tables: Vec<u64>,
}

/// Every page that the guest's tables map, and the tables.
pub fn walk(memory: &GuestMemory) -> Tables {
    let mut found = Tables::default();
    add_table(memory, PML4_GPA, 39, 0, &mut found);
    found
}

fn add_table(memory: &GuestMemory, table: u64, level: u32, base: u64, found: &mut Tables) {
    let mut entries = [0_u8; PAGE as usize];
    if memory.read_bytes(table, &mut entries).is_err() {
        return;
    }
    found.tables.push(table);
    for (index, entry) in (0_u64..).zip(entries.chunks_exact(8)) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(entry);
        let entry = u64::from_le_bytes(bytes);
        if entry & 1 == 0 || found.leaves.len() >= MOST_LEAVES {
            continue;
        }
        let va = base | index << level;
        let large = level == 21 && entry & LARGE != 0;
        if large || level == 12 {
            let at = table + index * 8;
            found.leaves.push(Leaf {
                va,
                at,
                entry,
                large,
            });
        } else {
            add_table(memory, entry & ADDRESS, level - 9, va, found);
        }
    }
}

/// Finds where a guest-virtual address lies, walking tables that the guest may
/// have changed: (guest-physical address, bytes up to the end of its page).
pub fn translate(memory: &GuestMemory, root: u64, va: u64) -> Option<(u64, u64)> {
    let mut table = root & ADDRESS;
    for level in [39, 30, 21, 12] {
        let entry: u64 = memory.read(table + index_at(va, level) * 8).ok()?;
        if entry & 1 == 0 {
            return None;
        }
        if level == 12 || (entry & LARGE != 0 && level < 39) {
            let size = 1 << level;
            let offset = va & (size - 1);
            return Some(((entry & ADDRESS & !(size - 1)) + offset, size - offset));
        }
        table = entry & ADDRESS;
    }
    None
}

fn index_at(va: u64, shift: u32) -> u64 {
    (va >> shift) & 511
}

fn check(va: u64, gpa: u64, len: u64, unit: u64) -> Result<(), MapError> {
    if !va.is_multiple_of(unit) || !gpa.is_multiple_of(unit) || !len.is_multiple_of(unit) {
        return Err(MapError::Misaligned);
    }
    match (va.checked_add(len), gpa.checked_add(len)) {
        (Some(end), Some(gpa_end)) if end <= 1 << 47 && gpa_end <= ADDRESS => Ok(()),
        _ => Err(MapError::NoSuchAddress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    fn memory() -> GuestMemory {
        GuestMemory::new(Mapping::anonymous(HUGE).unwrap(), Vec::new())
    }

    #[test]
    fn what_was_mapped_is_found_again() {
        let memory = memory();
        let mut tables = PageTables::new(&memory);
        // Crosses a directory border.
        let va = 0x7fa0_3fe0_0000;
        tables
            .map_large(va, 0x20_0000, 3 * HUGE, Access::Full)
            .unwrap();
        tables.map_page(0x1000, 0x9000, Access::Supervisor).unwrap();
        let find = |va| translate(&memory, PML4_GPA, va);
        assert_eq!(find(va + 5), Some((0x20_0005, HUGE - 5)));
        assert_eq!(find(va + 2 * HUGE), Some((0x60_0000, HUGE)));
        assert_eq!(find(va + 3 * HUGE), None);
        assert_eq!(find(0x1ff0), Some((0x9ff0, 16)));
        assert_eq!(find(0x2000), None);
        assert_eq!(find(u64::MAX), None);
    }

    #[test]
    fn entries_have_accessed_and_dirty_set() {
        let memory = memory();
        let mut tables = PageTables::new(&memory);
        tables.map_large(0, 0, HUGE, Access::Full).unwrap();
        tables
            .map_large(HUGE, 0x10_0000_0000, HUGE, Access::ReadOnly)
            .unwrap();
        assert_eq!(tables.next_free(), PT_POOL_GPA + 2 * PAGE);
        let directory = PT_POOL_GPA + PAGE;
        assert_eq!(memory.read::<u64>(PML4_GPA).unwrap() & 0xfff, 0x67);
        assert_eq!(memory.read::<u64>(directory), Ok(0xe7));
        assert_eq!(memory.read::<u64>(directory + 8), Ok(0x10_0000_00e5));
    }

    #[test]
    fn mappings_that_make_no_sense_are_refused() {
        let memory = memory();
        let mut tables = PageTables::new(&memory);
        tables.map_page(0x1000, 0, Access::Full).unwrap();
        for (va, gpa, len, why) in [
            (0, 0, HUGE, MapError::Taken),
            (0x1000, 0, HUGE, MapError::Misaligned),
            (HUGE, 0, 0x1000, MapError::Misaligned),
            ((1 << 47) - HUGE, 0, 2 * HUGE, MapError::NoSuchAddress),
        ] {
            assert_eq!(tables.map_large(va, gpa, len, Access::Full), Err(why));
        }
        let again = tables.map_page(0x1000, 0x5000, Access::Full);
        assert_eq!(again, Err(MapError::Taken));
    }
}
