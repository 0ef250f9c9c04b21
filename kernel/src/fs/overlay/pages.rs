//! Which page of a file is where: a sparse table from page number to frame.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::frames::{self, Frame};

/// Pages per chunk of the table (2 MiB of file).
const CHUNK: u64 = 512;
/// The page is not in the table: the layer below or a hole shows.
const ABSENT: u32 = 0;
/// The page reads as zero, whatever lies below.
const HOLE: u32 = 1;

/// What the table says of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Nothing: look below.
    Absent,
    /// Zero.
    Hole,
    /// Content.
    Frame(Frame),
}

/// The table. Frames in it belong to it.
#[derive(Default)]
pub struct PageTable {
    chunks: BTreeMap<u64, Vec<u32>>,
    /// Frames in the table.
    count: u64,
}

fn decode(raw: u32) -> Page {
    match raw {
        ABSENT => Page::Absent,
        HOLE => Page::Hole,
        raw => Page::Frame(Frame::from_raw(raw)),
    }
}

impl PageTable {
    /// Number of frames.
    pub fn count(&self) -> u64 {
        self.count
    }
    /// What page `page` is.
    pub fn get(&self, page: u64) -> Page {
        let chunk = self.chunks.get(&(page / CHUNK));
        chunk
            .and_then(|chunk| chunk.get((page % CHUNK) as usize))
            .map_or(Page::Absent, |raw| decode(*raw))
    }
    /// What page `page` is and how many pages from there on, at most `most`, are
    /// alike: all absent, all holes, or frames one after another.
    pub fn run(&self, page: u64, most: u64) -> (Page, u64) {
        let first = self.get(page);
        let Some(chunk) = self.chunks.get(&(page / CHUNK)) else {
            // Nothing up to the next chunk that exists.
            let next = self
                .chunks
                .range(page / CHUNK..)
                .next()
                .map_or(u64::MAX, |(index, _)| index * CHUNK);
            return (first, most.min(next - page));
        };
        let start = (page % CHUNK) as usize;
        let end = (CHUNK - page % CHUNK).min(most);
        let mut len = 1;
        let mut previous = first;
        while len < end {
            let next = chunk
                .get(start + len as usize)
                .map_or(Page::Absent, |raw| decode(*raw));
            let alike = match (previous, next) {
                (Page::Frame(left), Page::Frame(right)) => left.precedes(right),
                (left, right) => left == right,
            };
            if !alike {
                break;
            }
            previous = next;
            len += 1;
        }
        (first, len.min(most))
    }
    fn put(&mut self, page: u64, raw: u32) {
        let index = (page % CHUNK) as usize;
        let chunk = self.chunks.entry(page / CHUNK).or_default();
        if chunk.len() <= index {
            if raw == ABSENT {
                return;
            }
            chunk.resize(index + 1, ABSENT);
        }
        let old = core::mem::replace(&mut chunk[index], raw);
        self.count += u64::from(raw > HOLE);
        if let Page::Frame(frame) = decode(old) {
            self.count -= 1;
            frames::free(frame);
        }
    }
    /// Puts a frame in; one that was there is freed.
    pub fn set(&mut self, page: u64, frame: Frame) {
        self.put(page, frame.raw());
    }
    /// Makes pages `[first, end)` holes. Only what is in the table costs time,
    /// unless `hide`: then pages that are not get an entry too, to hide what lies below.
    pub fn punch(&mut self, first: u64, end: u64, hide: bool) {
        if hide {
            for page in first..end {
                self.put(page, HOLE);
            }
            return;
        }
        let touched: Vec<u64> = self
            .chunks
            .range(first / CHUNK..=end.saturating_sub(1) / CHUNK)
            .map(|(index, _)| *index)
            .collect();
        for index in touched {
            let start = (index * CHUNK).max(first);
            let stop = ((index + 1) * CHUNK).min(end);
            for page in start..stop {
                self.put(page, ABSENT);
            }
        }
    }
    /// Frees everything from page `first` on.
    pub fn truncate(&mut self, first: u64) {
        let last = self
            .chunks
            .last_key_value()
            .map_or(0, |(index, _)| (index + 1) * CHUNK);
        if first < last {
            self.punch(first, last, false);
            // The chunk that holds `first` stays, cut; those behind it are empty.
            let keep = first.div_ceil(CHUNK);
            self.chunks.split_off(&keep);
            if let Some(chunk) = self.chunks.get_mut(&(first / CHUNK)) {
                chunk.truncate((first % CHUNK) as usize);
            }
        }
    }
    /// The frames in pages `[first, end)`.
    pub fn frames(&self, first: u64, end: u64) -> impl Iterator<Item = (u64, Frame)> {
        self.chunks
            .range(first / CHUNK..)
            .take_while(move |(index, _)| **index * CHUNK < end)
            .flat_map(move |(index, chunk)| {
                let base = index * CHUNK;
                (base..)
                    .zip(chunk.iter())
                    .filter_map(move |(page, raw)| match decode(*raw) {
                        Page::Frame(frame) if page >= first && page < end => Some((page, frame)),
                        _ => None,
                    })
            })
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        for raw in self.chunks.values().flatten() {
            if let Page::Frame(frame) = decode(*raw) {
                frames::free(frame);
            }
        }
    }
}
