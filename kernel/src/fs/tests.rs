//! Path walks over the overlay, with layers below it.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::errno::{Errno, Result};
use crate::fs::erofs::Volume;
use crate::fs::file::{PageSource, open};
use crate::fs::inode::{InodeRef, New, open_inode};
use crate::fs::inotify::{self, Inotify, InotifyFile};
use crate::fs::overlay::Tree;
use crate::fs::path::{Base, locate, resolve};
use crate::mm::io::{Reader, Writer};

fn base() -> Base {
    let root: InodeRef = Tree::empty();
    let a = root.create(b"a", New::Directory(0o755)).unwrap();
    let b = a.create(b"b", New::Directory(0o755)).unwrap();
    b.create(b"file", New::File(0o644)).unwrap();
    root.create(b"to-b", New::Link(b"a/b")).unwrap();
    a.create(b"up", New::Link(b"../a/b/file")).unwrap();
    a.create(b"absolute", New::Link(b"/a/b")).unwrap();
    root.create(b"loop", New::Link(b"loop")).unwrap();
    root.create(b"dangling", New::Link(b"a/new")).unwrap();
    Base {
        root: root.clone(),
        start: a,
    }
}

fn path_of(base: &Base, path: &str) -> Result<String> {
    resolve(base, path.as_bytes(), true).map(|inode| String::from_utf8(inode.path()).unwrap())
}

