//! The overlay as programs see it, on frames of ordinary memory.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::content::fallocate;
use super::frames::memory::LIMIT;
use super::{Node, Tree, frames};
use crate::errno::Errno;
use crate::fs::file::{OpenFile, PageSource, open};
use crate::fs::inode::{Change, Inode, InodeRef, New, RenameMode, open_inode};
use crate::fs::stat::mode;
use crate::mm::io::{Reader, Writer};

fn root() -> InodeRef {
    Tree::empty()
}

fn file(root: &InodeRef, name: &str) -> Arc<OpenFile> {
    let inode = root.create(name.as_bytes(), New::File(0o644)).unwrap();
    open_inode(inode, open::RDWR).unwrap()
}

fn write(open: &OpenFile, at: u64, bytes: &[u8]) -> usize {
    open.file
        .write(open, &mut Reader::kernel(bytes), at)
        .unwrap()
}

fn read(open: &OpenFile, at: u64, len: usize) -> Vec<u8> {
    let mut buffer = vec![0xAA; len];
    let done = open
        .file
        .read(open, &mut Writer::kernel(&mut buffer), at)
        .unwrap();
    buffer.truncate(done);
    buffer
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index * 31 + index / 4096) as u8)
        .collect()
}

fn names(directory: &InodeRef, from: u64) -> Vec<(String, u64)> {
    let mut names = Vec::new();
    directory
        .read_directory(from, &mut |entry| {
            names.push((String::from_utf8_lossy(entry.name).into_owned(), entry.next));
            true
        })
        .unwrap();
    names
}

#[test]
fn what_is_written_is_read_back_whatever_the_sizes() {
    let root = root();
    let open = file(&root, "f");
    let mut model = Vec::new();
    let mut at = 0;
    for size in [1, 4095, 4096, 4097, 70_000, 3, 200_000, 65_536] {
        let bytes = pattern(size);
        assert_eq!(write(&open, at, &bytes), size);
        model.extend_from_slice(&bytes);
        at += size as u64;
    }
    assert_eq!(open.file.size(), model.len() as u64);
    assert_eq!(read(&open, 0, model.len() + 10), model);
    assert_eq!(read(&open, 5000, 10_000), model[5000..15_000]);
    write(&open, 4090, b"across the border");
    model[4090..4107].copy_from_slice(b"across the border");
    assert_eq!(read(&open, 0, model.len()), model);
}

#[test]
fn holes_read_as_zero_and_are_found() {
    let root = root();
    let open = file(&root, "sparse");
    write(&open, 1 << 40, b"far");
    assert_eq!(open.file.size(), (1 << 40) + 3);
    assert_eq!(read(&open, 123_456, 10), [0; 10]);
    assert_eq!(open.file.seek_special(0, 3).unwrap(), 1 << 40);
    assert_eq!(open.file.seek_special(0, 4).unwrap(), 0);
    assert_eq!(open.file.seek_special(1 << 40, 4).unwrap(), (1 << 40) + 3);
    assert_eq!(open.file.seek_special((1 << 40) + 3, 3), Err(Errno::ENXIO));
    assert_eq!(open.file.stat().unwrap().blocks, 8);
}

#[test]
fn truncating_forgets_and_growing_shows_zero() {
    let root = root();
    let open = file(&root, "t");
    write(&open, 0, &pattern(10_000));
    open.file.truncate(5000).unwrap();
    open.file.truncate(9000).unwrap();
    let mut expected = pattern(5000);
    expected.resize(9000, 0);
    assert_eq!(read(&open, 0, 10_000), expected);
    open.file.truncate(0).unwrap();
    assert_eq!(open.file.stat().unwrap().blocks, 0);
    assert_eq!(open.file.truncate(u64::MAX), Err(Errno::EFBIG));
}

