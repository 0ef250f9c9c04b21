//! `spore-monitor --config FILE`: runs one guest and ends with its exit status.
//! `--launch ROOT -- run ARG...` does so with a remembered configuration.

mod blob;
mod boot;
mod clock;
mod config;
mod control;
mod cpuid;
mod crash;
mod debugger;
mod descriptors;
mod error;
mod events;
mod export;
mod finish;
mod housekeeping;
mod image;
mod launch;
mod machine;
mod mapping;
mod memory;
mod net;
mod orders;
mod page_cache;
mod pagetable;
mod run;
mod signals;
mod snapshot;
mod standby;
mod terminal;
mod used;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kvm_ioctls::Kvm;
use spore_abi::boot::KernelHeader;
use spore_abi::layout::HUGE;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::clock::Clock;
use crate::config::Config;
use crate::control::VcpuControl;
use crate::crash::CrashContext;
use crate::debugger::{Debugger, Watch};
use crate::error::{MonitorError, Result, SPORE_INTERNAL, SPORE_KVM_FAILED, SPORE_LAUNCH_CONFIG};
use crate::events::{Events, Style};
use crate::finish::Outcome;
use crate::housekeeping::Housekeeping;
use crate::machine::{Features, Machine};
use crate::memory::GuestMemory;
use crate::net::{Net, NetConfig};
use crate::run::Runner;
use crate::signals::ProgramSignals;
use crate::snapshot::freezer::Freezer;
use crate::snapshot::origins::ImageFiles;
use crate::snapshot::restore::Restore;
use crate::standby::fork::Common;
use crate::standby::shell::{self, Source};

fn main() {
    let started = Instant::now();
    finish::install_panic_hook();
    finish::install_fault_handler();
    let result = carry_out(started);
    let Err(error) = result;
    finish::with_error(&error)
}

/// Does what the arguments say; comes back only with an error.
fn carry_out(started: Instant) -> Result<Infallible> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let texts: Vec<&str> = words
        .iter()
        .map(|word| word.to_str().unwrap_or(""))
        .collect();
    match texts.as_slice() {
        ["--inspect" | "--verify", _] => {
            let facts = snapshot::inspect(words[1].as_ref(), texts[0] == "--verify")?;
            println!("{facts}");
            std::process::exit(0)
        }
        ["--about", _] => {
            println!("{}", snapshot::about(words[1].as_ref())?);
            finish::with_status(0)
        }
        ["--fork", config, count] => {
            shell::end_with_starter();
            match standby::fork::run(config.as_ref(), count.parse().unwrap_or(1))? {
                None => finish::with_status(0),
                Some((common, starter)) => {
                    let outcome = clone(common, starter)?;
                    finish::with_status(outcome.status())
                }
            }
        }
        ["--shell" | "--shell-once" | "--shell-kept", _] => {
            let source = Source::inherited(texts[0]);
            let mut config = config::load(words[1].as_ref())?;
            config.layers_inherited = texts[0] != "--shell-once";
            let outcome = shell(config, source, started)?;
            finish::with_status(outcome.status())
        }
        ["--pool", config, count, socket] => {
            shell::end_with_starter();
            let count = count.parse().unwrap_or(1);
            standby::pool::keep(config.as_ref(), count, socket.as_ref())?;
            finish::with_status(0)
        }
        ["--keep", socket] => {
            standby::keeper::run(socket.as_ref())?;
            finish::with_status(0)
        }
        ["--export", format, output, file] => {
            let config = config::load(file.as_ref())?;
            export::export(OsStr::new(format), output.as_ref(), config)?;
            finish::with_status(0)
        }
        ["--activate", config, pool] => {
            shell::end_with_starter();
            standby::activator::run(config.as_ref(), standby::pool::socket(pool).as_deref())?;
            finish::with_status(0)
        }
        _ => {}
    }
    let config = configuration(started)?;
    let events = Arc::new(Events::new(config.events, started));
    match run(config, &events) {
        Ok(outcome) => finish::with_outcome(&events, outcome),
        Err(error) => finish::with_error(&error),
    }
}

