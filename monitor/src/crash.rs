//! Explains a program's crash: as JSON to the reporter of the command line, which
//! knows symbols, or as one plain line.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kvm_bindings::kvm_regs;
use serde_json::{Value, json};
use spore_abi::hostcall::{CallRecord, CrashRecord, DebugRegisters, ModuleRecord};
use spore_abi::layout::{KERNEL_END, KERNEL_GPA, KERNEL_VA, PML4_GPA};

use crate::error::{MonitorError, SPORE_GUEST_CRASH};
use crate::events::signal_name;
use crate::finish::eprintln_quietly;
use crate::memory::GuestMemory;
use crate::pagetable::translate;

/// How far a stack of the library OS is looked through, in words.
const STACK_WORDS: u64 = 2048;
/// More callers tell nobody more.
const MOST_WORDS: usize = 128;
const KERNEL_LENGTH: u64 = KERNEL_END - KERNEL_GPA;

/// What a report needs besides the guest's record.
pub struct CrashContext {
    /// Path of the program in the guest.
    pub program: String,
    /// Layers as the launch configuration lists them.
    pub layers: Value,
    /// The file with the library OS.
    pub kernel: PathBuf,
    /// Command that explains a crash.
    pub reporter: Option<Vec<String>>,
}

/// Explains the crash whose record lies at `gpa`. Waits for the reporter.
pub fn report(memory: &GuestMemory, context: &CrashContext, gpa: u64) {
    let Ok(record) = memory.read::<CrashRecord>(gpa) else {
        return;
    };
    let told = context
        .reporter
        .as_ref()
        .is_some_and(|command| run_reporter(command, &to_json(&record, context)));
    if !told {
        let error = MonitorError::new(SPORE_GUEST_CRASH, summary(&record, &context.program));
        eprintln_quietly(&error.to_string());
    }
}

/// Starts the reporter, whose words go to standard error; false if it failed.
fn run_reporter(command: &[String], crash: &Value) -> bool {
    let Some((program, arguments)) = command.split_first() else {
        return false;
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    if let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() {
        let stderr: OwnedFd = stderr;
        command.stdout(Stdio::from(stderr));
    }
    // SAFETY: prctl is async-signal-safe; the reporter shall not outlive us.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    };
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A reporter that does not read shows in its exit status.
        let _ = stdin.write_all(crash.to_string().as_bytes());
    }
    child.wait().is_ok_and(|status| status.success())
}

/// The record as the reporter reads it.
fn to_json(record: &CrashRecord, context: &CrashContext) -> Value {
    let calls = taken(&record.calls, record.call_count);
    let modules = taken(&record.modules, record.module_count);
    let stack = taken(&record.stack, record.stack_count);
    json!({
        "signal": record.signal,
        "code": record.code,
        "address": hex(record.address),
        "rip": hex(record.registers.rip),
        "registers": registers(&record.registers),
        "tid": record.tid,
        "calls": calls.iter().map(call).collect::<Vec<_>>(),
        "modules": modules.iter().map(module).collect::<Vec<_>>(),
        "stack": stack.iter().copied().map(hex).collect::<Vec<_>>(),
        "layers": context.layers,
        "program": context.program,
        "kernel": kernel(context),
    })
}

/// The library OS in memory: the reporter knows where its symbols are.
fn kernel(context: &CrashContext) -> Value {
    json!({ "path": context.kernel, "start": hex(KERNEL_VA), "end": hex(KERNEL_VA + KERNEL_LENGTH) })
}

/// Says where the library OS stopped, for whoever mends it; the error itself follows.
pub fn report_kernel(
    memory: &GuestMemory,
    context: &CrashContext,
    registers: &kvm_regs,
    problem: &str,
) {
    let Some(command) = &context.reporter else {
        return;
    };
    let stack = kernel_words(memory, registers.rsp);
    run_reporter(
        command,
        &json!({
            "problem": problem,
            "rip": hex(registers.rip),
            "stack": stack.into_iter().map(hex).collect::<Vec<_>>(),
            "kernel": kernel(context),
        }),
    );
}

