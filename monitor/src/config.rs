//! The launch configuration: everything that was decided before the monitor
//! starts, as JSON written by the command line (`packages/monitor-client`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::{MonitorError, Result, SPORE_LAUNCH_CONFIG};
use crate::events::Style;
use crate::net::{Destination, Internal};

/// Version of the configuration that this monitor reads.
pub const VERSION: u32 = 1;

/// An address: a hexadecimal string, "0x400000".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u64);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Address)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not an address like \"0x1000\"")))
    }
}

/// The whole configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// [`VERSION`].
    pub version: u32,
    /// Remove the configuration file once it was read.
    #[serde(default)]
    pub delete_config: bool,
    /// Bytes of guest memory.
    pub memory: u64,
    /// The library OS.
    pub kernel: Kernel,
    /// Image layers, bottom first.
    #[serde(default)]
    pub layers: Vec<LayerFile>,
    /// Program frames that are mapped straight from a layer, read and execute.
    #[serde(default)]
    pub shared: Vec<SharedRegion>,
    /// Program frames in RAM.
    #[serde(default)]
    pub private: Vec<PrivateRegion>,
    /// The program.
    pub program: Program,
    /// Arguments, the program's name first.
    pub argv: Vec<String>,
    /// Environment, KEY=VALUE.
    #[serde(default)]
    pub env: Vec<String>,
    /// Descriptor of a pipe that brings more of it, a JSON list: what must be in no file.
    #[serde(default)]
    pub env_pipe: Option<RawFd>,
    /// Working directory.
    pub cwd: String,
    /// Host name.
    pub hostname: String,
    /// Small files that lie over the layers.
    #[serde(default)]
    pub files: Vec<ExtraFile>,
    /// Published ports; none given: every port the program serves, at 127.0.0.1.
    #[serde(default)]
    pub publish: Option<Vec<PublishRule>>,
    /// What outgoing connections may not reach, whatever the image says.
    #[serde(default)]
    pub policy: Policy,
    /// How apps of the same owner reach each other by name; none: they do not.
    #[serde(default)]
    pub internal: Option<Internal>,
    /// What of the host the image declares that it uses.
    #[serde(default)]
    pub rights: Rights,
    /// Whom the program runs as.
    #[serde(default)]
    pub user: User,
    /// What the program gets for a SIGTERM.
    #[serde(default = "default_stop_signal")]
    pub stop_signal: i32,
    /// How events are told.
    #[serde(default)]
    pub events: Style,
    /// The `built` event, passed through.
    #[serde(default)]
    pub built: Option<Value>,
    /// Print system calls.
    #[serde(default)]
    pub trace: bool,
    /// Count what the program uses, and tell it at the end.
    #[serde(default)]
    pub record: bool,
    /// TCP port for a debugger.
    #[serde(default)]
    pub gdb: Option<u16>,
    /// How long a program may take to stop after SIGTERM or SIGINT.
    #[serde(default = "default_grace")]
    pub grace_ms: u64,
    /// Processors to use; none given: those this process may use.
    #[serde(default)]
    pub cpus: Option<Vec<usize>>,
    /// Command that explains a crash, reading it as JSON from its standard input.
    #[serde(default)]
    pub reporter: Option<Vec<String>>,
    /// With no `publish`: listeners get a free port each instead of their own.
    #[serde(default)]
    pub any_port: bool,
    /// What a snapshot of this run says about itself.
    #[serde(default)]
    pub snapshot: Option<SnapshotIdentity>,
    /// Go on from this snapshot instead of booting.
    #[serde(default)]
    pub restore: Option<PathBuf>,
    /// Watch which pages are used ([`crate::snapshot`]), so that an order can note them.
    #[serde(default)]
    pub trial: bool,
    /// Environment that a restored program is told of, KEY=VALUE.
    #[serde(default)]
    pub restored_env: Vec<String>,
    /// Name of this machine; empty: none.
    #[serde(default)]
    pub instance: String,
    /// Unix socket at which shells of this snapshot stand by.
    #[serde(default)]
    pub pool: Option<PathBuf>,
    /// Unix socket on which this run takes orders ([`crate::orders`]).
    #[serde(default)]
    pub orders: Option<PathBuf>,
    /// A pool has left the layers to this shell as open files.
    #[serde(skip)]
    pub layers_inherited: bool,
    /// This is one of many machines that are wanted now.
    #[serde(skip)]
    pub forked: bool,
    /// Behind the layers it was left the frames of the snapshot, to be mapped.
    #[serde(skip)]
    pub frames_inherited: bool,
    /// `layers` once more, as written, for the crash report.
    #[serde(skip)]
    pub layers_as_written: Value,
}

