/**
 * Every error a user can meet, in one place.
 *
 * `message` says what happened, `next` what to do about it; `{name}` stands for
 * a value that the one who reports the error gives. `exit` is the exit status:
 * after sysexits(3), or "program" where the program's own status is passed on.
 * The monitor (Rust) states the same codes and statuses; a test compares them.
 */

/** Who can put it right: the one who runs the command, or the one who keeps the machine. */
export type Fault = "user" | "system" | "spore";

/** One error. */
export interface ErrorEntry {
  /** What happened. */
  readonly message: string;
  /** What to do next. */
  readonly next: string;
  /** Exit status of the command. */
  readonly exit: number | "program";
  /** Who can put it right. */
  readonly fault: Fault;
}

/** Exit statuses and what they mean; the program's own status is passed on when it ran. */
export const exitStatuses: Readonly<Record<number, string>> = {
  64: "wrong use of the command line",
  65: "the input is not what it should be",
  66: "an input is missing",
  69: "something the machine should provide is not available",
  70: "a bug in Spore",
  71: "the operating system refused",
  73: "the output cannot be written",
  77: "no permission",
  78: "a configuration file is wrong",
};

/** The errors by code, each an `ErrorEntry`. */
export const registry = {
  SPORE_USAGE: {
    message: "{problem}",
    next: "see `spore {command} --help`",
    exit: 64,
    fault: "user",
  },
  SPORE_TARGET_NOT_FOUND: {
    message: "{target} does not exist",
    next: "give a project directory, a Linux x86-64 program, or an image that `spore build` wrote",
    exit: 66,
    fault: "user",
  },
  SPORE_FILE_UNREADABLE: {
    message: "{file} cannot be read: {problem}",
    next: "allow it to be read, correct the path, or leave it out",
    exit: 66,
    fault: "user",
  },
  SPORE_CWD_MISSING: {
    message: "the image has no directory {path} to work in",
    next: "correct the path given to `--cwd`, or bring the directory along with `--include`",
    exit: 66,
    fault: "user",
  },
  SPORE_RECORD_FAILED: {
    message: "nothing was recorded: {problem}",
    next: "run the command by itself against `spore run`, and correct what it says",
    exit: 65,
    fault: "user",
  },
  SPORE_RECORDING_MISSING: {
    message: "{target} has no recording: {problem}",
    next: "record one with `spore build TARGET -o FILE --record COMMAND`",
    exit: 66,
    fault: "user",
  },
  SPORE_RECORDING_INVALID: {
    message: "{file} is not a recording that `spore build --record` wrote",
    next: "record it again with `spore build TARGET -o FILE --record COMMAND`",
    exit: 65,
    fault: "user",
  },
  SPORE_IMAGE_UNEXPLAINED: {
    message: "{image} does not say what is in its library OS",
    next: "build it again with `spore build`",
    exit: 65,
    fault: "user",
  },
  SPORE_PIECE_ABSENT: {
    message: "{image} has no piece {piece}",
    next: "`spore explain` without a piece lists all that it has",
    exit: 66,
    fault: "user",
  },
  SPORE_NO_ENTRY: {
    message: "{directory} has no entry module ({problem})",
    next: 'name it in package.json ("main") or in spore.config.ts (entry), or add src/index.ts',
    exit: 66,
    fault: "user",
  },
  SPORE_CONFIG_INVALID: {
    message: "{file}: {problem}",
    next: "correct the file; its fields are those of defineConfig in @spore/sdk",
    exit: 78,
    fault: "user",
  },
  SPORE_ELF_INVALID: {
    message: "{file} is not a program that can be run: {problem}",
    next: "give a Linux x86-64 ELF program, a project directory, or an image",
    exit: 65,
    fault: "user",
  },
  SPORE_ELF_MACHINE: {
    message: "{file} is for {machine}, not for x86-64",
    next: "build it for x86_64-linux",
    exit: 65,
    fault: "user",
  },
  SPORE_LIBRARY_MISSING: {
    message: "{program} needs the shared library {library}, which was not found",
    next: "install the package that holds it, or add it with `--include PATH`",
    exit: 66,
    fault: "user",
  },
  SPORE_INTERPRETER_MISSING: {
    message: "{program} needs the interpreter {interpreter}, which does not exist",
    next: "install the C library that the program was built for, or link it statically",
    exit: 66,
    fault: "user",
  },
  SPORE_BUNDLE_FAILED: {
    message: "{entry} cannot be bundled: {problem}",
    next: "correct the source, or install what it imports (`npm install`)",
    exit: 65,
    fault: "user",
  },
  SPORE_INCLUDE_NOT_FOUND: {
    message: "included path {path} does not exist",
    next: "correct the path given to `--include`",
    exit: 66,
    fault: "user",
  },
  SPORE_ENV_FILE: {
    message: "environment file {file}: {problem}",
    next: "give a readable file with one KEY=VALUE a line",
    exit: 66,
    fault: "user",
  },
  SPORE_NODE_VERSION: {
    message: "Node {version} cannot be used: {problem}",
    next: "choose one of 22, 24 and 26, and be online the first time it is used",
    exit: 69,
    fault: "user",
  },
  SPORE_IMAGE_DAMAGED: {
    message: "image {file} is damaged: {problem}",
    next: "build it again",
    exit: 65,
    fault: "user",
  },
  SPORE_IMAGE_FORMAT: {
    message: "{file} is not an image that this Spore reads: {found}",
    next: "give one that `spore build` of this version wrote, or build it again",
    exit: 65,
    fault: "user",
  },
  SPORE_SNAPSHOT_DAMAGED: {
    message: "snapshot {file} is damaged: {problem}",
    next: "take it again with `spore snapshot`",
    exit: 65,
    fault: "user",
  },
  SPORE_SNAPSHOT_FOREIGN: {
    message: "snapshot {file} does not fit: {problem}",
    next: "take one here with `spore snapshot`, of this image and this version of Spore",
    exit: 65,
    fault: "user",
  },
  SPORE_SNAPSHOT_FAILED: {
    message: "no snapshot was taken: {problem}",
    next: "see what the program said above, and `spore snapshot --help` for what to wait for",
    exit: 70,
    fault: "user",
  },
  SPORE_IMAGE_PATH: {
    message: "in the image, {path} {problem}",
    next: "see what is there with `spore image ls` or `spore image tree`",
    exit: 66,
    fault: "user",
  },
  SPORE_OUTPUT_WRITE: {
    message: "cannot write {file}: {problem}",
    next: "choose a place that can be written to and has room",
    exit: 73,
    fault: "user",
  },
  SPORE_KVM_MISSING: {
    message: "/dev/kvm does not exist",
    next: "load the KVM module of this processor (kvm_intel, kvm_amd), switch virtualisation on in the firmware, and see `spore doctor`",
    exit: 69,
    fault: "system",
  },
  SPORE_KVM_PERMISSION: {
    message: "no permission to open /dev/kvm",
    next: 'add yourself to its group (`sudo usermod -aG kvm "$USER"`) and log in again',
    exit: 77,
    fault: "system",
  },
  SPORE_KVM_FAILED: {
    message: "KVM failed: {problem}",
    next: "see `spore doctor`",
    exit: 71,
    fault: "system",
  },
  SPORE_MEMORY_TOO_SMALL: {
    message: "{memory} of memory is too little to boot: at least {needed} is needed",
    next: "give more with `--memory`",
    exit: 64,
    fault: "user",
  },
  SPORE_MEMORY_UNAVAILABLE: {
    message: "the host does not give {memory} of memory: {problem}",
    next: "give less with `--memory`, or free memory on the host",
    exit: 71,
    fault: "system",
  },
  SPORE_PORT_TAKEN: {
    message: "{address} is already in use",
    next: "stop what listens there, or publish on another port: `--publish 0:PORT` picks a free one",
    exit: 69,
    fault: "user",
  },
  SPORE_PORT_PERMISSION: {
    message: "no permission to listen on {address}",
    next: "publish on a port from 1024 upwards",
    exit: 77,
    fault: "user",
  },
  SPORE_PORT_UNDECLARED: {
    message: "the image {problem}",
    next: "publish a port that it declares, or declare this one (`ports` in spore.config.ts) and build again",
    exit: 64,
    fault: "user",
  },
  SPORE_LAUNCH_CONFIG: {
    message: "launch configuration {file}: {problem}",
    next: "this is a bug in Spore unless you wrote the file: please report it",
    exit: 70,
    fault: "spore",
  },
  SPORE_KERNEL_PANIC: {
    message: "the library OS stopped: {problem}",
    next: "this is a bug in Spore: please report it with the command that led to it",
    exit: 70,
    fault: "spore",
  },
  SPORE_GUEST_MEMORY: {
    message: "the guest's memory is used up",
    next: "give it more with `--memory`",
    exit: "program",
    fault: "user",
  },
  SPORE_GUEST_CRASH: {
    message: "{program} crashed: {problem}",
    next: "the lines above say where; `--trace` shows its system calls and `--gdb PORT` lets gdb attach",
    exit: "program",
    fault: "user",
  },
  SPORE_DAEMON_UNREACHABLE: {
    message: "no daemon answers at {address}: {problem}",
    next: "start it with `spore up`",
    exit: 69,
    fault: "user",
  },
  SPORE_DAEMON_VERSION: {
    message: "the daemon at {address} is of another version of Spore than this command: {problem}",
    next: "start it anew with this version (`spore down`, then `spore up`), or use the command of its version",
    exit: 69,
    fault: "user",
  },
  SPORE_DAEMON_RUNNING: {
    message: "another daemon holds {file}",
    next: "use it, stop it with `spore down`, or choose another place with SPORE_HOME",
    exit: 69,
    fault: "user",
  },
  SPORE_DAEMON_FAILED: {
    message: "the daemon did not start: {problem}",
    next: "see its log, {log}",
    exit: 70,
    fault: "spore",
  },
  SPORE_STATE: {
    message: "the daemon's state {file} cannot be used: {problem}",
    next: "free space on its disk, or use the version of Spore that wrote it",
    exit: 71,
    fault: "system",
  },
  SPORE_API_INVALID: {
    message: "the call is not as it should be: {problem}",
    next: "see the API reference",
    exit: 64,
    fault: "user",
  },
  SPORE_UNAUTHENTICATED: {
    message: "the token is missing or not valid",
    next: "set SPORE_TOKEN to a token that `spore token --create NAME` made",
    exit: 77,
    fault: "user",
  },
  SPORE_FORBIDDEN: {
    message: "this is not allowed: {problem}",
    next: "ask for a token with a higher role",
    exit: 77,
    fault: "user",
  },
  SPORE_SECRET_EMPTY: {
    message: "standard input has no value for the secret {name}",
    next: "write the value to standard input, or give `--allow-empty` if it is to be empty",
    exit: 64,
    fault: "user",
  },
  SPORE_NOT_FOUND: {
    message: "there is no {what}",
    next: "see `spore ps` for what there is",
    exit: 66,
    fault: "user",
  },
  SPORE_CONFLICT: {
    message: "this is not possible now: {problem}",
    next: "see `spore inspect` for how things stand",
    exit: 69,
    fault: "user",
  },
  SPORE_QUOTA: {
    message: "the quota of tenant {tenant} is used up: {what}",
    next: "stop or remove something, or ask for a higher quota",
    exit: 69,
    fault: "user",
  },
  SPORE_START_FAILED: {
    message: "{app} did not start: {problem}",
    next: "see `spore logs {app}`",
    exit: 69,
    fault: "user",
  },
  SPORE_UNHEALTHY: {
    message: "{app} did not pass its health check at {path}: {problem}",
    next: "see `spore logs {app}`; the release that was live goes on",
    exit: 69,
    fault: "user",
  },
  SPORE_CERTIFICATE: {
    message: "certificate {file} cannot be used: {problem}",
    next: "give a PEM file with the certificate and its chain to --tls-cert, and its key to --tls-key",
    exit: 65,
    fault: "user",
  },
  SPORE_NO_APP: {
    message: "no app answers for {host}",
    next: "see `spore ps` for the apps and their addresses",
    exit: 66,
    fault: "user",
  },
  SPORE_REQUEST_INVALID: {
    message: "the request is not valid HTTP: {problem}",
    next: "correct the client",
    exit: 65,
    fault: "user",
  },
  SPORE_OVERLOADED: {
    message: "too many requests wait for the app",
    next: "try again after the time that the answer names, or raise the app's `max`",
    exit: 69,
    fault: "user",
  },
  SPORE_WAKE_TIMEOUT: {
    message: "no instance of the app was ready in time",
    next: "see `spore logs` of the app, or raise its start timeout",
    exit: 69,
    fault: "user",
  },
  SPORE_APP_ANSWER: {
    message: "the app's answer cannot be passed on: {problem}",
    next: "see `spore logs` of the app",
    exit: 69,
    fault: "user",
  },
  SPORE_APP_TIMEOUT: {
    message: "the app did not begin to answer in time",
    next: "see `spore logs` of the app, or raise its request timeout",
    exit: 69,
    fault: "user",
  },
  SPORE_SETUP_FAILED: {
    message: "setting up failed: {problem}",
    next: "install what is missing and run the command again",
    exit: 69,
    fault: "system",
  },
  SPORE_NOT_BUILT: {
    message: "{what} is not there ({path})",
    next: "start Spore through the `spore` launcher of the checkout, which builds it",
    exit: 69,
    fault: "system",
  },
  SPORE_KERNEL_DAMAGED: {
    message: "{file} is no archive that a kernel can be linked from: {problem}",
    next: "remove it and start Spore through the `spore` launcher of the checkout, which builds it anew",
    exit: 69,
    fault: "system",
  },
  SPORE_PIECE_UNKNOWN: {
    message: "{problem}",
    next: "docs/reference/pieces.md lists what there is: features, services and system calls",
    exit: 64,
    fault: "user",
  },
  SPORE_PIECE_CONFLICT: {
    message: "{problem}",
    next: "take away one of --piece and --without; docs/reference/pieces.md says what needs what",
    exit: 64,
    fault: "user",
  },
  SPORE_INTERNAL: {
    message: "unexpected: {problem}",
    next: "this is a bug in Spore: please report it; SPORE_DEBUG=1 prints where it happened",
    exit: 70,
    fault: "spore",
  },
} as const;

/** A code of the registry. */
export type ErrorCode = keyof typeof registry;