/// Words on a stack that may be addresses in the library OS, innermost first.
fn kernel_words(memory: &GuestMemory, stack: u64) -> Vec<u64> {
    (0..STACK_WORDS)
        .map_while(|index| {
            let at = (stack & !7).checked_add(index * 8)?;
            let (gpa, _) = translate(memory, PML4_GPA, at)?;
            memory.read::<u64>(gpa).ok()
        })
        .filter(|word| (KERNEL_VA..KERNEL_VA + KERNEL_LENGTH).contains(word))
        .take(MOST_WORDS)
        .collect()
}

/// The valid head of an array whose count the guest wrote.
fn taken<T>(all: &[T], count: u32) -> &[T] {
    &all[..all.len().min(count as usize)]
}

fn registers(registers: &DebugRegisters) -> Value {
    const NAMES: [&str; 16] = [
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ];
    let mut all = serde_json::Map::new();
    for (name, value) in NAMES.iter().zip(registers.general) {
        all.insert((*name).to_owned(), hex(value));
    }
    all.insert("rip".to_owned(), hex(registers.rip));
    all.insert("rflags".to_owned(), hex(registers.rflags));
    all.insert("fsBase".to_owned(), hex(registers.fs_base));
    Value::Object(all)
}

fn call(call: &CallRecord) -> Value {
    json!({
        "number": call.number,
        "args": call.args.map(hex),
        "result": call.result,
        "tid": call.tid,
        "unfinished": call.unfinished != 0,
    })
}

fn module(module: &ModuleRecord) -> Value {
    json!({
        "start": hex(module.start),
        "end": hex(module.end),
        "fileOffset": module.file_offset,
        "path": path(module),
    })
}

fn path(module: &ModuleRecord) -> String {
    let end = module.path.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&module.path[..end.unwrap_or(module.path.len())]).into_owned()
}

fn hex(value: u64) -> Value {
    Value::String(format!("{value:#x}"))
}

/// The crash in one line.
fn summary(record: &CrashRecord, program: &str) -> String {
    let rip = record.registers.rip;
    let place = taken(&record.modules, record.module_count)
        .iter()
        .find(|module| (module.start..module.end).contains(&rip))
        .map_or(String::new(), |module| {
            let offset = (rip - module.start).wrapping_add(module.file_offset);
            format!(" in {}+{offset:#x}", path(module))
        });
    let signal = signal_name(record.signal);
    let address = record.address;
    format!("{program} crashed: {signal}, address {address:#x}, at {rip:#x}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> CrashRecord {
        // SAFETY: `CrashRecord` is `Plain`, zero bytes are a value.
        let mut record: CrashRecord = unsafe { std::mem::zeroed() };
        record.signal = 11;
        record.code = 1;
        record.address = 0x10;
        record.registers.rip = 0x40_1234;
        record.call_count = u32::MAX;
        record.calls[0].result = -2;
        record.module_count = 1;
        record.modules[0].start = 0x40_0000;
        record.modules[0].end = 0x50_0000;
        record.modules[0].file_offset = 0x1000;
        record.modules[0].path[..6].copy_from_slice(b"/bin/x");
        record
    }

    #[test]
    fn a_summary_names_signal_address_and_module() {
        assert_eq!(
            summary(&record(), "/bin/x"),
            "/bin/x crashed: SIGSEGV, address 0x10, at 0x401234 in /bin/x+0x2234"
        );
    }

    #[test]
    fn the_reporter_gets_everything_and_counts_are_bounded() {
        let context = CrashContext {
            program: "/bin/x".into(),
            layers: json!([]),
            kernel: PathBuf::new(),
            reporter: None,
        };
        let crash = to_json(&record(), &context);
        assert_eq!(crash["signal"], 11);
        assert_eq!(crash["address"], "0x10");
        assert_eq!(crash["registers"]["rip"], "0x401234");
        assert_eq!(crash["calls"].as_array().unwrap().len(), 16);
        assert_eq!(crash["calls"][0]["result"], -2);
        assert_eq!(crash["calls"][0]["unfinished"], false);
        assert_eq!(crash["modules"][0]["path"], "/bin/x");
        assert_eq!(crash["stack"].as_array().unwrap().len(), 0);
    }
}
