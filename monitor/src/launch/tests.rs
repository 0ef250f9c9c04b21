//! Tests of the parts; `tests/launcher` runs the real launcher.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::freshness::{self, fingerprint};
use super::name_of;
use super::record::{Record, crc32};

const CONFIG: &str = r#"{"version":1,"memory":33554432,"kernel":{"path":"k","length":10,"memoryLength":20},"program":{"path":"/x","startRip":"0x1","entry":"0x2","phdr":"0x3","phnum":4,"brkStart":"0x5"},"argv":["x"],"cwd":"/","hostname":"h"}"#;
const FACTS: &str = r#"{"root":"/r","words":["run","x"],"directory":"/d","terminal":false,"environment":{"SPORE_HOME":"/s","TERM":null},"stamp":"1700000000000000000","inputs":[["/nowhere","absent"]]}"#;

/// A folder of this test alone.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("spore-launch-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn whole() -> Vec<u8> {
    let rest = format!("{FACTS}\n{CONFIG}\n");
    let crc = crc32(rest.as_bytes());
    format!("spore-launch 1 {crc:08x}\n{rest}").into_bytes()
}

fn written(path: &Path, bytes: &[u8]) -> PathBuf {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

#[test]
fn the_checksum_is_that_of_zlib() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_whole_record_is_read() {
    let folder = folder("whole");
    let record = Record::read(&written(&folder.join("r"), &whole())).unwrap();
    assert_eq!(record.facts.words, ["run", "x"]);
    assert_eq!(record.facts.stamp, 1_700_000_000_000_000_000);
    assert_eq!(record.facts.environment["TERM"], None);
    assert_eq!(record.config.argv, ["x"]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn no_damaged_record_is_believed() {
    let folder = folder("damaged");
    let whole = whole();
    for at in (0..whole.len()).step_by(5) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(Record::read(&written(&folder.join("r"), &damaged)).is_err());
    }
    for length in (0..whole.len()).step_by(7) {
        assert!(Record::read(&written(&folder.join("r"), &whole[..length])).is_err());
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_record_that_others_can_write_is_not_believed() {
    let folder = folder("foreign");
    let path = written(&folder.join("r"), &whole());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
    assert!(Record::read(&path).is_err());
    std::os::unix::fs::symlink(&path, folder.join("link")).unwrap();
    assert!(Record::read(&folder.join("link")).is_err());
    assert!(Record::read(&folder).is_err());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_change_of_a_file_shows_in_its_fingerprint() {
    let folder = folder("inputs");
    let path = written(&folder.join("f"), b"one");
    let before = fingerprint(&path).unwrap();
    let unchanged = [(path.to_str().unwrap().to_owned(), before.clone())];
    assert!(freshness::inputs(&unchanged).is_ok());
    // Another file with the same length and time, perhaps even the same number.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let other = written(&folder.join("g"), b"two");
    fs::File::open(&other).unwrap().set_modified(time).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(freshness::inputs(&unchanged).is_err());
    fs::remove_file(&path).unwrap();
    assert_eq!(fingerprint(&path).unwrap(), "absent");
    assert_eq!(fingerprint(&path.join("below")).unwrap(), "absent");
    assert!(fingerprint(&folder).unwrap().starts_with("dir:"));
    fs::remove_dir_all(folder).unwrap();
}

/// A checkout with one file in each place that counts.
fn checkout(name: &str) -> PathBuf {
    let root = folder(name);
    for place in freshness::BUILT_FROM {
        let file = match Path::new(place).extension() {
            Some(_) => root.join(place),
            None if place.starts_with("tools/build-") => root.join(place),
            None => root.join(place).join("src/lib.rs"),
        };
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    fs::create_dir_all(root.join("packages/cli/src")).unwrap();
    fs::write(root.join("spore"), "").unwrap();
    fs::create_dir_all(root.join("build")).unwrap();
    fs::write(root.join("build/ready"), "").unwrap();
    root
}

fn in_nanoseconds(time: SystemTime) -> i128 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_nanos() as i128
}

#[test]
fn a_newer_source_anywhere_is_noticed() {
    let root = checkout("checkout");
    let later = SystemTime::now() + Duration::from_secs(1);
    let stamp = in_nanoseconds(later);
    freshness::checkout(&root, stamp).unwrap();
    for place in freshness::BUILT_FROM {
        let path = root.join(place);
        let file = fs::File::open(&path).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        file.set_modified(later).unwrap();
        assert!(freshness::checkout(&root, stamp).is_err(), "{place}");
        file.set_modified(before).unwrap();
    }
    freshness::checkout(&root, stamp).unwrap();
    // The command line: everything since the stamp counts, also a new file.
    assert!(freshness::checkout(&root, stamp - 2_000_000_000).is_err());
    fs::remove_file(root.join("build/ready")).unwrap();
    assert!(freshness::checkout(&root, stamp).is_err());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn the_launcher_looks_at_the_same_sources() {
    let launcher = include_str!("../../../spore");
    let (_, find) = launcher.split_once("$(find ").unwrap();
    let (find, _) = find.split_once("-newer").unwrap();
    let paths = find.split(['"', ' ', '\\', '\n']);
    let paths: Vec<_> = paths
        .filter_map(|word| word.strip_prefix("$root/"))
        .collect();
    assert_eq!(paths, freshness::BUILT_FROM);
}

#[test]
fn commands_have_names_of_their_own() {
    let name = |words: &[&str], directory: &str, terminal| {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        name_of(Path::new("/r"), &words, directory, terminal)
    };
    let names = [
        name(&["run", "a"], "/d", false),
        name(&["run", "a"], "/d", true),
        name(&["run", "a"], "/e", false),
        name(&["run", "a", "b"], "/d", false),
        name(&["run", "ab"], "/d", false),
    ];
    for (index, one) in names.iter().enumerate() {
        assert!(names[..index].iter().all(|other| other != one));
    }
    assert_eq!(name(&["run", "a"], "/d", false), names[0]);
}
