/**
 * Runs programs on a patched C library and loader, on this very Linux, and
 * compares what they do with what they do unpatched.
 */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readSync, rmSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { bytesOf, compile, systemLibraries, temporaryFolder, writeProgram } from "../test/programs.ts";
import { type PatchOptions, patchSyscalls } from "./index.ts";

const folder = temporaryFolder();
afterAll(folder.remove);
const { libc, loader } = systemLibraries();

const SCRIPT = `
const { Worker } = require("node:worker_threads");
const { createServer } = require("node:http");
const fs = require("node:fs");
const { execFileSync } = require("node:child_process");
process.on("SIGUSR2", () => console.log("signal"));
process.kill(process.pid, "SIGUSR2");
console.log(fs.readdirSync("/proc/self").includes("maps"), process.argv.length);
console.log(require("node:zlib").gunzipSync(require("node:zlib").gzipSync("packed")).toString());
console.log(execFileSync("echo", ["child"], { encoding: "utf8" }).trim());
new Worker("require('node:worker_threads').parentPort.postMessage(6 * 7)", { eval: true }).on("message", (value) => {
  console.log(value);
  const server = createServer((request, response) => response.end("served")).listen(0, "127.0.0.1", async () => {
    console.log(await (await fetch("http://127.0.0.1:" + server.address().port)).text());
    process.exit(3);
  });
});
`;

const threads = compile(folder.path, "threads.c");
const launcher = compile(folder.path, "launch.c");
const commands: [string, string[]][] = [
  ["ls", ["/bin/ls", "-l", "/etc"]],
  ["a shell", ["/bin/sh", "-c", "echo one | cat; cd /; pwd; exit 4"]],
  ["a program with threads, signals and processes", [threads]],
  ["Node", [process.execPath, "-e", SCRIPT, "argument"]],
];

/** A folder with patched copies; answers the command line that runs a program on them. */
function patchedLoader(name: string, options: PatchOptions): string[] {
  const target = join(folder.path, name);
  const place = (path: string): string => {
    const result = patchSyscalls(bytesOf(path), options);
    expect(result.report.skipped).toEqual([]);
    return writeProgram(join(folder.path, `${name}-${basename(path)}`), result.bytes);
  };
  const patchedLibc = place(libc);
  const patched = place(loader);
  mkdirSync(target);
  symlinkSync(patchedLibc, join(target, "libc.so.6"));
  return [patched, "--library-path", target];
}

/** Exit status and output of a command. */
function run([program = "", ...rest]: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(program, rest, { encoding: "utf8", timeout: 20_000 });
  return { status, stdout, stderr };
}

/** The launcher's two counters. */
function counters(path: string): { calls: number; othersForbidden: boolean } {
  const file = openSync(path, "r");
  const bytes = new Uint8Array(16);
  readSync(file, bytes, 0, 16, 0);
  closeSync(file);
  const view = new DataView(bytes.buffer);
  return { calls: Number(view.getBigUint64(0, true)), othersForbidden: view.getUint8(8) === 1 };
}

describe("with the system call in the stub", () => {
  const prefix = patchedLoader("stub", { entry: { kind: "itself" } });
  test.each(commands)("%s does what it does unpatched", (_name, command) => {
    expect(run([...prefix, ...command])).toEqual(run(command));
  });
});

describe("with a jump to the library OS's address, where code makes the calls", () => {
  const prefix = patchedLoader("jump", {});
  const counter = join(folder.path, "counter");

  test.each(commands)("%s does what it does unpatched, without any other system call", (_name, command) => {
    const attempt = () => {
      rmSync(counter, { force: true });
      return run([launcher, counter, ...prefix, ...command]);
    };
    let result = attempt();
    // Address randomisation may put something else there, about once in a million times.
    for (let tries = 0; result.status === 77 && tries < 3; tries++) result = attempt();
    expect(result).toEqual(run(command));
    expect(counters(counter).calls).toBeGreaterThan(30);
    expect(counters(counter).othersForbidden).toBe(true);
  });
});
