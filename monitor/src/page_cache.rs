//! Layers in huge pages of the host's page cache. What a program has read with read(2) lies
//! there in small ones, and KVM maps each of these by a fault of its own: Node.js starts in
//! twice the time then. What is fetched through a mapping that wants huge pages comes in them.

use std::fs::File;
use std::os::fd::AsRawFd;

use spore_abi::layout::{HUGE, PAGE};

use crate::mapping::Mapping;

/// `linux/fs.h`: PAGEMAP_SCAN, `_IOWR('f', 16, struct pm_scan_arg)`; since Linux 6.7.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610_u32 as libc::Ioctl;
/// `linux/fs.h`: the page is part of a huge mapping.
const PAGE_IS_HUGE: u64 = 1 << 6;

/// `linux/magic.h`.
const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;

/// `linux/fs.h`: struct pm_scan_arg.
#[repr(C)]
#[derive(Default)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `linux/fs.h`: struct page_region.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// Fetches again, in huge pages, the frames of a mapped file that the page cache has in small
/// ones. `offset`: where in the file the mapping begins. Does nothing where the host cannot, or
/// where another machine uses the small ones.
pub fn make_huge(file: &File, offset: u64, mapping: &Mapping) {
    let frames = mapping.len() as u64 / HUGE;
    if frames == 0 || !offset.is_multiple_of(HUGE) || !has_large_folios(file) {
        return;
    }
    let Ok(pagemap) = File::open("/proc/self/pagemap") else {
        return;
    };
    let resident: Vec<u64> = (0..frames).filter(|&n| is_resident(mapping, n)).collect();
    for &frame in &resident {
        touch(mapping, frame);
    }
    let Some(huge) = huge_frames(&pagemap, mapping, 0, frames) else {
        return;
    };
    for frame in resident.into_iter().filter(|frame| !huge.contains(frame)) {
        fetch_again(file, offset, mapping, frame);
        let is_huge = huge_frames(&pagemap, mapping, frame, frame + 1);
        if is_huge.is_none_or(|huge| huge.is_empty()) {
            return;
        }
    }
}

/// Whether the file system keeps files in huge pages at all: else every start would fetch a
/// frame in vain. XFS does since Linux 5.18, ext4 since 6.16.
fn has_large_folios(file: &File) -> bool {
    // SAFETY: plain data, for which zeros are a value; the calls fill it or fail.
    let (mut system, mut name): (libc::statfs, libc::utsname) = unsafe { std::mem::zeroed() };
    // SAFETY: both structures live for the calls.
    let failed = unsafe {
        libc::fstatfs(file.as_raw_fd(), &raw mut system) != 0 || libc::uname(&raw mut name) != 0
    };
    match system.f_type as u64 {
        _ if failed => false,
        XFS => true,
        EXT4 => {
            let release: Vec<u8> = name.release.iter().map(|byte| *byte as u8).collect();
            let release = String::from_utf8_lossy(&release);
            let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
            let mut next = || {
                numbers
                    .next()
                    .and_then(std::result::Result::ok)
                    .unwrap_or(0)
            };
            (next(), next()) >= (6, 16)
        }
        _ => false,
    }
}

/// Whether the page cache has something of a frame: two of its pages speak for it.
fn is_resident(mapping: &Mapping, frame: u64) -> bool {
    [frame * HUGE, frame * HUGE + HUGE / 2]
        .into_iter()
        .any(|at| {
            let mut page = 0_u8;
            // SAFETY: asks about one page of a mapping of ours; the answer is one byte.
            let result = unsafe {
                let address = mapping.as_ptr().add(at as usize);
                libc::mincore(address.cast(), PAGE as usize, &mut page)
            };
            result == 0 && page & 1 != 0
        })
}

/// Brings a frame into our page table.
fn touch(mapping: &Mapping, frame: u64) {
    // SAFETY: a byte of the mapping; nobody writes there. Read for its fault, so that it must
    // not be left out.
    unsafe {
        mapping
            .as_ptr()
            .add((frame * HUGE) as usize)
            .read_volatile()
    };
}

