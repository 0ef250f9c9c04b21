/** Programs that tests compile, each into a folder that goes with the tests. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, extname, join } from "node:path";
import { afterAll } from "vitest";
import { fixtures } from "./spore.ts";

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