/// What is run, as a snapshot names it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SnapshotIdentity {
    /// Digest of the image, 64 hexadecimal digits.
    pub image: String,
    /// SHA-256 of the library OS.
    pub kernel: String,
    /// How to start it again; for whoever wrote it.
    #[serde(default)]
    pub about: Value,
}

/// Where the flat kernel image lies.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// File.
    pub path: PathBuf,
    /// Offset in the file.
    #[serde(default)]
    pub offset: u64,
    /// Bytes in the file.
    pub length: u64,
    /// Bytes in memory, bss included.
    pub memory_length: u64,
}

impl Kernel {
    /// Its bytes in the file.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(0)];
        File::open(&self.path)?.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// An EROFS image inside a file.
#[derive(Clone, Debug, Deserialize)]
pub struct LayerFile {
    /// File.
    pub path: PathBuf,
    /// Offset in the file, a multiple of 4096.
    #[serde(default)]
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Guest-physical address, a multiple of 2 MiB.
    pub gpa: Address,
}

/// 2 MiB frames of a layer that appear at a virtual address.
#[derive(Debug, Deserialize)]
pub struct SharedRegion {
    /// First virtual address.
    pub va: Address,
    /// Index in `layers`.
    pub layer: usize,
    /// Offset in the layer.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// 2 MiB frames of RAM with initial content.
#[derive(Debug, Deserialize)]
pub struct PrivateRegion {
    /// First virtual address.
    pub va: Address,
    /// First guest-physical address.
    pub gpa: Address,
    /// Length in bytes.
    pub length: u64,
    /// What is copied in; the rest is zero.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// Bytes copied from a layer.
#[derive(Debug, Deserialize)]
pub struct Part {
    /// Index in `layers`.
    pub layer: usize,
    /// Offset in the layer.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Offset in the region.
    pub at: u64,
}

/// The program as the image builder laid it out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    /// Absolute guest path.
    pub path: String,
    /// First instruction: the program's or its interpreter's.
    pub start_rip: Address,
    /// AT_ENTRY.
    pub entry: Address,
    /// AT_PHDR.
    pub phdr: Address,
    /// AT_PHNUM.
    pub phnum: u64,
    /// AT_BASE.
    #[serde(default)]
    pub interp_base: Address,
    /// Start of the heap that brk moves.
    pub brk_start: Address,
    /// Mappings that exist at the first instruction, ascending.
    #[serde(default)]
    pub vmas: Vec<Vma>,
}

/// One mapping of the program.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vma {
    /// First address.
    pub start: Address,
    /// End, exclusive.
    pub end: Address,
    /// PROT_ bits.
    pub prot: u32,
    /// Offset in the file.
    #[serde(default)]
    pub file_offset: u64,
    /// File, empty for anonymous memory.
    #[serde(default)]
    pub path: String,
}

/// A small file over the layers.
#[derive(Debug, Deserialize)]
pub struct ExtraFile {
    /// Absolute guest path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub data: String,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Streams.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// A published port.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PublishRule {
    /// Host address to listen on.
    pub address: IpAddr,
    /// Host port, 0 for any free one.
    pub host: u16,
    /// Guest port.
    pub guest: u16,
    /// Of which kind the ports are.
    #[serde(default)]
    pub protocol: Protocol,
    /// A socket that listens there already, if somebody has left one.
    #[serde(skip)]
    pub listener: Option<Arc<OwnedFd>>,
    /// Others hold that socket too.
    #[serde(skip)]
    pub lent: bool,
}

/// What outgoing connections may not reach.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// 169.254.0.0/16 and fe80::/10.
    pub deny_link_local: bool,
    /// 169.254.169.254 and fd00:ec2::254.
    pub deny_metadata: bool,
    /// The host's own loopback, where its other services listen.
    pub deny_loopback: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            deny_link_local: true,
            deny_metadata: true,
            deny_loopback: false,
        }
    }
}

/// What of the host an image declares that it uses; everything else is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rights {
    /// The standard streams.
    pub console: bool,
    /// Sockets of the host.
    pub network: bool,
    /// Ports that may be published; none given: all.
    pub ports: Option<Vec<u16>>,
    /// Where it may connect to; none given: everywhere.
    #[serde(deserialize_with = "destinations")]
    pub destinations: Option<Vec<Destination>>,
    /// Name servers that the guest is told of.
    pub resolvers: Vec<IpAddr>,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            console: true,
            network: true,
            ports: None,
            destinations: None,
            resolvers: Vec::new(),
        }
    }
}

