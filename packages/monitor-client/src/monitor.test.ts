import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeConfigFile } from "./config-file.ts";
import { type GuestConfig, launchConfig } from "./launch-config.ts";
import { checkKvm, findMonitor } from "./monitor.ts";

const guest: GuestConfig = {
  version: 1,
  memory: 256 << 20,
  kernel: { path: "/k", offset: 0, length: 1, memoryLength: 1 },
  layers: [],
  shared: [],
  private: [],
  program: {
    path: "/x",
    startRip: "0x1",
    entry: "0x1",
    phdr: "0x1",
    phnum: 1,
    interpBase: "0x0",
    brkStart: "0x2",
    vmas: [],
  },
  argv: ["/x"],
  env: ["SECRET=1"],
  cwd: "/",
  hostname: "spore",
  files: [],
  publish: null,
  rights: { console: true, network: true, ports: null, destinations: null, resolvers: [] },
  user: { uid: 0, gid: 0 },
  stopSignal: 15,
};
const config = launchConfig(guest, { events: "human", built: null, trace: false, gdb: null, reporter: null });

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "monitor-client-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("the configuration can be read by its owner alone", () => {
  const file = writeConfigFile(config, { XDG_RUNTIME_DIR: directory });
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("a place that cannot be written to is named", () => {
  expect(() => writeConfigFile(config, { XDG_RUNTIME_DIR: join(directory, "none") })).toThrow(
    /cannot write .*none.*ENOENT/,
  );
});

test("a monitor that is not there is named, with what to do", () => {
  expect(() => findMonitor(directory, {})).toThrow(
    /the monitor is not there .*target\/release\/spore-monitor/,
  );
  expect(() => findMonitor(directory, { SPORE_MONITOR: "/nowhere/monitor" })).toThrow("/nowhere/monitor");
});

test("the process becomes the monitor: same process id, same streams, its exit status", () => {
  const monitor = join(directory, "monitor");
  writeFileSync(monitor, '#!/bin/sh\nread line\necho "$$ $1 $line"\ncat "$2"\nrm "$2"\nexit 42\n');
  chmodSync(monitor, 0o755);
  const index = new URL("./index.ts", import.meta.url).href;
  const script = `import { becomeMonitor } from ${JSON.stringify(index)};
    becomeMonitor(${JSON.stringify(monitor)}, ${JSON.stringify(config)});`;
  const result = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    input: "from stdin\n",
    encoding: "utf8",
    env: { ...process.env, XDG_RUNTIME_DIR: directory },
  });
  expect(result.stderr).toBe("");
  const [first, json] = result.stdout.split("\n");
  expect(first).toBe(`${result.pid} --config from stdin`);
  expect(JSON.parse(json ?? "")).toEqual(config);
  expect(result.status).toBe(42);
  expect(readdirSync(directory)).toEqual(["monitor"]);
});

test("KVM that is missing or forbidden is told apart", () => {
  expect(() => checkKvm(join(directory, "kvm"))).toThrow("does not exist");
  const closed = join(directory, "closed");
  writeFileSync(closed, "", { mode: 0 });
  if (process.getuid?.() !== 0) expect(() => checkKvm(closed)).toThrow("no permission");
  expect(existsSync(closed)).toBe(true);
});
