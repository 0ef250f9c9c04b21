import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Cgroups } from "./cgroups.ts";

// The kernel's files as ordinary ones: this shows what is asked of it, not that it holds.
let root: string;
let self: string;
const unit = "/system.slice/spore.service";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spore-cgroup-"));
  self = join(root, "self");
  mkdirSync(join(root, unit), { recursive: true });
  write("cgroup.controllers", "cpu memory pids\n");
  write(`${unit}/cgroup.controllers`, "cpu memory\n");
  write(`${unit}/cgroup.subtree_control`, "");
  write("self", `0::${unit}/daemon\n`);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(path: string, text: string): void {
  writeFileSync(join(root, path), text);
}

/** A file that cannot be written. */
function forbid(): void {
  const file = join(root, unit, "cgroup.subtree_control");
  rmSync(file);
  mkdirSync(file);
}

function read(path: string): string {
  return readFileSync(join(root, unit, path), "utf8");
}

function open(): Cgroups {
  const opened = Cgroups.open(root, self);
  if (typeof opened === "string") throw new Error(opened);
  return opened;
}

test("each tenant gets its own with its limits, which can change", () => {
  const cgroups = open();
  expect(read("cgroup.subtree_control")).toBe("+cpu +memory");
  cgroups.place("acme", 4711, { cpu: 150, memory: 1 << 30 });
  expect(read("tenant-acme/cpu.max")).toBe("150000 100000");
  expect(read("tenant-acme/memory.max")).toBe(String((1 << 30) * 1.25));
  expect(read("tenant-acme/cgroup.procs")).toBe("4711");
  cgroups.limit("acme", { cpu: null, memory: null });
  expect(read("tenant-acme/cpu.max")).toBe("max 100000");
  expect(read("tenant-acme/memory.max")).toBe("max");
});

describe("what the host does not give is said", () => {
  test.each([
    ["version 1", () => write("self", "4:memory:/x\n"), /version 2/],
    ["both versions", () => rmSync(join(root, "cgroup.controllers")), /version 2/],
    ["no controllers", () => write(`${unit}/cgroup.controllers`, "pids\n"), /no cpu and no memory/],
    ["a place of its own", () => write("self", `0::${unit}\n`), /DelegateSubgroup=/],
    ["rights", () => forbid(), /may not divide.*EISDIR/],
  ])("%s", (_, spoil, why) => {
    spoil();
    expect(Cgroups.open(root, self)).toMatch(why);
  });
});
