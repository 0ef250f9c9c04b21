/** Real programs for the tests: compiled here, run under strace, and read as an image would hold them. */

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AppObject, passedArguments } from "../src/derive.ts";
import { type Summary, summarise } from "../src/summary.ts";

/** A temporary folder; call `remove` when done. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "spore-needs-"));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

/** Compiles a source text with a command such as `gcc -static`. */
export function compile(folder: string, name: string, source: string, ...command: string[]): string {
  const [compiler = "", ...flags] = command;
  const file = join(folder, `${name}.c`);
  const program = join(folder, [name, ...command].join("").replace(/\W/g, "_"));
  writeFileSync(file, source);
  execFileSync(compiler, ["-O1", "-w", "-o", program, ...flags, file], { stdio: "pipe" });
  return program;
}

/** Names of the system calls that a program makes here, threads included. */
export function stracedCalls(folder: string, program: string, ...args: string[]): string[] {
  const log = join(folder, "strace.log");
  const { error } = spawnSync("strace", ["-f", "-qq", "-o", log, program, ...args], { stdio: "pipe" });
  if (error) throw error;
  const calls = readFileSync(log, "utf8").matchAll(/^\d+ +(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed)/gm);
  const names = new Set([...calls].map(([, name = ""]) => name));
  // The program that strace runs begins with this one.
  names.delete("execve");
  return [...names].sort();
}

const summaries = new Map<string, Summary>();

/** A program and the libraries that it is linked to. */
export function objectsOf(program: string): AppObject[] {
  const { stdout } = spawnSync("ldd", [program], { encoding: "utf8" });
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => realpathSync(path));
  const read = (path: string, passed: Parameters<typeof summarise>[1]): AppObject => {
    const summary = summaries.get(path) ?? summarise(readFileSync(path), passed);
    summaries.set(path, summary);
    return { path, summary, patched: 0 };
  };
  // Only the C library takes nothing from others.
  const isLibc = (path: string): boolean => /\/(libc\.so|ld-)/.test(path);
  const own = libraries.filter(isLibc).map((path) => read(path, {}));
  const passed = passedArguments(own.map(({ summary }) => summary));
  return [
    ...[program, ...libraries.filter((path) => !isLibc(path))].map((path) => read(path, passed)),
    ...own,
  ];
}