/// The configuration that the arguments name.
fn configuration(started: Instant) -> Result<Config> {
    let mut arguments = std::env::args_os().skip(1);
    let option = arguments.next().unwrap_or_default();
    if option == "--launch"
        && let Some((root, words)) = launch::arguments(&mut arguments)
    {
        return launch::config(&root, &words, started);
    }
    let (word, more) = (arguments.next(), arguments.next());
    match (word, more) {
        (Some(path), None) if option == "--config" => config::load(path.as_ref()),
        _ => Err(MonitorError::new(
            SPORE_LAUNCH_CONFIG,
            "usage: spore-monitor --config FILE",
        )),
    }
}

/// A machine that is ready to run.
struct Ready {
    memory: Arc<GuestMemory>,
    header: KernelHeader,
    machine: Machine,
    /// Signalled by the guest's kicks.
    kick: EventFd,
    /// What it goes on from, if it does not boot.
    restore: Option<Restore>,
}

impl Ready {
    /// Changes what a guest must find changed when it goes on now.
    fn brought_up_to_date(self, config: &Config, processors: usize) -> Result<Self> {
        if let Some(restore) = &self.restore {
            let kinds = streams(config.events, config.rights.console)
                .map(|stream| boot::stream_kind(stream) as u32);
            let options = boot::options(config, processors >= 2);
            restore.prepare(&self.memory, config, options, kinds)?;
        }
        Ok(self)
    }

    /// Touches all memory ahead of the guest, where it has any.
    fn warmed(mut self) -> Result<Self> {
        if let Some(restore) = &self.restore
            && let Some(stub) = restore.stub(&self.memory)?
        {
            shell::in_the_background(|| self.machine.warm(&stub))?;
        }
        Ok(self)
    }
}

/// A shell: restores everything, waits for a wish, and goes on as it says.
fn shell(mut config: Config, source: Source, started: Instant) -> Result<Outcome> {
    shell::end_with_starter();
    let signals = ProgramSignals::block().map_err(|e| host_failed("watch signals", &e))?;
    control::install_kick_handler();
    let kvm = Arc::new(machine::open_kvm()?);
    let processors = use_processors(config.cpus.as_deref());
    let path = config.restore.clone().unwrap_or_default();
    let stands_by = source.stands_by();
    let mut ready = restore(&path, &config, &kvm, processors)?;
    if stands_by {
        ready = ready.warmed()?;
    }
    let woken = shell::wait(source, &mut config)?;
    let ready = ready.brought_up_to_date(&config, processors)?;
    let since = if stands_by { woken } else { started };
    let events = Arc::new(Events::new(config.events, since).of(&config.instance));
    shell::prepared();
    match start(config, ready, signals, &events) {
        Ok(outcome) => finish::with_outcome(&events, outcome),
        Err(error) => finish::with_error(&error),
    }
}

/// One of the machines of a fork.
fn clone(common: Common, starter: UnixStream) -> Result<Outcome> {
    let started = Instant::now();
    shell::end_with_starter();
    let signals = ProgramSignals::block().map_err(|e| host_failed("watch signals", &e))?;
    control::install_kick_handler();
    let Common {
        mut config,
        restore,
        header,
        kvm,
        features,
    } = common;
    let processors = use_processors(config.cpus.as_deref());
    let memory = map_empty(&restore, &config)?;
    let features = Features::Known(features);
    let ready = go_on(restore, header, &config, &kvm, (memory, features))?;
    shell::wait(Source::Starter(starter), &mut config)?;
    let ready = ready.brought_up_to_date(&config, processors)?;
    let events = Arc::new(Events::new(config.events, started).of(&config.instance));
    shell::prepared();
    match start(config, ready, signals, &events) {
        Ok(outcome) => finish::with_outcome(&events, outcome),
        Err(error) => finish::with_error(&error),
    }
}