/// The frames in a range that our page table has as huge pages; None: the host does not say.
fn huge_frames(pagemap: &File, mapping: &Mapping, first: u64, end: u64) -> Option<Vec<u64>> {
    let base = mapping.as_ptr() as u64;
    let mut regions = vec![Region::default(); (end - first) as usize];
    let mut arguments = ScanArguments {
        size: size_of::<ScanArguments>() as u64,
        start: base + first * HUGE,
        end: base + end * HUGE,
        regions: regions.as_mut_ptr() as u64,
        regions_len: regions.len() as u64,
        category_mask: PAGE_IS_HUGE,
        return_mask: PAGE_IS_HUGE,
        ..ScanArguments::default()
    };
    // SAFETY: both structures live for the call, and their lengths are stated.
    let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
    let found = regions.get(..usize::try_from(count).ok()?)?;
    let frames = found.iter().flat_map(|region| {
        let (start, end) = (region.start - base, region.end - base);
        start / HUGE..end / HUGE
    });
    Some(frames.collect())
}

/// Drops a frame from our page table and, unless somebody else uses it, from the page cache.
fn fetch_again(file: &File, offset: u64, mapping: &Mapping, frame: u64) {
    let at = frame * HUGE;
    // SAFETY: advice about a frame of ours that is read-only and backed by the file: it comes
    // back as it was. The second call takes only numbers.
    unsafe {
        let address = mapping.as_ptr().add(at as usize);
        libc::madvise(address.cast(), HUGE as usize, libc::MADV_DONTNEED);
        let start = (offset + at) as libc::off_t;
        libc::posix_fadvise(
            file.as_raw_fd(),
            start,
            HUGE as libc::off_t,
            libc::POSIX_FADV_DONTNEED,
        );
    }
    touch(mapping, frame);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Sharing;
    use std::io::{Read, Write};

    #[test]
    fn what_was_read_in_small_pages_comes_in_huge_ones() {
        // Not in a temporary folder, which may be one in memory.
        let path = std::env::current_dir()
            .unwrap()
            .join(format!("page-cache-{}", std::process::id()));
        let mut file = File::create_new(&path).unwrap();
        for number in 0..4_u8 {
            file.write_all(&vec![number + 1; HUGE as usize]).unwrap();
        }
        file.sync_all().unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let drop_and = |then: &mut dyn FnMut()| {
            // SAFETY: takes only numbers.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            then();
            let mapping = Mapping::file(&file, 0, 4 * HUGE, Sharing::Shared).unwrap();
            (0..4).for_each(|frame| touch(&mapping, frame));
            (huge_frames(&pagemap, &mapping, 0, 4), mapping)
        };
        let (Some(fetched), _) = drop_and(&mut || ()) else {
            eprintln!("this host does not say which pages are huge");
            return;
        };
        if fetched.len() < 4 {
            eprintln!("this host's file system has no huge pages");
            return;
        }
        let mut reader = file.try_clone().unwrap();
        let (small, mapping) = drop_and(&mut || {
            let mut bytes = [0; PAGE as usize];
            while reader.read(&mut bytes).unwrap() > 0 {}
        });
        drop(mapping);
        if small == Some(vec![0, 1, 2, 3]) {
            eprintln!("this host reads in huge pages too");
            return;
        }
        let mapping = Mapping::file(&file, 0, 4 * HUGE, Sharing::Shared).unwrap();
        make_huge(&file, 0, &mapping);
        assert_eq!(
            huge_frames(&pagemap, &mapping, 0, 4),
            Some(vec![0, 1, 2, 3])
        );
        for frame in 0..4 {
            // SAFETY: a byte of the mapping.
            let byte = unsafe { mapping.as_ptr().add((frame * HUGE) as usize + 5).read() };
            assert_eq!(u64::from(byte), frame + 1);
        }
    }
}
