//! Orders from outside while the guest runs: a Unix socket that the launch
//! configuration names, one JSON object a line, one line as the answer.
//!
//! - `{"freeze": PATH}` takes a snapshot; the guest runs on. With `"exit": true`
//!   the guest ends once it is written; `"patienceMs"` is how long the program may take
//!   to get ready for it; `"base": OTHER` is a snapshot in the same folder that may hold
//!   most of its pages already. Answer: what was written.
//!
//! - `{"sleep": PATH}` puts the guest to sleep: its memory goes to a file at PATH, which
//!   loses its name at once, and back to the host. Listeners and connections stay, and the
//!   guest goes on as soon as there is something for it: a connection, bytes, the end of a
//!   connection, a signal or an order. Its own timers do not wake it. Answer: what was
//!   written.
//!
//! - `{"noteUse": PATH}`, of a machine on trial: notes in the snapshot that it was made
//!   from which pages it has used so far.
//!
//! Who may connect is decided by the socket's directory and mode (0600).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{MonitorError, Result, SPORE_INTERNAL, SPORE_LAUNCH_CONFIG};
use crate::events::Events;
use crate::finish::{self, Outcome};
use crate::snapshot::freezer::{Afterwards, Asleep, Freezer};

/// Longest order.
const LIMIT: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    /// Where the snapshot goes.
    freeze: Option<PathBuf>,
    /// Where the memory of a guest that sleeps goes.
    sleep: Option<PathBuf>,
    /// Another snapshot beside it that it may be made on.
    base: Option<PathBuf>,
    /// The snapshot that learns what was used.
    note_use: Option<PathBuf>,
    /// End the guest afterwards.
    #[serde(default)]
    exit: bool,
    /// How long the program may take to get ready for it, ms.
    #[serde(default = "patience")]
    patience_ms: u64,
}

fn patience() -> u64 {
    10_000
}

/// Starts to listen. The socket's file is removed when the process ends in order.
pub fn listen(path: &Path, freezer: Arc<Freezer>, events: Arc<Events>) -> Result<()> {
    let failed = |error: std::io::Error| {
        MonitorError::new(
            SPORE_INTERNAL,
            format!(
                "unexpected: cannot take orders at {}: {error}",
                path.display()
            ),
        )
    };
    // Left by a process that was killed.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    finish::remove_at_end(path);
    let thread = std::thread::Builder::new()
        .name("orders".into())
        .stack_size(256 << 10);
    thread
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &freezer, &events);
            }
        })
        .map_err(failed)?;
    Ok(())
}

fn serve(stream: UnixStream, freezer: &Freezer, events: &Events) {
    let Ok(mut answers) = stream.try_clone() else {
        return;
    };
    let mut lines = BufReader::new(std::io::Read::take(stream, LIMIT));
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        // While it is there, a guest that is to end does not run on.
        let mut stillness = None;
        let answer = match carry_out(&line, freezer, &mut stillness) {
            Ok(answer) => answer,
            Err(error) => {
                stillness = None;
                json!({"error": {"code": error.code.name, "message": error.what}})
            }
        };
        // Whoever asked may be gone; the order is carried out.
        let _ = answers.write_all(format!("{answer}\n").as_bytes());
        if stillness.is_some() {
            finish::with_outcome(events, Outcome::Exited(0));
        }
        line.clear();
    }
}

fn carry_out(
    line: &str,
    freezer: &Freezer,
    stillness: &mut Option<SyncSender<Asleep>>,
) -> Result<Value> {
    let order: Order = serde_json::from_str(line)
        .map_err(|error| MonitorError::new(SPORE_LAUNCH_CONFIG, format!("order: {error}")))?;
    if let Some(path) = &order.note_use {
        freezer.note_working_set(path)?;
        return Ok(json!({"noted": true}));
    }
    let patience = Duration::from_millis(order.patience_ms);
    if let Some(path) = &order.sleep {
        let frozen = freezer.freeze(patience, Afterwards::Sleep)?;
        let written = frozen.put_to_sleep(path)?;
        return Ok(json!({"slept": written}));
    }
    let Some(path) = &order.freeze else {
        let what = "order: it asks for nothing";
        return Err(MonitorError::new(SPORE_LAUNCH_CONFIG, what));
    };
    let afterwards = match order.exit {
        true => Afterwards::End,
        false => Afterwards::GoOn,
    };
    let mut frozen = freezer.freeze(patience, afterwards)?;
    *stillness = frozen.stillness.take();
    let written = frozen.write(path, order.base.as_deref())?;
    let answer = serde_json::to_value(written).unwrap_or(Value::Null);
    Ok(json!({"frozen": answer}))
}
