// Repeated runs through the real launcher, in a checkout of its own so that its
// sources may change: when a launch record is used, and that no change is missed.

import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Ended, run } from "../support/process.ts";
import { compile, folder } from "../support/programs.ts";
import { root } from "../support/spore.ts";

const FROM_RECORD = "debug: started from the launch record\n";
const LONG_WAY = /^debug: the long way: (.*)$/m;

const work = folder();
const checkout = join(work, "checkout");
const store = join(work, "store");
const project = join(work, "project");
let program: string;
let hello: string;

/** The parts of this checkout that a run needs; what the set-up looks at is empty. */
function makeCheckout(): void {
  mkdirSync(checkout);
  copyFileSync(join(root, "spore"), join(checkout, "spore"));
  cpSync(join(root, "packages"), join(checkout, "packages"), { recursive: true });
  for (const name of [
    "abi",
    "kernel",
    "monitor/src",
    "tools",
    "build",
    "target/release",
    "node_modules/@spore",
    "bin",
  ])
    mkdirSync(join(checkout, name), { recursive: true });
  for (const name of ["Cargo.toml", "Cargo.lock", "package-lock.json", "monitor/src/main.rs"])
    writeFileSync(join(checkout, name), "");
  for (const name of ["tools/build-monitor", "tools/build-kernel", "bin/cargo", "bin/npm"]) {
    writeFileSync(join(checkout, name), "#!/bin/sh\n");
    chmodSync(join(checkout, name), 0o755);
  }
  for (const name of ["tools/bundle-cli.ts", "build/kernel.a", "target/release/spore-monitor"])
    copyFileSync(join(root, name), join(checkout, name));
  // Not what belongs to npm and the launcher there: the set-up writes to it.
  const installed = readdirSync(join(root, "node_modules")).filter((name) => !/^\.|^@spore$/.test(name));
  for (const name of installed)
    symlinkSync(join(root, "node_modules", name), join(checkout, "node_modules", name));
  writeFileSync(join(checkout, "node_modules/.installed-lock"), "");
  for (const name of readdirSync(join(root, "packages")))
    symlinkSync(`../../packages/${name}`, join(checkout, "node_modules/@spore", name));
  const old = new Date(Date.now() - 60_000);
  for (const name of readdirSync(checkout, { recursive: true, encoding: "utf8" }))
    if (!name.startsWith("node_modules")) utimesSync(join(checkout, name), old, old);
  writeFileSync(join(checkout, "build/ready"), "launch 1\n");
  utimesSync(join(checkout, "build/ready"), old, old);
}

function spore(
  words: readonly string[],
  env: Record<string, string | undefined> = {},
  cwd: string = work,
): Promise<Ended> {
  const PATH = `${checkout}/bin:${process.env["PATH"]}`;
  return run(join(checkout, "spore"), ["run", ...words], {
    cwd,
    env: { PATH, SPORE_HOME: store, SPORE_DEBUG: "1", ...env },
  });
}

/** Runs until the run after it would start from the record. */
async function remembered(
  words: readonly string[],
  env: Record<string, string | undefined> = {},
): Promise<Ended> {
  await spore(words, env);
  const second = await spore(words, env);
  expect(second.stderr).toContain(FROM_RECORD);
  return second;
}

/** What was not said for SPORE_DEBUG. */
const said = ({ stderr }: Ended): string => stderr.replace(/^debug: .*\n/gm, "");

const records = (): string[] =>
  readdirSync(join(store, "launches")).map((name) => join(store, "launches", name));
/** Newer than it was, but not so new that it may change again unnoticed. */
const touch = (path: string): void => {
  const time = new Date(Date.now() - 2_000);
  utimesSync(path, time, time);
};

beforeAll(() => {
  makeCheckout();
  hello = compile(work, "hello.c", "gcc", "-static");
});
beforeEach(() => {
  rmSync(join(store, "launches"), { recursive: true, force: true });
  program = join(work, "program");
  copyFileSync(hello, program);
  const old = new Date(Date.now() - 10_000);
  utimesSync(program, old, old);
});

