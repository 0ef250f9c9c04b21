//! `spore-monitor --launch ROOT -- run ARG...`: the short way of a repeated
//! `spore run`.
//!
//! Starting Node.js to find out that nothing has changed takes longer than the
//! guest's own start. So the command line leaves a launch record: the finished
//! launch configuration and everything that it was made from. `spore` asks here
//! first. If a record of the same command is whole ([`record`]) and nothing it
//! was made from has changed ([`freshness`]), this process runs the guest at
//! once. Otherwise it becomes `spore` again, which takes the long way and is told
//! with `SPORE_LAUNCH_RECORD` where to leave a record. A doubt is a change: the
//! long way is always right. `docs/internals/launch.md` has the whole story.

mod freshness;
mod record;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::hash::Hasher;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::config::Config;
use crate::error::{MonitorError, Result, SPORE_INTERNAL};
use crate::finish;
use crate::launch::record::{Facts, Record};
use crate::standby::handoff::Wake;

/// Tells the long way where to leave a record, as `STAMP:PATH`. Set and empty:
/// the long way, and no record.
const REQUEST: &str = "SPORE_LAUNCH_RECORD";
/// File times come from a clock that is up to a timer tick (10 ms) behind.
const CLOCK_STEP_NS: i128 = 20_000_000;

/// Why a record is not used, for `SPORE_DEBUG=1`.
#[derive(Debug)]
struct Doubt(String);

