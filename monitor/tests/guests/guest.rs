//! Starts the real monitor with a tiny guest.

mod blob;

pub use blob::ABSENT;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// A launch configuration in a folder of its own, removed when dropped.
pub struct Guest {
    folder: PathBuf,
    /// What is written as the launch file.
    pub config: Value,
}

impl Guest {
    /// A guest that starts at the named entry of the tiny kernel.
    pub fn new(start: &str) -> Self {
        assert!(
            fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok(),
            "these tests run guests: they need /dev/kvm, readable and writable"
        );
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("spore-monitor-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let (image, memory_length) = blob::kernel(start);
        let kernel = folder.join("kernel");
        fs::write(&kernel, &image).unwrap();
        let config = json!({
            "version": 1,
            "memory": 32 << 20,
            "kernel": {
                "path": kernel, "offset": 0, "length": image.len(), "memoryLength": memory_length,
            },
            "program": {
                "path": "/bin/test", "startRip": "0x0", "entry": "0x0", "phdr": "0x0", "phnum": 0,
                "brkStart": "0x0", "vmas": [],
            },
            "argv": ["test"], "env": ["A=1"], "cwd": "/", "hostname": "spore",
        });
        Self { folder, config }
    }

    /// A file beside the launch file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The monitor, ready to be started with this guest.
    pub fn command(&self) -> Command {
        let file = self.path("launch.json");
        fs::write(&file, self.config.to_string()).unwrap();
        monitor(&file)
    }

    /// Starts the monitor with pipes.
    pub fn start(&self) -> Child {
        let mut command = self.command();
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs the guest to its end.
    pub fn run(&self) -> Output {
        self.start().wait_with_output().unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The monitor with any launch file.
pub fn monitor(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spore-monitor"));
    command.arg("--config").arg(file);
    command
}

/// Checks that a run ended with one error line of this code and exit status.
pub fn assert_error(output: &Output, code: &str, status: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with(&format!("error[{code}]: ")), "{stderr}");
    assert!(stderr.contains(" — "), "{stderr}");
    stderr
}
