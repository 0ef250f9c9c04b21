//! What a file does not have to hold: pages of the image, and what stands in another
//! snapshot of the same app already.
//!
//! Not part of the pause: the guest runs on, or has ended.

use std::collections::HashMap;

use spore_abi::layout::PAGE;

use super::capture::Pages;
use super::checksum::crc32c;
use super::file::Snapshot;
use super::format::{self, Frame, LINE, Origin, PageRecord};
use super::origins::{OwnPages, runs};
use crate::error::Result;

/// Words of a page, far from each other, by which pages are told apart at first.
const SAMPLES: [usize; 4] = [0, 1032, 2056, 3080];

/// Pages as a file holds them.
pub struct Packed {
    /// Which there are.
    pub frames: Vec<Frame>,
    /// What each is made of.
    pub records: Vec<PageRecord>,
    /// Lines of the file's own, one behind another.
    pub lines: Vec<u8>,
    /// Whether pages are made of the base's.
    pub on_base: bool,
}

/// Packs pages. `image`: the layers, and the library OS behind them; `base`: another
/// snapshot, which is used if that spares at least half.
pub fn pack(pages: &Pages, image: &[&[u8]], base: Option<&Snapshot>) -> Result<Packed> {
    let mut alone = vec![PageRecord::default(); pages.data.len() / PAGE as usize];
    for (record, page) in alone.iter_mut().zip(pages.data.chunks_exact(PAGE as usize)) {
        record.lines = differing(page, None);
    }
    find_in_image(pages, image, &mut alone);
    let records = match base {
        Some(base) => on_base(pages, base, &alone)?,
        None => alone.clone(),
    };
    let enough = format::lines(&records) * 2 <= format::lines(&alone);
    let on_base = base.is_some() && enough;
    Ok(emit(pages, if on_base { records } else { alone }, on_base))
}

/// Bit n: line n is not as it is in the other page; without one, not zero.
fn differing(page: &[u8], other: Option<&[u8]>) -> u64 {
    let zero = [0; LINE];
    let mut bits = 0;
    for (number, line) in page.chunks_exact(LINE).enumerate() {
        let known = other.map_or(&zero[..], |other| &other[number * LINE..][..LINE]);
        bits |= u64::from(line != known) << number;
    }
    bits
}

fn find_in_image(pages: &Pages, image: &[&[u8]], records: &mut [PageRecord]) {
    let mut wanted: HashMap<u64, Vec<usize>> = HashMap::new();
    let page_of = |number: usize| &pages.data[number * PAGE as usize..][..PAGE as usize];
    for number in 0..records.len() {
        wanted
            .entry(sample(page_of(number)))
            .or_default()
            .push(number);
    }
    for (file, bytes) in (0..).zip(image) {
        for (page, content) in (0..).zip(bytes.chunks_exact(PAGE as usize)) {
            let Some(numbers) = wanted.get_mut(&sample(content)) else {
                continue;
            };
            numbers.retain(|&number| {
                let same = page_of(number) == content;
                if same {
                    records[number] = PageRecord {
                        origin: Origin::Image { file, page },
                        lines: 0,
                    };
                }
                !same
            });
        }
    }
}

fn sample(page: &[u8]) -> u64 {
    SAMPLES.iter().fold(0, |all, at| {
        let mut word = [0; 8];
        word.copy_from_slice(&page[*at..at + 8]);
        (all ^ u64::from_le_bytes(word))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    })
}

fn on_base(pages: &Pages, base: &Snapshot, alone: &[PageRecord]) -> Result<Vec<PageRecord>> {
    let mut records = alone.to_vec();
    for frame in &pages.frames {
        let Some(own) = OwnPages::read(base, frame.gpa)? else {
            continue;
        };
        for (position, number) in (frame.first as usize..).zip(frame.numbers()) {
            let Some(other) = own.page(number) else {
                continue;
            };
            let page = &pages.data[position * PAGE as usize..][..PAGE as usize];
            let lines = differing(page, Some(other));
            if lines.count_ones() < records[position].lines.count_ones() {
                records[position] = PageRecord {
                    origin: Origin::Base,
                    lines,
                };
            }
        }
    }
    Ok(records)
}

fn emit(pages: &Pages, records: Vec<PageRecord>, on_base: bool) -> Packed {
    let mut lines = Vec::with_capacity(format::lines(&records) as usize * LINE);
    let mut frames = pages.frames.clone();
    for frame in &mut frames {
        let from = lines.len();
        let (first, count) = (frame.first as usize, frame.count() as usize);
        let content = &pages.data[first * PAGE as usize..][..count * PAGE as usize];
        for (record, page) in records[first..]
            .iter()
            .zip(content.chunks_exact(PAGE as usize))
        {
            for (first, count) in runs(record.lines) {
                lines.extend_from_slice(&page[first * LINE..][..count * LINE]);
            }
        }
        frame.line = (from / LINE) as u64;
        frame.checksum = crc32c(content);
        frame.stored = crc32c(&lines[from..]);
    }
    Packed {
        frames,
        records,
        lines,
        on_base,
    }
}
