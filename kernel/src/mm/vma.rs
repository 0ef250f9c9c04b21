//! The list of mappings of an address space.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::fs::file::File;

/// Protection bits (`mman-common.h`).
pub mod prot {
    #![allow(missing_docs, reason = "named and documented as in mmap(2)")]
    pub const NONE: u32 = 0;
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const EXEC: u32 = 4;
}

/// How the addresses of a mapping get their memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Pages of the arena: always mapped, address = page.
    Arena,
    /// Page-table entries made on demand.
    Sparse,
    /// Mapped by the monitor before boot (program segments).
    Static,
}

/// What a mapping shows.
#[derive(Clone)]
pub enum Content {
    /// Zeroed memory.
    Anonymous,
    /// Bytes of a file from `offset` on.
    File {
        /// The file.
        file: Arc<dyn File>,
        /// File offset of the mapping's first byte.
        offset: u64,
    },
    /// A segment of the program, laid out by the image builder.
    Program {
        /// Path for /proc/self/maps.
        path: Arc<str>,
        /// File offset of the first byte.
        offset: u64,
    },
    /// Something with a bracketed name: `[heap]`, `[stack]`, `[vdso]`.
    Named(&'static str),
}

/// One mapping.
#[derive(Clone)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// End, exclusive.
    pub end: u64,
    /// [`prot`] bits.
    pub prot: u32,
    /// Where the memory comes from.
    pub backing: Backing,
    /// What it shows.
    pub content: Content,
    /// MAP_SHARED.
    pub shared: bool,
    /// Every page follows `prot` exactly (guards must fault); otherwise whole 2 MiB
    /// blocks may be accessible although parts of them are not.
    pub exact: bool,
    /// Little of it will be used, as of a thread's stack: no whole blocks at once.
    pub scanty: bool,
}

impl Vma {
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }
    /// Whether it covers no address.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
    /// Anonymous memory or the heap or a stack, as opposed to file content.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.content, Content::Anonymous | Content::Named(_))
    }
    fn cut_front(&mut self, at: u64) {
        let skipped = at - self.start;
        self.start = at;
        if let Content::File { offset, .. } | Content::Program { offset, .. } = &mut self.content {
            *offset += skipped;
        }
    }
    fn continues(&self, next: &Vma) -> bool {
        self.end == next.start
            && self.prot == next.prot
            && self.backing == next.backing
            && self.shared == next.shared
            && self.exact == next.exact
            && self.scanty == next.scanty
            && match (&self.content, &next.content) {
                (Content::Anonymous, Content::Anonymous) => true,
                (Content::Named(a), Content::Named(b)) => a == b,
                (Content::File { file: a, offset: x }, Content::File { file: b, offset: y }) => {
                    Arc::ptr_eq(a, b) && x + self.len() == *y
                }
                _ => false,
            }
    }
    /// The name that /proc/self/maps shows.
    pub fn name(&self) -> String {
        match &self.content {
            Content::Anonymous => String::new(),
            Content::File { file, .. } => file.path(),
            Content::Program { path, .. } => String::from(&**path),
            Content::Named(name) => String::from(*name),
        }
    }
    /// File offset of the first byte, 0 for anonymous memory.
    pub fn offset(&self) -> u64 {
        match &self.content {
            Content::File { offset, .. } | Content::Program { offset, .. } => *offset,
            _ => 0,
        }
    }
}

/// Mappings by address; never overlapping.
#[derive(Default)]
pub struct VmaTree {
    map: BTreeMap<u64, Vma>,
}