/// Boots or restores the guest, and runs it.
fn run(config: Config, events: &Arc<Events>) -> Result<Outcome> {
    let signals = ProgramSignals::block().map_err(|e| host_failed("watch signals", &e))?;
    control::install_kick_handler();
    if config.trial {
        // Nobody else will want it.
        shell::end_with_starter();
    }
    if let (Some(pool), Some(_)) = (&config.pool, &config.restore)
        && let Some(status) = standby::client::run(pool, &config, &signals)
    {
        finish::with_status(status);
    }
    if let Some(built) = &config.built {
        events.built(built);
    }
    let kvm = Arc::new(machine::open_kvm()?);
    let streams = streams(config.events, config.rights.console);
    let processors = use_processors(config.cpus.as_deref());
    let ready = match config.restore.as_deref() {
        None => boot(&config, &kvm, processors, streams)?,
        Some(path) => match restore(path, &config, &kvm, processors)
            .and_then(|ready| ready.brought_up_to_date(&config, processors))
        {
            Ok(ready) => ready,
            // What cannot be trusted is not used; the guest boots as if there was none.
            Err(error) if error.code.name.starts_with("SPORE_SNAPSHOT_") => {
                events.refused(&error);
                boot(&config, &kvm, processors, streams)?
            }
            Err(error) => return Err(error),
        },
    };
    start(config, ready, signals, events)
}

/// A machine at its first instruction.
fn boot(config: &Config, kvm: &Arc<Kvm>, processors: usize, streams: [RawFd; 3]) -> Result<Ready> {
    let features = Features::read_ahead(kvm, processors);
    let memory = Arc::new(image::map(config)?);
    let header = image::load_kernel(&memory, &config.kernel)?;
    boot::prepare(&memory, config, &header, processors >= 2, streams)?;
    let (kick, doorbell) = doorbell()?;
    let machine = Machine::new(
        kvm,
        Arc::clone(&memory),
        &header,
        features,
        doorbell,
        // Here the library OS begins to take memory.
        &[memory.ram_present() - HUGE],
        None,
    )?;
    Ok(Ready {
        memory,
        header,
        machine,
        kick,
        restore: None,
    })
}

/// A machine that goes on where a snapshot was taken.
fn restore(path: &Path, config: &Config, kvm: &Arc<Kvm>, processors: usize) -> Result<Ready> {
    let restore = Restore::open(path, config)?;
    let header = image::read_header(&config.kernel)?;
    let features = Features::read_ahead(kvm, processors);
    let memory = map_empty(&restore, config)?;
    go_on(restore, header, config, kvm, (memory, features))
}

/// Memory for a machine that goes on.
fn map_empty(restore: &Restore, config: &Config) -> Result<Arc<GuestMemory>> {
    let memory = image::map_empty(config, restore.memory_size(config))?;
    Ok(Arc::new(memory))
}

/// Fills the memory and makes the machine.
fn go_on(
    restore: Restore,
    header: KernelHeader,
    config: &Config,
    kvm: &Kvm,
    (memory, features): (Arc<GuestMemory>, Features),
) -> Result<Ready> {
    // Only a machine that stands by alone can wait: forks are wanted now.
    match config.layers_inherited && !config.forked {
        true => shell::in_the_background(|| restore.load(&memory, config))?,
        false => restore.load(&memory, config)?,
    }
    let (kick, doorbell) = doorbell()?;
    let registers = Some(restore.registers());
    let machine = Machine::new(
        kvm,
        Arc::clone(&memory),
        &header,
        features,
        doorbell,
        &[],
        registers,
    )?;
    restore.check_features(&machine.features)?;
    Ok(Ready {
        memory,
        header,
        machine,
        kick,
        restore: Some(restore),
    })
}

/// The descriptor behind the guest's kicks, twice.
fn doorbell() -> Result<(EventFd, EventFd)> {
    let kick = EventFd::new(EFD_NONBLOCK | libc::EFD_CLOEXEC)
        .map_err(|e| host_failed("create an event descriptor", &e))?;
    let doorbell = kick
        .try_clone()
        .map_err(|e| host_failed("copy an event descriptor", &e))?;
    Ok((kick, doorbell))
}

