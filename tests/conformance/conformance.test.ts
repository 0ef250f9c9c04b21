// C programs that print what they observe: the guest must print what Linux prints,
// with system calls patched and through the trap.
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const here = fileURLToPath(new URL(".", import.meta.url));
const spore = fileURLToPath(new URL("../../spore", import.meta.url));
let directory = "";

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "spore-conformance-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Outcome {
  readonly output: string;
  readonly status: string;
}

/** Output goes to a file, as `>` has it: Node's own pipes are sockets. */
function run(command: string, args: readonly string[]): Outcome {
  const path = join(directory, "output");
  const file = openSync(path, "w");
  try {
    const { stderr, status, signal } = spawnSync(command, args, {
      encoding: "utf8",
      stdio: ["ignore", file, "pipe"],
      timeout: 60_000,
    });
    const output = readFileSync(path, "utf8");
    // A shell's way to say it, and the way of a virtual machine's exit status.
    const ended = signal === null ? status : 128 + constants.signals[signal];
    return { output, status: `exit ${ended}${output === "" ? stderr : ""}` };
  } finally {
    closeSync(file);
  }
}

function compile(source: string): string {
  const program = join(directory, basename(source, ".c"));
  execFileSync("gcc", ["-O1", "-w", "-o", program, source, "-pthread", "-lrt"], { stdio: "inherit" });
  return program;
}

for (const family of ["core", "fs", "ipc", "net"]) {
  const sources = readdirSync(join(here, family)).filter((name) => name.endsWith(".c"));
  describe(family, () => {
    for (const name of sources) {
      it(`${name} prints what Linux prints`, () => {
        const program = compile(join(here, family, name));
        const native = run(program, []);
        expect(run(spore, ["run", "--quiet", program])).toEqual(native);
        expect(run(spore, ["run", "--quiet", "--no-patch", program])).toEqual(native);
      });
    }
  });
}