#[test]
fn paths_lead_where_linux_leads_them() {
    let base = base();
    for (path, expected) in [
        ("/", "/"),
        ("/..", "/"),
        ("//a///b//", "/a/b"),
        ("b/file", "/a/b/file"),
        (".", "/a"),
        ("..", "/"),
        ("./b/../b/./file", "/a/b/file"),
        ("/to-b/file", "/a/b/file"),
        ("/to-b/", "/a/b"),
        ("up", "/a/b/file"),
        ("absolute/file", "/a/b/file"),
        ("/to-b/..", "/a"),
    ] {
        assert_eq!(path_of(&base, path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn paths_fail_as_on_linux() {
    let base = base();
    let long = "x".repeat(256);
    for (path, expected) in [
        ("", Errno::ENOENT),
        ("none", Errno::ENOENT),
        ("none/file", Errno::ENOENT),
        ("b/file/", Errno::ENOTDIR),
        ("b/file/x", Errno::ENOTDIR),
        ("b/file/..", Errno::ENOTDIR),
        ("b/file/.", Errno::ENOTDIR),
        ("/loop", Errno::ELOOP),
        ("/loop/x", Errno::ELOOP),
        ("/dangling", Errno::ENOENT),
        (&long, Errno::ENAMETOOLONG),
    ] {
        assert_eq!(path_of(&base, path), Err(expected), "{path}");
    }
    assert!(resolve(&base, b"/loop", false).is_ok());
}

#[test]
fn places_name_the_entry_that_is_to_be_made() {
    let base = base();
    let place = locate(&base, b"b/new", false).unwrap();
    assert!(place.inode.is_none());
    assert_eq!(
        (place.directory.path(), place.name()),
        (b"/a/b".to_vec(), Some(&b"new"[..]))
    );
    let place = locate(&base, b"/dangling", true).unwrap();
    assert!(place.inode.is_none());
    assert_eq!(
        (place.directory.path(), place.name()),
        (b"/a".to_vec(), Some(&b"new"[..]))
    );
    assert!(locate(&base, b"b/new/", false).unwrap().slash);
    assert_eq!(locate(&base, b"b/..", false).unwrap().name(), None);
    // O_CREAT through a link whose target exists finds the target.
    assert_eq!(
        locate(&base, b"up", true).unwrap().found().unwrap().path(),
        b"/a/b/file"
    );
}

fn image(name: &str, files: &[(&str, &str)]) -> Volume {
    Volume::open(image_bytes(name, files).leak(), 0x10_0000_0000).unwrap()
}

fn image_bytes(name: &str, files: &[(&str, &str)]) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let scratch = std::env::temp_dir().join(format!(
        "spore-layers-{}-{number}-{name}",
        std::process::id()
    ));
    let tree = scratch.join("tree");
    for (path, text) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let made = Command::new("mkfs.erofs")
        .arg(scratch.join("image"))
        .arg(&tree)
        .output();
    assert!(
        made.expect("mkfs.erofs (Debian package erofs-utils) must be there")
            .status
            .success()
    );
    let bytes = std::fs::read(scratch.join("image")).unwrap();
    std::fs::remove_dir_all(&scratch).unwrap();
    bytes
}

fn layered() -> Base {
    let lower = image(
        "lower",
        &[
            ("etc/hosts", "lower"),
            ("etc/only-lower", "1"),
            ("lib/x", "lower"),
            ("file", "f"),
        ],
    );
    let big = "z".repeat(9000);
    let upper = image(
        "upper",
        &[
            ("etc/hosts", "upper"),
            ("etc/only-upper", "2"),
            ("lib", "a file"),
            ("big", &big),
        ],
    );
    let root: InodeRef = Tree::mount(vec![lower, upper]).unwrap();
    Base {
        root: root.clone(),
        start: root,
    }
}

fn text(base: &Base, path: &str) -> Result<String> {
    let open = open_inode(resolve(base, path.as_bytes(), true)?, open::RDONLY)?;
    let mut buffer = vec![0; 10_000];
    let len = open.file.read(&open, &mut Writer::kernel(&mut buffer), 0)?;
    Ok(String::from_utf8(buffer[..len].to_vec()).unwrap())
}

fn list(base: &Base, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let inode = resolve(base, path.as_bytes(), true).unwrap();
    inode
        .read_directory(2, &mut |entry| {
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            true
        })
        .unwrap();
    names.sort();
    names
}

#[test]
fn upper_layers_win_and_directories_merge() {
    let base = layered();
    assert_eq!(text(&base, "/etc/hosts").as_deref(), Ok("upper"));
    assert_eq!(text(&base, "/etc/only-lower").as_deref(), Ok("1"));
    assert_eq!(text(&base, "/etc/only-upper").as_deref(), Ok("2"));
    assert_eq!(text(&base, "/lib").as_deref(), Ok("a file"));
    assert_eq!(list(&base, "/etc"), ["hosts", "only-lower", "only-upper"]);
    assert_eq!(list(&base, "/"), ["big", "etc", "file", "lib"]);
}

#[test]
fn inode_numbers_agree_between_listing_and_stat_and_never_change() {
    let base = layered();
    let etc = resolve(&base, b"/etc", true).unwrap();
    let mut listed = Vec::new();
    etc.read_directory(2, &mut |entry| {
        listed.push((entry.name.to_vec(), entry.inode));
        true
    })
    .unwrap();
    for (name, number) in listed {
        let inode = etc.lookup(&name).unwrap();
        assert_eq!(inode.stat().unwrap().inode, number);
        inode
            .clone()
            .open(open::WRONLY)
            .unwrap()
            .truncate(3)
            .unwrap();
        assert_eq!(inode.stat().unwrap().inode, number);
    }
}

#[test]
fn layer_files_change_page_by_page_and_can_be_removed() {
    let base = layered();
    let open = open_inode(resolve(&base, b"/big", true).unwrap(), open::RDWR).unwrap();
    assert!(matches!(
        open.file.map_page(0, false),
        Ok(PageSource::Layer { .. })
    ));
    open.file
        .write(&open, &mut Reader::kernel(b"hello"), 4094)
        .unwrap();
    assert!(matches!(
        open.file.map_page(0, false),
        Ok(PageSource::Memory { .. })
    ));
    let mut expected = "z".repeat(9000);
    expected.replace_range(4094..4099, "hello");
    assert_eq!(text(&base, "/big"), Ok(expected));
    assert!(matches!(
        open.file.map_page(8192, true),
        Ok(PageSource::Memory { .. })
    ));
    base.root.remove(b"big", false).unwrap();
    assert_eq!(text(&base, "/big"), Err(Errno::ENOENT));
    assert_eq!(list(&base, "/"), ["etc", "file", "lib"]);
    let etc = resolve(&base, b"/etc", true).unwrap();
    etc.remove(b"hosts", false).unwrap();
    // The lower layer's file of that name does not come back.
    assert_eq!(text(&base, "/etc/hosts"), Err(Errno::ENOENT));
    assert_eq!(base.root.remove(b"etc", true), Err(Errno::ENOTEMPTY));
    for name in [&b"only-lower"[..], b"only-upper"] {
        etc.remove(name, false).unwrap();
    }
    base.root.remove(b"etc", true).unwrap();
    base.root.create(b"etc", New::Directory(0o755)).unwrap();
    assert_eq!(list(&base, "/etc"), Vec::<String>::new());
}

/// Everything below a directory, within bounds.
fn wander(inode: &InodeRef, depth: u32, budget: &mut u32) {
    let mut names = Vec::new();
    // Damage shows as an error; what could be read goes on.
    let _ = inode.read_directory(0, &mut |entry| {
        names.push(entry.name.to_vec());
        names.len() < 100
    });
    for name in names {
        if name == b"." || name == b".." || *budget == 0 {
            continue;
        }
        *budget -= 1;
        let Ok(child) = inode.lookup(&name) else {
            continue;
        };
        let _ = (child.stat(), child.path(), child.link_text());
        if let Ok(open) = open_inode(child.clone(), open::RDWR) {
            let mut buffer = vec![0; 5000];
            let _ = open.file.read(&open, &mut Writer::kernel(&mut buffer), 0);
            let _ = open.file.map_page(0, true);
            let _ = open.file.write(&open, &mut Reader::kernel(b"x"), 4095);
        }
        if depth < 5 {
            wander(&child, depth + 1, budget);
        }
        let _ = inode.remove(&name, false);
    }
}

#[test]
fn a_damaged_layer_gives_errors_and_never_a_panic() {
    let text = "t".repeat(9000);
    let bytes = image_bytes(
        "damaged",
        &[("a/b/c", "1"), ("a/d", &text), ("e", "2"), ("f/g", "3")],
    );
    let mut state = 99_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..=random(3) {
            let at = 1024 + random(4096);
            damaged[at] = random(256) as u8;
        }
        let Ok(volume) = Volume::open(damaged.leak(), 0x10_0000_0000) else {
            continue;
        };
        if let Ok(root) = Tree::mount(vec![volume]) {
            let root: InodeRef = root;
            wander(&root, 0, &mut 300);
        }
    }
}

/// Events of an instance as (watch, mask, cookie is set, name).
fn events(instance: &std::sync::Arc<Inotify>) -> Vec<(i32, u32, bool, String)> {
    let file = crate::fs::file::OpenFile::new(
        std::sync::Arc::new(InotifyFile(instance.clone())),
        open::RDONLY,
    );
    let mut buffer = vec![0; 4096];
    let len = file
        .file
        .read(&file, &mut Writer::kernel(&mut buffer), 0)
        .unwrap_or(0);
    let mut list = Vec::new();
    let mut rest = &buffer[..len];
    while !rest.is_empty() {
        let word =
            |index: usize| u32::from_le_bytes(rest[index * 4..index * 4 + 4].try_into().unwrap());
        let name_len = word(3) as usize;
        let name: Vec<u8> = rest[16..16 + name_len]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        list.push((
            word(0).cast_signed(),
            word(1),
            word(2) != 0,
            String::from_utf8(name).unwrap(),
        ));
        rest = &rest[16 + name_len..];
    }
    list
}

#[test]
fn watchers_hear_of_changes_in_order() {
    let base = base();
    let instance = Inotify::new();
    // Numbers of different trees repeat, and tests share the list of watchers: take
    // numbers that no other test reaches.
    for index in 0..2000 {
        base.root
            .create(format!("{index}").as_bytes(), New::File(0o644))
            .unwrap();
    }
    base.root
        .create(b"w", New::Directory(0o755))
        .unwrap()
        .create(b"file", New::File(0o644))
        .unwrap();
    let number = |path: &str| {
        resolve(&base, path.as_bytes(), true)
            .unwrap()
            .stat()
            .unwrap()
            .inode
    };
    let directory = instance.watch(number("/w"), inotify::ALL_EVENTS).unwrap();
    let b = resolve(&base, b"/w", true).unwrap();
    let name = || String::from("new");
    let inode = b.create(b"new", New::File(0o644)).unwrap();
    let open = open_inode(inode, open::WRONLY).unwrap();
    open.file
        .write(&open, &mut Reader::kernel(b"x"), 0)
        .unwrap();
    drop(open);
    b.rename(b"new", &b, b"newer", crate::fs::inode::RenameMode::Replace)
        .unwrap();
    b.remove(b"newer", false).unwrap();
    let heard: Vec<_> = events(&instance)
        .into_iter()
        .filter(|event| event.0 == directory)
        .collect();
    assert_eq!(
        heard,
        [
            (directory, inotify::CREATE, false, name()),
            (directory, inotify::MODIFY, false, name()),
            (directory, inotify::CLOSE_WRITE, false, name()),
            (directory, inotify::MOVED_FROM, true, name()),
            (directory, inotify::MOVED_TO, true, String::from("newer")),
            (directory, inotify::DELETE, false, String::from("newer")),
        ]
    );
    let file = instance
        .watch(number("/w/file"), inotify::DELETE_SELF)
        .unwrap();
    b.remove(b"file", false).unwrap();
    let heard: Vec<_> = events(&instance)
        .into_iter()
        .filter(|event| event.0 == file)
        .collect();
    assert_eq!(heard[0], (file, inotify::DELETE_SELF, false, String::new()));
    assert_eq!(heard[1], (file, inotify::IGNORED, false, String::new()));
    instance.unwatch(directory).unwrap();
    assert_eq!(instance.unwatch(directory), Err(Errno::EINVAL));
}