fn destinations<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Vec<Destination>>, D::Error> {
    let wrong = |text: &String| D::Error::custom(format!("{text:?} is not a destination"));
    let parsed = |text: String| text.parse().map_err(|()| wrong(&text));
    match Option::<Vec<String>>::deserialize(from)? {
        None => Ok(None),
        Some(texts) => texts
            .into_iter()
            .map(parsed)
            .collect::<std::result::Result<_, _>>()
            .map(Some),
    }
}

/// Whom a program runs as.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Signals that can ask a program to stop.
const STOP_SIGNALS: [i32; 6] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

fn default_grace() -> u64 {
    10_000
}

fn default_stop_signal() -> i32 {
    libc::SIGTERM
}

/// Reads a configuration and removes its file if it says so.
pub fn load(path: &Path) -> Result<Config> {
    let text = fs::read(path).map_err(|e| {
        bad(format!(
            "cannot read the launch file {}: {e}",
            path.display()
        ))
    })?;
    let config = parse(&text);
    // A file that cannot be read still says whether it was made to be removed.
    let removable = |_: &MonitorError| contains(&text, b"\"deleteConfig\":true");
    if config
        .as_ref()
        .map_or_else(removable, |config| config.delete_config)
    {
        // A file that cannot be removed or is gone already harms nothing.
        let _ = fs::remove_file(path);
    }
    let mut config = config?;
    if let Some(pipe) = config.env_pipe.take() {
        config.env.extend(receive_env(pipe)?);
    }
    Ok(config)
}

/// What comes through the pipe, to its end.
fn receive_env(pipe: RawFd) -> Result<Vec<String>> {
    if pipe <= libc::STDERR_FILENO {
        return Err(bad(format!("envPipe {pipe} is a standard stream")));
    }
    // SAFETY: whoever wrote the configuration left the descriptor to this process, for this.
    let mut pipe = unsafe { fs::File::from_raw_fd(pipe) };
    let mut text = Vec::new();
    pipe.read_to_end(&mut text)
        .map_err(|e| bad(format!("cannot read envPipe: {e}")))?;
    serde_json::from_slice(&text).map_err(|e| bad(format!("envPipe brings no list: {e}")))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Reads a configuration from its text.
pub fn parse(text: &[u8]) -> Result<Config> {
    let mut config: Config =
        serde_json::from_slice(text).map_err(|e| bad(format!("the launch file is wrong: {e}")))?;
    if config.version != VERSION {
        return Err(bad(format!(
            "the launch file has version {}, this monitor reads {VERSION}",
            config.version
        )));
    }
    if !STOP_SIGNALS.contains(&config.stop_signal) {
        let signal = config.stop_signal;
        return Err(bad(format!("signal {signal} cannot ask a program to stop")));
    }
    if config.reporter.is_some() {
        // Only a crash report needs it, and only then is the text read twice.
        config.layers_as_written = serde_json::from_slice::<Value>(text)
            .ok()
            .and_then(|mut all| all.get_mut("layers").map(Value::take))
            .unwrap_or_default();
    }
    Ok(config)
}

fn bad(what: String) -> MonitorError {
    MonitorError::new(SPORE_LAUNCH_CONFIG, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"version":1,"memory":33554432,
        "kernel":{"path":"k","length":10,"memoryLength":20},
        "layers":[{"path":"l","length":4096,"gpa":"0x1000000000"}],
        "program":{"path":"/x","startRip":"0x1","entry":"0x2","phdr":"0x3","phnum":4,
                   "brkStart":"0x5"},
        "argv":["x"],"cwd":"/","hostname":"h"}"#;

    #[test]
    fn defaults_are_filled_in() {
        let config = parse(SMALL.as_bytes()).unwrap();
        assert_eq!(config.program.start_rip, Address(1));
        assert_eq!(config.grace_ms, 10_000);
        assert!(config.policy.deny_metadata);
        assert_eq!(config.events, Style::Human);
        assert!(config.publish.is_none());
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("0x1000000000", "1000"),
            ("\"argv\":[\"x\"]", "\"argv\":1"),
            ("{", ""),
        ] {
            let error = parse(SMALL.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(error.code, SPORE_LAUNCH_CONFIG);
            assert!(!error.to_string().contains('\n'));
        }
    }
}
