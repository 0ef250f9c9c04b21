//! What pages of a snapshot are made of beside the bytes in its own file: pages of the
//! image, and of another snapshot of the same app.

use std::fs::File;
use std::os::unix::fs::FileExt;

use spore_abi::layout::{HUGE, PAGE};

use super::file::Snapshot;
use super::format::{Frame, LINE, Origin, PageRecord};
use crate::config::{Config, Kernel, LayerFile};
use crate::error::Result;
use crate::standby::shared;

/// The files of an image.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    /// Layers, bottom first.
    pub layers: Vec<LayerFile>,
    /// They were left to this process as open files.
    pub inherited: bool,
    /// The library OS.
    pub kernel: Kernel,
}

impl ImageFiles {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            layers: config.layers.clone(),
            inherited: config.layers_inherited,
            kernel: config.kernel.clone(),
        }
    }
}

/// A part of a file.
struct Extract {
    file: File,
    offset: u64,
    length: u64,
}

/// Room for one frame after another: to take it anew from the host costs a fault a page.
#[derive(Default)]
pub struct Buffers {
    /// The pages of a frame, one behind another.
    pub pages: Vec<u8>,
    /// Lines that a snapshot has stored of it.
    pub stored: Vec<u8>,
}

/// Where pages come from that a snapshot does not hold itself.
#[derive(Default)]
pub struct Origins {
    /// The layers and, behind them, the library OS; what cannot be opened holds nothing.
    image: Vec<Option<Extract>>,
    /// The other snapshot.
    base: Option<Box<Snapshot>>,
}

impl Origins {
    /// What a configuration names, and the base that the snapshot names.
    pub fn open(snapshot: &Snapshot, files: &ImageFiles) -> Result<Self> {
        let layers = files.layers.iter().enumerate().map(|(number, layer)| {
            let inherited = files.inherited.then(|| shared::inherited(number));
            match inherited.flatten() {
                Some(file) => Some((file, 0, layer.length)),
                None => Some((File::open(&layer.path).ok()?, layer.offset, layer.length)),
            }
        });
        let kernel = File::open(&files.kernel.path).ok();
        let kernel = kernel.map(|file| (file, files.kernel.offset, files.kernel.length));
        let image = layers.chain([kernel]).map(|part| {
            part.map(|(file, offset, length)| Extract {
                file,
                offset,
                length,
            })
        });
        Ok(Self {
            image: image.collect(),
            base: snapshot.base()?,
        })
    }

    /// Of a snapshot that is made of nothing else.
    #[cfg(test)]
    pub fn on(base: Option<Box<Snapshot>>) -> Self {
        Self {
            image: Vec::new(),
            base,
        }
    }

    /// Makes the pages of a frame, one behind another, from what they are made of and
    /// their own lines. Whether the result is right is for the caller to check.
    pub fn compose(&self, snapshot: &Snapshot, frame: &Frame, buffers: &mut Buffers) -> Result<()> {
        let Buffers { pages, stored } = buffers;
        let records = snapshot.records(frame);
        pages.clear();
        pages.resize(records.len() * PAGE as usize, 0);
        self.add_image(snapshot, records, pages)?;
        self.add_base(snapshot, frame, records, pages)?;
        snapshot.stored(frame, stored)?;
        lay_lines(records, stored, pages);
        Ok(())
    }

    fn add_image(
        &self,
        snapshot: &Snapshot,
        records: &[PageRecord],
        bytes: &mut [u8],
    ) -> Result<()> {
        let mut at = 0;
        while at < records.len() {
            let Origin::Image { file, page } = records[at].origin else {
                at += 1;
                continue;
            };
            let follows = |(next, record): (u32, &PageRecord)| {
                let page = page.wrapping_add(next);
                record.origin == Origin::Image { file, page }
            };
            let count = (0..)
                .zip(&records[at..])
                .take_while(|of| follows(*of))
                .count();
            let part = &mut bytes[at * PAGE as usize..][..count * PAGE as usize];
            let from = u64::from(page) * PAGE;
            let read = match self.image.get(file as usize) {
                Some(Some(extract)) if from + part.len() as u64 <= extract.length => {
                    extract.file.read_exact_at(part, extract.offset + from)
                }
                _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
            };
            read.map_err(|_| snapshot.foreign("pages of its image are not there"))?;
            at += count;
        }
        Ok(())
    }

