//! Images made by mkfs.erofs, read back and damaged.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::string::String;
use std::vec::Vec;

use super::{Extent, Inode, Volume};
use crate::fs::stat::mode;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spore-erofs-{}-{name}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Names that fill several directory blocks, files of every interesting size.
fn make_tree(root: &Path) {
    std::fs::create_dir_all(root.join("many")).unwrap();
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    for index in 0..500 {
        std::fs::write(
            root.join(format!("many/file-number-{index:04}")),
            format!("content {index}"),
        )
        .unwrap();
    }
    for size in [0, 1, 31, 4000, 4095, 4096, 4097, 8192, 12_345, 100_000] {
        let bytes: Vec<u8> = (0..size)
            .map(|index| (index * 7 + index / 256) as u8)
            .collect();
        std::fs::write(root.join(format!("a/size-{size}")), bytes).unwrap();
    }
    std::fs::write(root.join("a/b/c/deep"), "deep").unwrap();
    symlink("../a/b/c/deep", root.join("a/link")).unwrap();
    std::fs::hard_link(root.join("a/b/c/deep"), root.join("hard")).unwrap();
}

fn make_image(name: &str, options: &[&str], fill: fn(&Path)) -> (Vec<u8>, BTreeMap<String, Shape>) {
    let scratch = Scratch::new(name);
    let (tree, image) = (scratch.0.join("tree"), scratch.0.join("image"));
    std::fs::create_dir(&tree).unwrap();
    fill(&tree);
    let output = Command::new("mkfs.erofs")
        .args(options)
        .arg(&image)
        .arg(&tree)
        .output();
    assert!(
        output
            .expect("mkfs.erofs (Debian package erofs-utils) must be there")
            .status
            .success()
    );
    (std::fs::read(image).unwrap(), host_shapes(&tree))
}

/// What can be said of an object from outside.
#[derive(Debug, PartialEq)]
struct Shape {
    mode: u32,
    content: Vec<u8>,
}

fn host_shapes(root: &Path) -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::new();
    let mut pending = std::vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = match metadata.mode() & mode::TYPE {
                mode::FILE => std::fs::read(&path).unwrap(),
                mode::LINK => std::fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes(),
                _ => {
                    pending.push(path.clone());
                    Vec::new()
                }
            };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().into();
            shapes.insert(
                name,
                Shape {
                    mode: metadata.mode(),
                    content,
                },
            );
        }
    }
    shapes
}

fn open(image: Vec<u8>) -> Result<Volume, crate::errno::Errno> {
    Volume::open(image.leak(), 0x10_0000_0000)
}

fn read(volume: &Volume, inode: &Inode, most: u64) -> Result<Vec<u8>, crate::errno::Errno> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < inode.size.min(most) {
        match inode.extent(volume, bytes.len() as u64)? {
            Extent::Bytes(piece, _) => bytes.extend_from_slice(piece),
            Extent::Hole(len) => bytes.resize(bytes.len() + len.min(most) as usize, 0),
        }
    }
    Ok(bytes)
}

/// Everything that can be reached, within bounds: a damaged image may have cycles.
fn image_shapes(volume: &Volume) -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::new();
    let mut pending = std::vec![(String::new(), volume.root(), 0)];
    while let Some((prefix, number, depth)) = pending.pop() {
        let Ok(directory) = volume.inode(number) else {
            continue;
        };
        let mut entries = Vec::new();
        directory
            .each_entry(volume, |entry| entries.push(entry))
            .ok();
        for entry in entries {
            let name = format!("{prefix}{}", String::from_utf8_lossy(entry.name));
            directory.find(volume, entry.name).ok();
            let Ok(inode) = volume.inode(entry.number) else {
                continue;
            };
            let content = match inode.mode & mode::TYPE {
                mode::DIRECTORY => Vec::new(),
                mode::LINK => inode.whole(volume).map(<[u8]>::to_vec).unwrap_or_default(),
                _ => read(volume, &inode, 1 << 20).unwrap_or_default(),
            };
            inode.contiguous(volume);
            if inode.mode & mode::TYPE == mode::DIRECTORY && depth < 6 && shapes.len() < 2000 {
                pending.push((format!("{name}/"), entry.number, depth + 1));
            }
            shapes.insert(
                name,
                Shape {
                    mode: inode.mode,
                    content,
                },
            );
        }
    }
    shapes
}