/// Brings everything around the machine up and runs it.
fn start(
    config: Config,
    ready: Ready,
    signals: ProgramSignals,
    events: &Arc<Events>,
) -> Result<Outcome> {
    let Ready {
        memory,
        header,
        machine,
        kick,
        restore,
    } = ready;
    let streams = streams(config.events, config.rights.console);
    // Other threads kick the vCPU through its run page until the process is gone.
    let machine = Box::leak(Box::new(machine));
    let small = |_| MonitorError::new(SPORE_KVM_FAILED, "KVM failed: guest memory is too small");
    let offset = restore.as_ref().map_or(0, Restore::clock_offset);
    let clock = Clock::new(Arc::clone(&memory), machine.tsc_khz, offset).map_err(small)?;
    let clock = Arc::new(clock);
    let control = Arc::new(VcpuControl::new(Arc::clone(&memory)).map_err(small)?);
    let net = Net::new(NetConfig {
        memory: Arc::clone(&memory),
        publish: config.publish.clone(),
        policy: config.policy,
        rights: config.rights.clone(),
        internal: config.internal.clone(),
        streams,
        io_thread: use_processors(None) >= 2,
        events: Arc::clone(events),
        kick,
        control: Arc::clone(&control),
        any_port: config.any_port,
        revive: restore.as_ref().map(|restore| restore.devices().clone()),
    })?;
    let (housekeeping, debugger) = watchers(&config, &memory, &control, &net, &clock, events)?;
    let generation = restore.as_ref().map_or(0, Restore::generation);
    let freezer = Arc::new(Freezer::new(
        Arc::clone(&memory),
        Arc::clone(&control),
        Arc::clone(&clock),
        (
            config.snapshot.clone().unwrap_or_default(),
            ImageFiles::of(&config),
        ),
        &machine.features,
        (generation, config.trial && restore.is_some()),
    ));
    if let Some(path) = &config.orders {
        orders::listen(path, Arc::clone(&freezer), Arc::clone(events))?;
    }
    net.start()?;
    housekeeping
        .start(signals)
        .map_err(|e| host_failed("start a thread", &e))?;
    match restore {
        Some(_) => events.restored(generation),
        None => events.booted(),
    }
    shell::taken();
    let runner = Runner {
        memory,
        control,
        net,
        clock,
        housekeeping,
        header,
        streams,
        crash: CrashContext {
            program: config.program.path,
            layers: config.layers_as_written,
            kernel: config.kernel.path,
            reporter: config.reporter,
        },
        recorder: config.record.then(|| Arc::clone(events)),
        debugger,
        freezer,
        events: Arc::clone(events),
    };
    runner.run(machine)
}

/// The housekeeping thread's state and the debugger, which it watches.
fn watchers(
    config: &Config,
    memory: &Arc<GuestMemory>,
    control: &Arc<VcpuControl>,
    net: &Arc<Net>,
    clock: &Arc<Clock>,
    events: &Arc<Events>,
) -> Result<(Arc<Housekeeping>, Option<Debugger>)> {
    let watch = Watch::new();
    let housekeeping = Housekeeping::new(
        Arc::clone(control),
        Arc::clone(net),
        Arc::clone(clock),
        Arc::clone(events),
        Arc::clone(&watch),
        (config.grace_ms, config.stop_signal),
    )
    .map_err(|e| host_failed("create a timer", &e))?;
    let debugger = match config.gdb {
        Some(port) => Some(Debugger::listen(
            port,
            Arc::clone(memory),
            &config.program,
            watch,
            Arc::clone(events),
            Arc::clone(&housekeeping),
        )?),
        None => None,
    };
    Ok((housekeeping, debugger))
}

/// Host descriptors of the program's standard streams. With events on standard
/// output, the program's own output goes to standard error. Without a console
/// there are none.
fn streams(style: Style, console: bool) -> [RawFd; 3] {
    if !console {
        return [-1; 3];
    }
    match style {
        Style::Json => [0, 2, 2],
        Style::Human | Style::Quiet => [0, 1, 2],
    }
}

/// Keeps to the given processors, if any; returns how many there are.
fn use_processors(wanted: Option<&[usize]>) -> usize {
    // SAFETY: a zeroed set is a value; the calls read or fill one of its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if let Some(wanted) = wanted {
            for cpu in wanted
                .iter()
                .filter(|cpu| **cpu < libc::CPU_SETSIZE as usize)
            {
                libc::CPU_SET(*cpu, &mut set);
            }
            // Processors that do not exist leave the choice as it was.
            libc::sched_setaffinity(0, size_of_val(&set), &set);
        }
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        libc::CPU_COUNT(&set) as usize
    }
}

fn host_failed(what: &str, error: &std::io::Error) -> MonitorError {
    MonitorError::new(
        SPORE_INTERNAL,
        format!("unexpected: cannot {what}: {error}"),
    )
}
