//! Replacing a file so that after a crash there is the old one or the new one.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file: after a crash there is the old one or the new one, and nothing else.
pub fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::IsADirectory)?
        .to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    remove_leftovers(directory, path);
    let result = write_all(directory, &temporary, parts)
        .and_then(|()| fs::rename(&temporary, path))
        // The name is safe too once its directory is.
        .and_then(|()| File::open(directory)?.sync_all());
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Removes what a process left that was ended between giving its file a name and giving
/// it this one.
fn remove_leftovers(directory: &Path, path: &Path) {
    let Some(name) = path.file_name() else { return };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let other = entry.file_name();
        let process = other
            .as_bytes()
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"."))
            .and_then(|rest| rest.strip_suffix(b".tmp"))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes a file that has no name until it is whole, where the file system can do that:
/// whatever ends the process before leaves nothing.
fn write_all(directory: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).mode(0o600);
    let nameless = options
        .clone()
        .custom_flags(libc::O_TMPFILE)
        .open(directory);
    let (mut file, named) = match nameless {
        Ok(file) => (file, false),
        Err(_) => (options.create_new(true).open(path)?, true),
    };
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    match named {
        true => Ok(()),
        false => give_name(&file, path),
    }
}

fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let own = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both are live strings that end with 0.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            own.as_ptr(),
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let folder = std::env::temp_dir().join(format!("spore-kept-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("a.snap");
        fs::write(&path, b"old").unwrap();
        let refuse: [&[u8]; 1] = [b"new"];
        replace(&folder.join("missing/a.snap"), &refuse).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        // No process has such a number.
        fs::write(folder.join("a.snap.4194999.tmp"), b"left").unwrap();
        replace(&path, &refuse).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
