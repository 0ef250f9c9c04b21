//! `spore-monitor --config FILE`: runs one guest and ends with its exit status.
//! `--launch ROOT -- run ARG...` does so with a remembered configuration.

mod blob;
mod boot;
mod clock;
mod config;
mod control;
mod crash;
mod debugger;
mod descriptors;
mod error;
mod events;
mod finish;
mod housekeeping;
mod image;
mod launch;
mod machine;
mod mapping;
mod memory;
mod net;
mod pagetable;
mod run;
mod signals;
mod terminal;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

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

fn main() {
    let started = Instant::now();
    finish::install_panic_hook();
    finish::install_fault_handler();
    let config = configuration(started);
    let config = config.unwrap_or_else(|error| finish::with_error(&error));
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
    match (arguments.next(), arguments.next()) {
        (Some(path), None) if option == "--config" => config::load(path.as_ref()),
        _ => Err(MonitorError::new(
            SPORE_LAUNCH_CONFIG,
            "usage: spore-monitor --config FILE",
        )),
    }
}

/// Boots and runs the guest.
fn run(config: Config, events: &Arc<Events>) -> Result<Outcome> {
    let signals = ProgramSignals::block().map_err(|e| host_failed("watch signals", &e))?;
    control::install_kick_handler();
    if let Some(built) = &config.built {
        events.built(built);
    }
    let kvm = Arc::new(machine::open_kvm()?);
    let streams = streams(config.events);
    let processors = use_processors(config.cpus.as_deref());
    let io_thread = processors >= 2;

    let memory = Arc::new(image::map(&config)?);
    let frames = image::first_frames(&config, memory.ram_size())?;
    let features = Features::read_ahead(&kvm, processors, &memory, frames);
    let header = image::load_kernel(&memory, &config.kernel)?;
    boot::prepare(&memory, &config, &header, io_thread, streams)?;
    let kick = EventFd::new(EFD_NONBLOCK | libc::EFD_CLOEXEC)
        .map_err(|e| host_failed("create an event descriptor", &e))?;
    let doorbell = kick
        .try_clone()
        .map_err(|e| host_failed("copy an event descriptor", &e))?;
    let machine = Machine::new(&kvm, Arc::clone(&memory), &header, features, doorbell)?;
    // Other threads kick the vCPU through its run page until the process is gone.
    let machine = Box::leak(Box::new(machine));

    let small = |_| MonitorError::new(SPORE_KVM_FAILED, "KVM failed: guest memory is too small");
    let clock = Arc::new(Clock::new(Arc::clone(&memory), machine.tsc_khz).map_err(small)?);
    let control = Arc::new(VcpuControl::new(Arc::clone(&memory)).map_err(small)?);
    let net = Net::new(NetConfig {
        memory: Arc::clone(&memory),
        publish: config.publish.clone(),
        policy: config.policy,
        streams,
        io_thread,
        events: Arc::clone(events),
        kick,
        control: Arc::clone(&control),
    })?;
    let (housekeeping, debugger) = watchers(&config, &memory, &control, &net, &clock, events)?;
    net.start()?;
    housekeeping
        .start(signals)
        .map_err(|e| host_failed("start a thread", &e))?;
    events.booted();
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
            reporter: config.reporter,
        },
        debugger,
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
        config.grace_ms,
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
/// output, the program's own output goes to standard error.
fn streams(style: Style) -> [RawFd; 3] {
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
