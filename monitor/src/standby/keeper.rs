//! A keeper: starts shells of any number of snapshots, one for each order. Whoever
//! gives the orders decides which snapshots are worth it and when.
//!
//! Orders are JSON lines on standard input:
//!
//! - `{"start": CONFIG}` starts a shell of that launch configuration. It has a
//!   connection to the keeper's socket, on which `{"event":"preparing","config":CONFIG}`
//!   comes at once, `{"event":"standby","pid":PID,"listening":[...]}` when it stands by, with
//!   the ports that already listen, and a wish
//!   ([`super::handoff`]) is waited for. If that connection ends, so does the shell.
//! - `{"forget": CONFIG}`: its layers are not needed any more.
//!
//! Shells that use the same layer share one copy of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::{pool, shared, shell};
use crate::config::{self, LayerFile};
use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::finish;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Start(PathBuf),
    Forget(PathBuf),
}

/// Where a layer lies in which file, and how long it is.
type Place = (PathBuf, u64, u64);

/// Carries orders out until there are no more.
pub fn run(socket: &Path) -> Result<()> {
    shell::call_process(c"spore-keeper");
    let mut keeper = Keeper::default();
    for line in io::stdin().lock().lines().map_while(io::Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Order::Start(config)) => keeper.start(socket, &config)?,
            Ok(Order::Forget(config)) => keeper.forget(&config),
            Err(error) => return Err(failed("read an order", &error.into())),
        }
    }
    Ok(())
}

#[derive(Default)]
struct Keeper {
    copies: HashMap<Place, Arc<File>>,
    /// Layers of the configurations that shells were started of.
    used: HashMap<PathBuf, Vec<Arc<File>>>,
}

impl Keeper {
    /// What is wrong with one configuration is said, and is no reason to give up others.
    fn start(&mut self, socket: &Path, config: &Path) -> Result<()> {
        let mut stream = UnixStream::connect(socket).map_err(|error| failed("connect", &error))?;
        let told = json!({"event": "preparing", "config": config});
        let _ = stream.write_all(format!("{told}\n").as_bytes());
        if let Err(error) = self.shell(config, &stream) {
            finish::eprintln_quietly(&error.to_string());
        }
        Ok(())
    }

    fn shell(&mut self, config: &Path, stream: &UnixStream) -> Result<()> {
        if !self.used.contains_key(config) {
            let layers = self.layers(&config::load(config)?.layers);
            let layers = layers.map_err(|error| failed("copy a layer", &error))?;
            self.used.insert(config.to_owned(), layers);
        }
        let layers = self.used[config].iter().map(|file| file.as_raw_fd());
        let mut command = Command::new("/proc/self/exe");
        command.arg("--shell-kept").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let end = stream.as_raw_fd();
        shell::leave_descriptors(&mut command, end, end, layers.collect());
        let child = command.spawn();
        child
            .and_then(pool::reap_later)
            .map_err(|error| failed("start a shell", &error))
    }

    fn layers(&mut self, layers: &[LayerFile]) -> io::Result<Vec<Arc<File>>> {
        let mut files = Vec::new();
        for layer in layers {
            let place = (layer.path.clone(), layer.offset, layer.length);
            let file = match self.copies.get(&place) {
                Some(file) => Arc::clone(file),
                None => Arc::new(shell::in_the_background(|| shared::copy(layer))?),
            };
            self.copies.insert(place, Arc::clone(&file));
            files.push(file);
        }
        Ok(files)
    }

    fn forget(&mut self, config: &Path) {
        self.used.remove(config);
        // What only the table of copies holds is used by nobody.
        self.copies.retain(|_, file| Arc::strong_count(file) > 1);
    }
}

fn failed(what: &str, error: &io::Error) -> MonitorError {
    MonitorError::new(
        SPORE_INTERNAL,
        format!("unexpected: the keeper of shells cannot {what}: {error}"),
    )
}