impl Doubt {
    fn about(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// The arguments of `--launch`: ROOT and the words after `--`.
pub fn arguments(mut words: impl Iterator<Item = OsString>) -> Option<(PathBuf, Vec<OsString>)> {
    let root = words.next()?;
    (words.next()? == "--").then(|| (root.into(), words.collect()))
}

/// The remembered configuration of this command. Without one that can be
/// trusted it does not return: the process becomes `spore`.
pub fn config(root: &Path, words: &[OsString], started: Instant) -> Result<Config> {
    let asked = Asked::new(root, words);
    let doubt = match &asked {
        Ok(asked) => match asked.remembered() {
            Ok(mut config) => {
                stamp_event(&mut config, started);
                rename_machine(&mut config);
                explain("started from the launch record");
                return Ok(config);
            }
            Err(doubt) => doubt.0,
        },
        Err(doubt) => doubt.0.clone(),
    };
    explain(&format!("the long way: {doubt}"));
    let request = asked.map_or(OsString::new(), |asked| asked.request());
    // Also gives the process back the signal settings that it was started with.
    let error = Command::new(root.join("spore"))
        .args(words)
        .env(REQUEST, request)
        .exec();
    let spore = root.join("spore");
    Err(MonitorError::new(
        SPORE_INTERNAL,
        format!("unexpected: cannot start {}: {error}", spore.display()),
    ))
}

/// What was asked for, as a record is found by it.
struct Asked {
    /// The checkout, without symbolic links.
    root: PathBuf,
    /// All words after `spore`, the command first.
    words: Vec<String>,
    directory: String,
    terminal: bool,
    /// Where its record is, if there is one.
    record: PathBuf,
    /// Nanoseconds since 1970 before which everything that the long way will
    /// read was written.
    stamp: i128,
}

impl Asked {
    fn new(root: &Path, words: &[OsString]) -> std::result::Result<Self, Doubt> {
        let text = |word: &OsStr| {
            let text = word.to_str().map(str::to_owned);
            text.ok_or_else(|| Doubt::about("a word that is not UTF-8"))
        };
        if variable("SPORE_MONITOR").is_some() {
            return Err(Doubt::about("SPORE_MONITOR names another monitor"));
        }
        let root = root
            .canonicalize()
            .map_err(|e| Doubt::about(e.to_string()))?;
        let words = words.iter().map(|word| text(word));
        let words = words.collect::<std::result::Result<Vec<_>, _>>()?;
        let directory = std::env::current_dir().map_err(|e| Doubt::about(e.to_string()))?;
        let store = store(&directory).ok_or_else(|| Doubt::about("there is no store"))?;
        let directory = text(directory.as_os_str())?;
        // SAFETY: asks about a descriptor number.
        let terminal = unsafe { libc::isatty(0) } == 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(|_| Doubt::about("the clock is before 1970"))?;
        let name = name_of(&root, &words, &directory, terminal);
        Ok(Self {
            root,
            words,
            directory,
            terminal,
            record: store.join("launches").join(name),
            stamp: now.as_nanos() as i128 - CLOCK_STEP_NS,
        })
    }

    /// The configuration of the record, if everything is as it was.
    fn remembered(&self) -> std::result::Result<Config, Doubt> {
        // SAFETY: asks about a path.
        if unsafe { libc::access(c"/dev/kvm".as_ptr(), libc::R_OK | libc::W_OK) } != 0 {
            return Err(Doubt::about("no access to /dev/kvm"));
        }
        let record = Record::read(&self.record)?;
        self.same_command(&record.facts)?;
        freshness::checkout(&self.root, record.facts.stamp)?;
        freshness::inputs(&record.facts.inputs)?;
        Ok(record.config)
    }

    /// The record is of this command, in this place, with this environment.
    fn same_command(&self, facts: &Facts) -> std::result::Result<(), Doubt> {
        let same = Path::new(&facts.root) == self.root
            && facts.words == self.words
            && facts.directory == self.directory
            && facts.terminal == self.terminal;
        if !same {
            return Err(Doubt::about("the record is of another command"));
        }
        for (name, value) in &facts.environment {
            if std::env::var_os(name).as_deref() != value.as_deref().map(OsStr::new) {
                return Err(Doubt::about(format!("{name} has another value")));
            }
        }
        let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in ours.filter(|name| name.starts_with("SPORE_")) {
            if !facts.environment.contains_key(&name) {
                return Err(Doubt::about(format!("{name} was not set")));
            }
        }
        Ok(())
    }

    fn request(&self) -> OsString {
        let mut request = OsString::from(format!("{}:", self.stamp));
        request.push(&self.record);
        request
    }
}

/// Name of a command's record. Two commands may have the same: each record says
/// which command it is of.
fn name_of(root: &Path, words: &[String], directory: &str, terminal: bool) -> String {
    #[expect(
        deprecated,
        reason = "the only hash of the standard library that never changes"
    )]
    let mut hash = std::hash::SipHasher::new();
    let mut add = |bytes: &[u8]| {
        hash.write(bytes);
        hash.write_u8(0);
    };
    add(root.as_os_str().as_encoded_bytes());
    add(directory.as_bytes());
    add(&[u8::from(terminal)]);
    for word in words {
        add(word.as_bytes());
    }
    format!("{:016x}", hash.finish())
}

/// The store, as `packages/image/src/store.ts` finds it, except for users
/// without HOME.
fn store(directory: &Path) -> Option<PathBuf> {
    if let Some(home) = variable("SPORE_HOME") {
        return Some(directory.join(home));
    }
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")))?;
    Some(directory.join(cache).join("spore"))
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Finding the image again took until now.
fn stamp_event(config: &mut Config, started: Instant) {
    if let Some(Value::Object(built)) = &mut config.built {
        let ms = started.elapsed().as_secs_f64() * 1000.0;
        built.insert("ms".to_owned(), Value::from((ms * 1000.0).round() / 1000.0));
    }
}

/// Each machine that goes on from a snapshot has a name of its own, which was made up for the
/// remembered one; it stands in files of the guest too.
fn rename_machine(config: &mut Config) {
    if config.instance.is_empty() {
        return;
    }
    let Wake {
        instance, hostname, ..
    } = Wake::new_machine();
    for file in &mut config.files {
        file.data = file.data.replace(&config.hostname, &hostname);
    }
    config.instance = instance;
    config.hostname = hostname;
}

fn explain(what: &str) {
    if finish::debugging() {
        finish::eprintln_quietly(&format!("debug: {what}"));
    }
}