    fn add_base(
        &self,
        snapshot: &Snapshot,
        frame: &Frame,
        records: &[PageRecord],
        bytes: &mut [u8],
    ) -> Result<()> {
        if records.iter().all(|record| record.origin != Origin::Base) {
            return Ok(());
        }
        let missing = || snapshot.damaged("its base has no such pages");
        let own = match &self.base {
            Some(base) => OwnPages::read(base, frame.gpa)?,
            None => None,
        };
        let own = own.ok_or_else(missing)?;
        for (position, number) in frame.numbers().enumerate() {
            if records[position].origin == Origin::Base {
                let page = own.page(number).ok_or_else(missing)?;
                bytes[position * PAGE as usize..][..PAGE as usize].copy_from_slice(page);
            }
        }
        Ok(())
    }
}

/// Lays the lines that a snapshot has stored of a frame over its pages.
fn lay_lines(records: &[PageRecord], stored: &[u8], pages: &mut [u8]) {
    let mut rest = stored;
    for (record, page) in records.iter().zip(pages.chunks_exact_mut(PAGE as usize)) {
        for (first, count) in runs(record.lines) {
            let (run, more) = rest.split_at(count * LINE);
            page[first * LINE..][..run.len()].copy_from_slice(run);
            rest = more;
        }
    }
}

/// The pages of one frame that a snapshot holds wholly in its own file: others can be made
/// of them without knowing its image.
pub struct OwnPages {
    frame: Frame,
    records: Vec<PageRecord>,
    bytes: Vec<u8>,
}

impl OwnPages {
    /// `None` if the frame at an address has none.
    pub fn read(snapshot: &Snapshot, gpa: u64) -> Result<Option<Self>> {
        debug_assert!(gpa.is_multiple_of(HUGE), "frames are whole");
        let Ok(found) = snapshot
            .frames
            .binary_search_by_key(&gpa, |frame| frame.gpa)
        else {
            return Ok(None);
        };
        let frame = snapshot.frames[found].clone();
        let mut bytes = vec![0; (frame.count() * PAGE) as usize];
        let mut stored = Vec::new();
        snapshot.stored(&frame, &mut stored)?;
        let records = snapshot.records(&frame).to_vec();
        lay_lines(&records, &stored, &mut bytes);
        Ok(Some(Self {
            frame,
            records,
            bytes,
        }))
    }

    /// The page with this number in its frame.
    pub fn page(&self, number: usize) -> Option<&[u8]> {
        let position = self.frame.numbers().position(|other| other == number)?;
        (self.records[position].origin == Origin::Zero)
            .then(|| &self.bytes[position * PAGE as usize..][..PAGE as usize])
    }
}

/// Runs of set bits: (first, number).
pub fn runs(mut bits: u64) -> impl Iterator<Item = (usize, usize)> {
    let mut passed = 0;
    std::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let skip = bits.trailing_zeros();
        bits >>= skip;
        let count = bits.trailing_ones();
        let first = passed + skip as usize;
        passed = first + count as usize;
        bits = bits.checked_shr(count).unwrap_or(0);
        Some((first, count as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn runs_of_bits_are_found() {
        let of = |bits| runs(bits).collect::<Vec<_>>();
        assert_eq!(of(0), []);
        assert_eq!(of(!0), [(0, 64)]);
        assert_eq!(of(0b1_0110), [(1, 2), (4, 1)]);
        assert_eq!(of(1 << 63 | 1), [(0, 1), (63, 1)]);
    }
}