describe("a repeated run", () => {
  test("starts from the record and does what the first did", async () => {
    const first = await spore(["--json", program, "--", "a b"]);
    expect(first.stderr).toMatch(LONG_WAY);
    const second = await spore(["--json", program, "--", "a b"]);
    expect(second.stderr).toContain(FROM_RECORD);
    expect(said(second)).toBe(said(first));
    expect(second.status).toBe(first.status);
    expect(second.stdout).toMatch(/^\{.*"event":"built".*"reused":true.*\}\n\{"event":"booted"/);
    expect(records().map((path) => statSync(path).mode & 0o777)).toEqual([0o600]);
  });

  test("of another command, in another place, has a record of its own", async () => {
    await remembered([program]);
    expect((await spore([program, "--", "x"])).stderr).toMatch(LONG_WAY);
    expect((await spore(["--quiet", program])).stderr).toMatch(LONG_WAY);
    expect((await spore([program], {}, checkout)).stderr).toMatch(LONG_WAY);
    expect((await spore([program])).stderr).toContain(FROM_RECORD);
    expect(records()).toHaveLength(4);
  });

  test("takes the long way when it is told to", async () => {
    await remembered([program]);
    const { stderr } = await spore([program], { SPORE_LAUNCH_RECORD: "" });
    expect(stderr).not.toMatch(/launch record|long way/);
  });

  test("many at once all run, with and without a record", async () => {
    for (let round = 0; round < 2; round++) {
      const runs = await Promise.all(Array.from({ length: 4 }, () => spore([program])));
      for (const { status, stdout } of runs)
        expect({ status, stdout }).toMatchObject({ status: runs[0]?.status, stdout: runs[0]?.stdout });
    }
    expect(records()).toHaveLength(1);
    expect((await spore([program])).stderr).toContain(FROM_RECORD);
  });

  test("knows what the host told it: names and resolver", async () => {
    await remembered([program]);
    const [record = ""] = records();
    const { inputs } = JSON.parse(readFileSync(record, "utf8").split("\n")[1] ?? "") as {
      inputs: [string, string][];
    };
    const paths = inputs.map(([path]) => path);
    expect(paths).toEqual(expect.arrayContaining(["/etc/hosts", "/etc/resolv.conf", program]));
  });
});

/** Documents, layers and kernels of the store. */
function blobs(): string[] {
  const folder = join(store, "blobs/sha256");
  return readdirSync(folder).map((name) => join(folder, name));
}

describe("what changed is noticed:", () => {
  const changes: Record<string, () => void> = {
    "the program": () => touch(program),
    "the program, replaced by one of the same age": () => {
      const { mtime } = statSync(program);
      rmSync(program);
      copyFileSync(hello, program);
      utimesSync(program, mtime, mtime);
    },
    "the library OS": () => touch(join(checkout, "build/kernel.a")),
    "the command line": () => writeFileSync(join(checkout, "packages/cli/src/new.ts"), ""),
    "the command line, by a file that is old itself": () => {
      const path = join(checkout, "packages/cli/src/moved.ts");
      writeFileSync(path, "");
      utimesSync(path, 1, 1);
    },
    "an image of the store": () => {
      for (const path of blobs().filter((path) => readFileSync(path)[0] === 0x7b)) rmSync(path);
    },
    "a layer of the store": () => {
      for (const path of blobs().filter((path) => readFileSync(path)[0] !== 0x7b)) touch(path);
    },
  };
  test.each(Object.entries(changes))("%s", async (_, change) => {
    const before = await remembered([program]);
    change();
    const after = await spore([program]);
    expect(after.stderr).toMatch(LONG_WAY);
    expect(after.stdout).toBe(before.stdout);
    await remembered([program]);
  });

  test("a source of the monitor, which is then built again", async () => {
    await remembered([program]);
    touch(join(checkout, "monitor/src/main.rs"));
    const { stderr } = await spore([program]);
    expect(stderr).toMatch(/the long way: .*main\.rs is newer\n(.*\n)*spore: building the monitor/);
    utimesSync(join(checkout, "monitor/src/main.rs"), 1, 1);
  });

  test("a layer that was cut short, which is reported", async () => {
    await remembered([program]);
    for (const path of blobs()) truncateSync(path, 100);
    const { status, stdout, stderr } = await spore([program]);
    expect(stderr).toMatch(LONG_WAY);
    // Built again, or refused: never run as it is.
    expect(status === 65 || stdout === (await spore([program])).stdout).toBe(true);
    rmSync(store, { recursive: true });
  });

  test("a symbolic link to the project, which leads elsewhere", async () => {
    for (const name of ["one", "two"]) {
      mkdirSync(join(work, name));
      writeFileSync(join(work, name, "package.json"), '{"main":"main.js"}\n');
      writeFileSync(join(work, name, "main.js"), `console.log("${name}");\n`);
      for (const file of ["package.json", "main.js"]) utimesSync(join(work, name, file), 1, 1);
    }
    const link = join(work, "link");
    symlinkSync("one", link);
    expect((await remembered([link])).stdout).toBe("one\n");
    rmSync(link);
    symlinkSync("two", link);
    expect(await spore([link])).toMatchObject({ stdout: "two\n" });
  });

  test("variables: ours, and none that does not matter", async () => {
    await remembered([program], { UNRELATED: "1" });
    expect((await spore([program], { UNRELATED: "2" })).stderr).toContain(FROM_RECORD);
    expect((await spore([program], { SPORE_NEW: "1" })).stderr).toMatch(
      /the long way: SPORE_NEW was not set/,
    );
    expect((await spore([program], { NODE_OPTIONS: "--no-warnings" })).stderr).toMatch(LONG_WAY);
  });

  test("a file of variables", async () => {
    const file = join(work, "variables");
    writeFileSync(file, "A=1\n");
    const old = new Date(Date.now() - 10_000);
    utimesSync(file, old, old);
    await remembered(["--env-file", file, program]);
    writeFileSync(file, "A=2\n");
    expect((await spore(["--env-file", file, program])).stderr).toMatch(
      /the long way: .*variables has changed/,
    );
  });
});

describe("a record that is not whole", () => {
  const damages: Record<string, (path: string) => void> = {
    "one byte differs": (path) => {
      const bytes = readFileSync(path);
      const at = bytes.length >> 1;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(path, bytes);
    },
    "cut short": (path) => truncateSync(path, statSync(path).size - 2),
    empty: (path) => truncateSync(path, 0),
    "of another version": (path) =>
      writeFileSync(path, readFileSync(path, "utf8").replace("spore-launch 1", "spore-launch 2")),
    "writable for others": (path) => chmodSync(path, 0o666),
    "a directory": (path) => {
      rmSync(path);
      mkdirSync(path);
    },
  };
  test.each(Object.entries(damages))("%s: the run takes the long way", async (_, damage) => {
    const before = await remembered([program]);
    for (const path of records()) damage(path);
    const after = await spore([program]);
    expect(after.stderr).toMatch(LONG_WAY);
    expect({ status: after.status, stdout: after.stdout }).toEqual({
      status: before.status,
      stdout: before.stdout,
    });
  });
});

describe("spore.config.ts", () => {
  const say = (config: string): void => {
    mkdirSync(project, { recursive: true });
    writeFileSync(join(project, "package.json"), '{"main":"main.js"}\n');
    writeFileSync(join(project, "main.js"), "console.log(process.env.SAID);\n");
    writeFileSync(join(project, "spore.config.ts"), config);
    const old = new Date(Date.now() - 10_000);
    for (const name of readdirSync(project)) utimesSync(join(project, name), old, old);
  };

  test("its text, its modules and the variables it reads count", async () => {
    writeFileSync(join(work, "said.ts"), 'export const said: string = "from a module ";\n');
    say(`import { said } from "../said.ts";
export default { env: { SAID: said + (process.env["WHO"] ?? "nobody") } };\n`);
    const old = new Date(Date.now() - 10_000);
    utimesSync(join(work, "said.ts"), old, old);
    expect((await remembered([project], { WHO: "one" })).stdout).toBe("from a module one\n");
    const other = await spore([project], { WHO: "two" });
    expect(other).toMatchObject({ stdout: "from a module two\n" });
    expect(other.stderr).toMatch(/the long way: WHO has another value/);
    writeFileSync(join(work, "said.ts"), 'export const said: string = "changed ";\n');
    expect(await spore([project], { WHO: "two" })).toMatchObject({ stdout: "changed two\n" });
    rmSync(join(project, "spore.config.ts"));
    expect(await spore([project], { WHO: "two" })).toMatchObject({ stdout: "undefined\n" });
  });

  test.each([
    ["reads the clock", "export default { env: { SAID: String(Date.now()) } };\n"],
    [
      "reads files",
      'import { readdirSync } from "node:fs"; export default { env: { SAID: readdirSync("/").join() } };\n',
    ],
    ["takes the whole environment", "export default { env: { SAID: JSON.stringify(process.env) } };\n"],
  ])("one that %s is evaluated every time", async (_, config) => {
    say(config);
    await spore([project]);
    expect((await spore([project])).stderr).toMatch(LONG_WAY);
    expect((await spore([project])).stderr).toMatch(LONG_WAY);
  });
});