#[test]
fn allocation_punches_and_reserves() {
    let root = root();
    let open = file(&root, "a");
    let mut model = pattern(50_000);
    write(&open, 0, &model);
    open.file
        .allocate(fallocate::PUNCH_HOLE | fallocate::KEEP_SIZE, 5000, 20_000)
        .unwrap();
    model[5000..25_000].fill(0);
    assert_eq!(read(&open, 0, 60_000), model);
    open.file
        .allocate(fallocate::ZERO_RANGE, 49_990, 100)
        .unwrap();
    model[49_990..].fill(0);
    model.resize(50_090, 0);
    assert_eq!(read(&open, 0, 60_000), model);
    open.file.allocate(0, 60_000, 4096).unwrap();
    assert_eq!(open.file.size(), 64_096);
    open.file
        .allocate(fallocate::KEEP_SIZE, 100_000, 4096)
        .unwrap();
    assert_eq!(open.file.size(), 64_096);
    assert_eq!(
        open.file.allocate(fallocate::PUNCH_HOLE, 0, 1),
        Err(Errno::EOPNOTSUPP)
    );
}

#[test]
fn removed_files_live_until_they_are_closed() {
    let (_, before) = frames::totals();
    let root = root();
    let open = file(&root, "gone");
    write(&open, 0, &pattern(100_000));
    root.remove(b"gone", false).unwrap();
    assert_eq!(root.lookup(b"gone").err(), Some(Errno::ENOENT));
    assert_eq!(open.file.stat().unwrap().links, 0);
    assert_eq!(open.file.path(), "/gone (deleted)");
    assert_eq!(read(&open, 0, 100_000), pattern(100_000));
    drop(open);
    assert_eq!(frames::totals().1, before);
}

#[test]
fn memory_that_runs_out_is_enospc_and_comes_back() {
    let root = root();
    let open = file(&root, "big");
    let chunk = pattern(1 << 20);
    let mut at = 0;
    let error = loop {
        match open.file.write(&open, &mut Reader::kernel(&chunk), at) {
            Ok(done) => at += done as u64,
            Err(error) => break error,
        }
        assert!(at <= (LIMIT as u64) * 4096);
    };
    assert_eq!(error, Errno::ENOSPC);
    assert_eq!(read(&open, 0, 100), chunk[..100]);
    open.file.truncate(0).unwrap();
    assert_eq!(write(&open, 0, &chunk[..1000]), 1000);
}

#[test]
fn links_are_counted() {
    let root = root();
    let open = file(&root, "one");
    root.link(b"two", &root.lookup(b"one").unwrap()).unwrap();
    assert_eq!(open.file.stat().unwrap().links, 2);
    assert_eq!(
        root.link(b"two", &root.lookup(b"one").unwrap()),
        Err(Errno::EEXIST)
    );
    root.remove(b"one", false).unwrap();
    assert_eq!(open.file.stat().unwrap().links, 1);
    assert_eq!(root.lookup(b"two").unwrap().path(), b"/two");
    let directory = root.create(b"d", New::Directory(0o755)).unwrap();
    assert_eq!(root.stat().unwrap().links, 3);
    directory.create(b"e", New::Directory(0o755)).unwrap();
    assert_eq!(directory.stat().unwrap().links, 3);
    assert_eq!(root.link(b"no", &directory), Err(Errno::EPERM));
    assert_eq!(root.remove(b"d", true), Err(Errno::ENOTEMPTY));
    assert_eq!(root.remove(b"d", false), Err(Errno::EISDIR));
    assert_eq!(root.remove(b"two", true), Err(Errno::ENOTDIR));
    directory.remove(b"e", true).unwrap();
    root.remove(b"d", true).unwrap();
    assert_eq!(
        directory.create(b"f", New::File(0o644)).err(),
        Some(Errno::ENOENT)
    );
    assert_eq!(root.stat().unwrap().links, 2);
}

