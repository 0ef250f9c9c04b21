import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Standbys } from "./standby.ts";

/** Stands for the monitor: its shells stand by at once, and all end when it gets SIGUSR2. */
const KEEPER = `
const { connect } = require("node:net");
const { writeFileSync } = require("node:fs");
const socket = process.argv[3];
const shells = [];
process.on("SIGUSR2", () => shells.splice(0).forEach((shell) => shell.destroy()));
writeFileSync(socket + ".pid", String(process.pid));
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { start } = JSON.parse(line);
  if (start === undefined) return;
  const shell = connect(socket);
  shells.push(shell);
  const told = [{ event: "preparing", config: start }, { event: "standby", pid: process.pid }];
  for (const each of told) shell.write(JSON.stringify(each) + "\\n");
}).on("close", () => process.exit());
`;

let folder: string;
let standbys: Standbys;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "standby-"));
  writeFileSync(join(folder, "keeper.cjs"), KEEPER);
  const monitor = join(folder, "monitor");
  writeFileSync(monitor, `#!/bin/sh\nexec ${process.execPath} ${join(folder, "keeper.cjs")} "$@"\n`);
  chmodSync(monitor, 0o755);
  standbys = new Standbys(folder, monitor, { count: 4, bytes: 1 << 30, admits: () => true });
});
afterEach(() => {
  standbys.close();
  rmSync(folder, { recursive: true, force: true });
});

const plan = { app: "app", snapshot: "snapshot", key: "key", bytes: () => 0, config: () => ({}) };

async function until(count: number): Promise<void> {
  while (standbys.standing !== count) await setImmediate();
}

function endAll(): void {
  process.kill(Number(readFileSync(join(folder, "socket.pid"), "utf8")), "SIGUSR2");
}

test("a machine that ends while its app is used is replaced", async () => {
  standbys.use(plan);
  await until(1);
  endAll();
  // Its end is known, and has not been told yet.
  await until(0);
  standbys.use(plan);
  await until(1);
});

test("a machine that ends is not replaced before its app is used again", async () => {
  standbys.use(plan);
  await until(1);
  endAll();
  await until(0);
  // It is told in the next turn; whatever was wanted then would have been started.
  await setImmediate();
  standbys.use({ ...plan, key: "other" });
  await until(1);
  expect(standbys.take("key")).toBeNull();
  standbys.use(plan);
  await until(2);
});