const VARIANTS: [(&str, &[&str]); 4] = [
    ("plain", &[]),
    ("extended", &["-Eforce-inode-extended"]),
    ("compact", &["-Eforce-inode-compact", "-T1700000000"]),
    ("chunks", &["--chunksize=4096"]),
];

#[test]
fn every_layout_reads_as_the_directory_it_was_made_from() {
    for (name, options) in VARIANTS {
        let (image, expected) = make_image(name, options, make_tree);
        let volume = open(image).unwrap();
        let found = image_shapes(&volume);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (path, shape) in &expected {
            assert_eq!(&found[path], shape, "{name}: {path}");
        }
    }
}

#[test]
fn names_are_found_and_absent_names_are_not() {
    let (image, _) = make_image("find", &[], make_tree);
    let volume = open(image).unwrap();
    let root = volume.inode(volume.root()).unwrap();
    let many = volume
        .inode(root.find(&volume, b"many").unwrap().unwrap().number)
        .unwrap();
    for index in 0..500 {
        let name = format!("file-number-{index:04}");
        assert!(
            many.find(&volume, name.as_bytes()).unwrap().is_some(),
            "{name}"
        );
        assert!(
            many.find(&volume, format!("{name}x").as_bytes())
                .unwrap()
                .is_none()
        );
    }
    assert!(many.find(&volume, b"").unwrap().is_none());
    assert!(many.find(&volume, b"zzz").unwrap().is_none());
}

#[test]
fn hard_links_share_an_inode_and_large_files_are_contiguous() {
    let (image, _) = make_image("links", &["-Enoinline_data"], make_tree);
    let volume = open(image).unwrap();
    let root = volume.inode(volume.root()).unwrap();
    let hard = volume
        .inode(root.find(&volume, b"hard").unwrap().unwrap().number)
        .unwrap();
    assert_eq!(hard.links, 2);
    let directory = volume
        .inode(root.find(&volume, b"a").unwrap().unwrap().number)
        .unwrap();
    let large = volume
        .inode(
            directory
                .find(&volume, b"size-100000")
                .unwrap()
                .unwrap()
                .number,
        )
        .unwrap();
    let at = large.contiguous(&volume).unwrap();
    assert_eq!(volume.address(at) % 4096, 0);
}

fn make_small_tree(root: &Path) {
    std::fs::create_dir(root.join("d")).unwrap();
    for index in 0..20 {
        std::fs::write(root.join(format!("d/f{index}")), "x".repeat(index * 50)).unwrap();
    }
    std::fs::write(root.join("large"), "y".repeat(10_000)).unwrap();
    symlink("d/f3", root.join("l")).unwrap();
}

#[test]
fn damage_gives_errors_and_never_a_panic() {
    for (name, options) in VARIANTS {
        let (image, _) = make_image(&format!("damage-{name}"), options, make_small_tree);
        // A plain linear congruential generator: the same bytes in every run.
        let mut state = 12345_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..400 {
            let mut damaged = image.clone();
            for _ in 0..=random(4) {
                // The superblock and what follows it hold the metadata.
                let at = 1024 + random(damaged.len().min(12_000) - 1024);
                damaged[at] = random(256) as u8;
            }
            if let Ok(volume) = open(damaged) {
                image_shapes(&volume);
            }
        }
        for len in (0..image.len()).step_by(997) {
            if let Ok(volume) = open(image[..len].to_vec()) {
                image_shapes(&volume);
            }
        }
    }
}