impl VmaTree {
    /// An empty tree.
    pub const fn new() -> Self {
        Self {
            map: BTreeMap::new(),
        }
    }
    /// The mapping that covers `addr`.
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.map
            .range(..=addr)
            .next_back()
            .map(|(_, vma)| vma)
            .filter(|vma| addr < vma.end)
    }
    /// The first mapping that ends above `addr`.
    pub fn at_or_after(&self, addr: u64) -> Option<&Vma> {
        self.find(addr)
            .or_else(|| self.map.range(addr..).next().map(|(_, vma)| vma))
    }
    /// Mappings that touch `[start, end)`, ascending.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Vma> {
        let from = self.find(start).map_or(start, |vma| vma.start);
        self.map
            .range(from..end)
            .map(|(_, vma)| vma)
            .filter(move |vma| vma.end > start)
    }
    /// Whether `[start, end)` is free.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none()
    }
    /// Whether every address of `[start, end)` is mapped.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for vma in self.overlapping(start, end) {
            if vma.start > at {
                return false;
            }
            at = vma.end;
        }
        at >= end
    }
    /// All mappings, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.map.values()
    }
    /// Number of mappings.
    pub fn count(&self) -> usize {
        self.map.len()
    }
    /// Adds a mapping to a free range, joined with equal neighbours.
    pub fn insert(&mut self, mut vma: Vma) {
        debug_assert!(self.is_free(vma.start, vma.end));
        if let Some(before) = self
            .map
            .range(..vma.start)
            .next_back()
            .map(|(_, before)| before)
            && before.continues(&vma)
        {
            let start = before.start;
            if let Some(mut joined) = self.map.remove(&start) {
                joined.end = vma.end;
                vma = joined;
            }
        }
        if let Some(after) = self.map.get(&vma.end)
            && vma.continues(after)
        {
            let end = after.end;
            self.map.remove(&vma.end);
            vma.end = end;
        }
        self.map.insert(vma.start, vma);
    }
    /// Takes everything inside `[start, end)` out, cutting mappings that reach beyond.
    pub fn remove(&mut self, start: u64, end: u64) -> Vec<Vma> {
        let touched: Vec<u64> = self.overlapping(start, end).map(|vma| vma.start).collect();
        let mut removed = Vec::with_capacity(touched.len());
        for key in touched {
            let Some(mut vma) = self.map.remove(&key) else {
                continue;
            };
            if vma.start < start {
                let mut left = vma.clone();
                left.end = start;
                self.map.insert(left.start, left);
                vma.cut_front(start);
            }
            if vma.end > end {
                let mut right = vma.clone();
                right.cut_front(end);
                self.map.insert(right.start, right);
                vma.end = end;
            }
            removed.push(vma);
        }
        removed
    }
    /// The highest free range of `len` bytes inside `[low, high)`, aligned.
    pub fn highest_gap(&self, low: u64, high: u64, len: u64, align: u64) -> Option<u64> {
        let fits = |from: u64, to: u64| {
            let start = to.checked_sub(len)? / align * align;
            (start >= from).then_some(start)
        };
        let mut top = high;
        for (_, vma) in self.map.range(..high).rev() {
            if vma.end <= low {
                break;
            }
            if vma.end < top
                && let Some(start) = fits(vma.end, top)
            {
                return Some(start);
            }
            top = top.min(vma.start);
        }
        fits(low, top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymous(start: u64, end: u64, prot: u32) -> Vma {
        Vma {
            start,
            end,
            prot,
            backing: Backing::Sparse,
            content: Content::Anonymous,
            shared: false,
            exact: false,
            scanty: false,
        }
    }

    #[test]
    fn equal_neighbours_join_and_others_do_not() {
        let mut tree = VmaTree::new();
        tree.insert(anonymous(0x1000, 0x2000, 3));
        tree.insert(anonymous(0x3000, 0x4000, 3));
        tree.insert(anonymous(0x2000, 0x3000, 3));
        assert_eq!(tree.count(), 1);
        tree.insert(anonymous(0x4000, 0x5000, 1));
        assert_eq!(tree.count(), 2);
        assert!(tree.covers(0x1000, 0x5000));
    }

    #[test]
    fn removing_the_middle_leaves_both_ends() {
        let mut tree = VmaTree::new();
        tree.insert(anonymous(0x1000, 0x9000, 3));
        let removed = tree.remove(0x3000, 0x5000);
        assert_eq!(removed.len(), 1);
        assert_eq!((removed[0].start, removed[0].end), (0x3000, 0x5000));
        assert!(tree.is_free(0x3000, 0x5000));
        assert!(tree.find(0x2fff).is_some() && tree.find(0x5000).is_some());
    }

    #[test]
    fn gaps_are_found_from_the_top() {
        let mut tree = VmaTree::new();
        tree.insert(anonymous(0x8000, 0xa000, 3));
        assert_eq!(
            tree.highest_gap(0x1000, 0xb000, 0x1000, 0x1000),
            Some(0xa000)
        );
        assert_eq!(
            tree.highest_gap(0x1000, 0xb000, 0x2000, 0x1000),
            Some(0x6000)
        );
        assert_eq!(tree.highest_gap(0x7000, 0xb000, 0x2000, 0x1000), None);
    }
}
