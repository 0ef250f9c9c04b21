/** Real programs for the tests: compiled here, or taken from the running system. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A temporary folder; call `remove` when done. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "spore-patch-"));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

/** Path of a source file in this folder. */
export function sourceFile(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** Compiles a source file and answers the program's path. */
export function compile(folder: string, source: string, ...flags: string[]): string {
  return compileWith(folder, "cc", source, ...flags);
}

/** The same with a compiler of one's own. */
export function compileWith(folder: string, compiler: string, source: string, ...flags: string[]): string {
  const path = join(folder, `${compiler}-${source.replace(/\W/g, "-")}${flags.length}`);
  execFileSync(compiler, ["-O1", "-Wall", ...flags, "-o", path, sourceFile(source), "-lpthread"]);
  return path;
}

/** Kept from one run of the tests to the next. */
const goCache = fileURLToPath(new URL("../../../build/go-cache", import.meta.url));

/** Compiles a Go program, statically linked. */
export function compileGo(folder: string, source: string): string {
  const path = join(folder, source.replace(/\W/g, "-"));
  const env = { ...process.env, CGO_ENABLED: "0", GO111MODULE: "off", GOCACHE: goCache };
  execFileSync("go", ["build", "-o", path, sourceFile(source)], { env });
  return path;
}

/** A file's bytes in memory of their own. */
export function bytesOf(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path));
}

/** Paths of the C library and of the loader that this Node process runs on. */
export function systemLibraries(): { libc: string; loader: string } {
  const maps = readFileSync("/proc/self/maps", "utf8");
  const find = (pattern: RegExp): string => {
    const path = pattern.exec(maps)?.[1];
    if (!path) throw new Error("this Node does not run on glibc");
    return path;
  };
  return {
    libc: find(/(\/\S*\/libc[.-]\S*)$/m),
    loader: find(/(\/\S*\/ld-linux-x86-64\.so\S*|\/\S*\/ld-2\S*)$/m),
  };
}

/** Writes a program that can be run. */
export function writeProgram(path: string, bytes: Uint8Array): string {
  writeFileSync(path, bytes, { mode: 0o755 });
  return path;
}

/** Addresses of the instructions that objdump finds in a file's sections. */
export function objdumpSites(path: string): { syscall: number[]; cpuid: number[] } {
  return {
    syscall: addressesOf(path, /^ +([0-9a-f]+):\tsyscall/gm),
    cpuid: addressesOf(path, /^ +([0-9a-f]+):\tcpuid/gm),
  };
}

/** Addresses of all instructions that objdump finds. */
export function objdumpInstructions(path: string): number[] {
  return addressesOf(path, /^ +([0-9a-f]+):\t/gm);
}

function addressesOf(path: string, line: RegExp): number[] {
  const listing = execFileSync("objdump", ["-d", "--no-show-raw-insn", path], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  return [...listing.matchAll(line)].map((row) => Number.parseInt(row[1] ?? "", 16));
}
