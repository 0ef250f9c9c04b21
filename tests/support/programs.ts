/** Programs that tests compile, each into a folder that goes with the tests. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, extname, join } from "node:path";
import { afterAll } from "vitest";
import { fixtures, root } from "./spore.ts";

/** A temporary folder that is removed after the tests of the file. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "spore-test-"));
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Compiles tests/fixtures/programs/SOURCE into `output`; gives the program's path. */
export function compile(output: string, source: string, command: string, ...flags: string[]): string {
  const name = basename(source, extname(source));
  const program = join(output, [name, command, ...flags].join("").replace(/[^\w-]/g, "_"));
  const path = join(fixtures, "programs", source);
  execFileSync(command, ["-o", program, path, ...flags], { stdio: "pipe" });
  return program;
}

/** Compiles tests/fixtures/programs/SOURCE, a Go program, into `output`; gives the program's path. */
export function compileGo(output: string, source: string): string {
  const program = join(output, source.replace(/\W/g, "_"));
  // What Go has compiled is kept from one run of the tests to the next.
  const env = { ...process.env, CGO_ENABLED: "0", GO111MODULE: "off", GOCACHE: join(root, "build/go-cache") };
  execFileSync("go", ["build", "-o", program, join(fixtures, "programs", source)], { env, stdio: "pipe" });
  return program;
}
