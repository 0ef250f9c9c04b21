/** Small real ELF files for the tests: compiled once per test run, removed at its end. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SOURCE = `
#include <stdio.h>
__thread int per_thread = 3;
int shared_value = 5;
static __attribute__((noinline)) int hidden(int x) { return x * per_thread + shared_value; }
__attribute__((noinline)) int visible(int x) { return hidden(x) - 1; }
int main(int argc, char **argv) { printf("%d\\n", visible(argc)); return 0; }
`;

/** Flags of the C compiler for each kind of file. */
const KINDS = {
  pie: ["-Wl,-rpath,/opt/a:/opt/b", "-Wl,--disable-new-dtags"],
  fixed: ["-no-pie", "-Wl,-rpath,$ORIGIN/lib", "-Wl,--enable-new-dtags"],
  shared: ["-shared", "-fPIC", "-Wl,-soname,libsample.so.7"],
  object: ["-c"],
  stripped: ["-s", "-rdynamic"],
} as const;

export type Kind = keyof typeof KINDS;

/** A compiled file: its bytes, and its path for reference tools. */
export interface Program {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Compiles every kind; call `remove` when done. */
export function compilePrograms(): { programs: Record<Kind, Program>; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "spore-elf-"));
  const source = join(folder, "sample.c");
  writeFileSync(source, SOURCE);
  const build = (kind: Kind): Program => {
    const path = join(folder, kind);
    execFileSync("cc", ["-O1", "-Wl,--build-id=sha1", ...KINDS[kind], "-o", path, source]);
    // A Buffer's slice() shares memory, that of an Uint8Array copies.
    return { path, bytes: new Uint8Array(readFileSync(path)) };
  };
  const programs = {
    pie: build("pie"),
    fixed: build("fixed"),
    shared: build("shared"),
    object: build("object"),
    stripped: build("stripped"),
  };
  return { programs, remove: () => rmSync(folder, { recursive: true }) };
}
