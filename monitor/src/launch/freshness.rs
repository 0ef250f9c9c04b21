//! Whether anything that a launch record was made from has changed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Doubt;

/// What the set-up in `spore` looks at: newer than `build/ready`, and the Rust
/// parts are built again. The two lists must agree (a test compares them).
pub const BUILT_FROM: [&str; 8] = [
    "abi",
    "kernel",
    "monitor",
    "Cargo.toml",
    "Cargo.lock",
    "package-lock.json",
    "tools/build-kernel",
    "tools/build-monitor",
];
/// The command line itself and the launcher.
const COMMAND_LINE: [&str; 2] = ["packages", "spore"];

/// The checkout is set up, and its command line is older than `stamp`.
pub fn checkout(root: &Path, stamp: i128) -> Result<(), Doubt> {
    let ready = root.join("build/ready");
    let ready = modified(&fs::metadata(&ready).map_err(|e| unreadable(&ready, &e))?);
    for name in BUILT_FROM {
        // As `find -newer` compares.
        older(&root.join(name), &|about| modified(about) <= ready)?;
    }
    for name in COMMAND_LINE {
        // The time of the last change of any kind: also of a file that was moved here.
        older(&root.join(name), &|about| {
            modified(about).max(changed(about)) < stamp
        })?;
    }
    Ok(())
}

/// Everything at and below `path` is old.
fn older(path: &Path, old: &dyn Fn(&Metadata) -> bool) -> Result<(), Doubt> {
    let about = fs::symlink_metadata(path).map_err(|e| unreadable(path, &e))?;
    if !old(&about) {
        return Err(newer(path));
    }
    if about.is_dir() {
        all_older(path, old)?;
    }
    Ok(())
}

/// The same for what is in a folder. Its entries are looked up from it, not from
/// the root: there are hundreds.
fn all_older(folder: &Path, old: &dyn Fn(&Metadata) -> bool) -> Result<(), Doubt> {
    for entry in fs::read_dir(folder).map_err(|e| unreadable(folder, &e))? {
        let entry = entry.map_err(|e| unreadable(folder, &e))?;
        let about = entry.metadata().map_err(|e| unreadable(folder, &e))?;
        if !old(&about) {
            return Err(newer(&entry.path()));
        }
        if about.is_dir() {
            all_older(&entry.path(), old)?;
        }
    }
    Ok(())
}

fn newer(path: &Path) -> Doubt {
    Doubt::about(format!("{} is newer", path.display()))
}

/// Each path has the fingerprint that it had.
pub fn inputs(inputs: &[(String, String)]) -> Result<(), Doubt> {
    for (path, seen) in inputs {
        let now = fingerprint(Path::new(path)).map_err(|e| unreadable(Path::new(path), &e))?;
        if now != *seen {
            return Err(Doubt::about(format!("{path} has changed")));
        }
    }
    Ok(())
}

/// What `fingerprint` of `packages/image/src/build-record.ts` says of a path.
pub fn fingerprint(path: &Path) -> io::Result<String> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => Ok(format!("dir:{}:{}", modified(&about), about.ino())),
        Ok(about) => Ok(format!(
            "{}:{}:{}:{}",
            about.len(),
            modified(&about),
            changed(&about),
            about.ino()
        )),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            Ok("absent".to_owned())
        }
        Err(e) => Err(e),
    }
}

/// Nanoseconds since 1970 of the last change of content.
fn modified(about: &Metadata) -> i128 {
    i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec())
}

/// Nanoseconds since 1970 of the last change of any kind.
fn changed(about: &Metadata) -> i128 {
    i128::from(about.ctime()) * 1_000_000_000 + i128::from(about.ctime_nsec())
}

fn unreadable(path: &Path, error: &io::Error) -> Doubt {
    Doubt::about(format!("{}: {error}", path.display()))
}