#[test]
fn renaming_replaces_keeps_and_exchanges() {
    let root = root();
    let directory = root.create(b"d", New::Directory(0o755)).unwrap();
    let first = file(&root, "a");
    let second = file(&root, "b");
    let number = |open: &OpenFile| open.file.stat().unwrap().inode;
    assert_eq!(
        root.rename(b"a", &root, b"b", RenameMode::Keep),
        Err(Errno::EEXIST)
    );
    root.rename(b"a", &root, b"b", RenameMode::Replace).unwrap();
    assert_eq!(
        root.lookup(b"b").unwrap().stat().unwrap().inode,
        number(&first)
    );
    assert_eq!(second.file.stat().unwrap().links, 0);
    root.rename(b"b", &directory, b"c", RenameMode::Replace)
        .unwrap();
    assert_eq!(first.file.path(), "/d/c");
    assert_eq!(
        root.rename(b"d", &directory, b"x", RenameMode::Replace),
        Err(Errno::EINVAL)
    );
    let other = file(&root, "o");
    root.rename(b"o", &directory, b"c", RenameMode::Exchange)
        .unwrap();
    assert_eq!(
        root.lookup(b"o").unwrap().stat().unwrap().inode,
        number(&first)
    );
    assert_eq!(
        directory.lookup(b"c").unwrap().stat().unwrap().inode,
        number(&other)
    );
    assert_eq!(
        root.rename(b"o", &root, b"d", RenameMode::Replace),
        Err(Errno::EISDIR)
    );
    assert_eq!(
        root.rename(b"d", &root, b"o", RenameMode::Replace),
        Err(Errno::ENOTDIR)
    );
    assert_eq!(
        root.rename(b"none", &root, b"n", RenameMode::Replace),
        Err(Errno::ENOENT)
    );
}

#[test]
fn listings_go_on_where_they_stopped_while_entries_go() {
    let root = root();
    for index in 0..10 {
        file(&root, &format!("f{index}"));
    }
    let all = names(&root, 0);
    assert_eq!(
        all.iter()
            .map(|(name, _)| name.as_str())
            .take(3)
            .collect::<Vec<_>>(),
        [".", "..", "f0"]
    );
    assert_eq!(all.len(), 12);
    let stopped = all[6].1;
    root.remove(b"f4", false).unwrap();
    root.remove(b"f5", false).unwrap();
    let rest: Vec<String> = names(&root, stopped)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(rest, ["f6", "f7", "f8", "f9"]);
}

#[test]
fn attributes_change_and_unnamed_files_get_names() {
    let root = root();
    let inode = root.create_unnamed(0o600).unwrap();
    assert_eq!(inode.stat().unwrap().links, 0);
    root.link(b"named", &inode).unwrap();
    assert_eq!(inode.stat().unwrap().links, 1);
    assert_eq!(inode.path(), b"/named");
    inode
        .change(&Change {
            mode: Some(0o4711),
            uid: Some(7),
            ..Change::default()
        })
        .unwrap();
    let stat = inode.stat().unwrap();
    assert_eq!((stat.mode, stat.uid, stat.gid), (mode::FILE | 0o4711, 7, 0));
}

#[test]
fn mapped_pages_stay_in_place_when_a_file_shrinks_and_grows() {
    let root = root();
    let open = file(&root, "m");
    write(&open, 0, &pattern(10_000));
    let PageSource::Memory { gpa } = open.file.map_page(8192, true).unwrap() else {
        panic!("no page")
    };
    open.file.truncate(100).unwrap();
    assert_eq!(open.file.map_page(8192, false), Err(Errno::EFAULT));
    open.file.truncate(12_000).unwrap();
    assert_eq!(
        open.file.map_page(8192, false).unwrap(),
        PageSource::Memory { gpa }
    );
    assert_eq!(read(&open, 8192, 100), [0; 100]);
    assert_eq!(
        file(&root, "empty").file.map_page(0, false),
        Err(Errno::EFAULT)
    );
}

#[test]
fn launch_data_is_a_file_that_can_be_changed() {
    let tree = Tree::empty();
    let node: Arc<Node> = tree.new_over(0o644, b"nameserver 127.0.0.1\n");
    tree.adopt(b"resolv.conf", &node).unwrap();
    let open = open_inode(tree.lookup(b"resolv.conf").unwrap(), open::RDWR).unwrap();
    assert_eq!(read(&open, 0, 100), b"nameserver 127.0.0.1\n");
    write(&open, 11, b"9");
    assert_eq!(read(&open, 0, 100), b"nameserver 927.0.0.1\n");
    open.file.truncate(5).unwrap();
    open.file.truncate(7).unwrap();
    assert_eq!(read(&open, 0, 100), b"names\0\0");
}
