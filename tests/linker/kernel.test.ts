// The library OS, linked from its archive: what is kept, and how large a small one is.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Choice, everything, link, parse } from "@spore/linker";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { keptByBoth } from "../../packages/linker/test/reference.ts";
import { piecesReference } from "./pieces-reference.ts";

const archive = join(import.meta.dirname, "../../build/kernel.a");
const input = parse(new Uint8Array(readFileSync(archive)));
const WINDOW = { address: 0x7f80_0020_0000, length: 4 << 20 };

/** What a program needs that prints a line. */
const HELLO: Choice = {
  calls: ["arch_prctl", "set_tid_address", "ioctl", "write", "writev", "exit_group"],
  services: [],
};
const CHOICES: readonly (readonly [string, Choice])[] = [
  ["everything", everything(input.catalogue)],
  ["what a line of output needs", HELLO],
  ["nothing", { calls: [], services: [] }],
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "spore-kernel-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(CHOICES)("%s", (_name, choice) => {
  test("is what ld --gc-sections keeps with the same roots", () => {
    const { ours, reference } = keptByBoth(archive, choice, join(folder, "reference"));
    expect([...ours].sort()).toEqual([...reference].sort());
  });

  test("is read by readelf and objdump without complaint", () => {
    const path = join(folder, "kernel.elf");
    writeFileSync(path, link(input, choice, WINDOW).elf);
    for (const [command, ...flags] of [
      ["readelf", "-aW"],
      ["objdump", "-dx"],
    ] as const) {
      const { status, stderr } = spawnSync(command, [...flags, path], {
        encoding: "utf8",
        maxBuffer: 1 << 28,
      });
      expect([command, status, stderr]).toEqual([command, 0, ""]);
    }
    expect(execFileSync("nm", [path], { encoding: "utf8" })).toMatch(/ T spore_boot$/m);
  });
});

test("every call that looks up a path brings the file systems along", () => {
  const table = readFileSync(join(import.meta.dirname, "../../kernel/src/syscall/table.rs"), "utf8");
  const named = [...table.matchAll(/^\s+\d+ (\w+)\(([^)]*)\) (?!Refused)/gm)];
  const lookups = named
    .filter(([, , parameters]) => /: (Path|Dir)\b/.test(parameters ?? ""))
    .map(([, name]) => name);
  const files = input.catalogue.services.find(({ name }) => name === "files");
  expect(files?.calls).toEqual(expect.arrayContaining(lookups));
});

test("every call belongs to one feature, service or group", () => {
  const { calls, features, services, groups } = input.catalogue;
  const homes = (name: string): string[] =>
    [...features, ...services, ...groups]
      .filter((each) => each.calls.includes(name))
      .map((each) => each.name);
  // It watches files, and is of no use without them.
  const twice = new Set(["inotify_add_watch"]);
  const others = calls.filter(({ name }) => homes(name).length !== 1 && !twice.has(name));
  expect(others.map(({ name }) => [name, ...homes(name)])).toEqual([]);
});

test("docs/reference/pieces.md is what the archive says (vitest -u writes it)", async () => {
  await expect(piecesReference(input.catalogue)).toMatchFileSnapshot("../../docs/reference/pieces.md");
});

test("a file of /proc is a piece of its own", () => {
  const { pieces } = link(input, { calls: ["openat"], services: ["file/proc/uptime"] }, WINDOW);
  const files = pieces.map(({ name }) => name).filter((name) => name.startsWith("file/"));
  expect(files).toEqual(["file/proc", "file/proc/uptime"]);
  const parts = pieces.flatMap((piece) => piece.parts.map(({ name }) => name)).join("\n");
  expect(parts).toMatch(/6procfs6system6uptime/);
  expect(parts).not.toMatch(/6procfs6system7(cpuinfo|meminfo)|6procfs4maps/);
});

describe("a kernel for a line of output", () => {
  const kernel = link(input, HELLO, WINDOW);
  const names = kernel.pieces.flatMap(({ parts }) => parts.map(({ name }) => name)).join("\n");

  test.each([
    ["sockets", /spore_kernel3net(3tcp|3udp|7netlink|4inet|7options|5ports)|spore_kernel3ipc4unix/],
    ["file systems", /spore_kernel2fs(7overlay|5erofs|6procfs|5sysfs|9synthetic|6device|4path|7inotify)/],
    ["threads", /spore_kernel5sched5futex|spore_kernel7syscall7threads5(spawn|clone)|14copy_registers/],
    ["epoll, pipes and timers", /spore_kernel3ipc(5epoll|4pipe|7timerfd|7eventfd|8signalfd)|clock5posix/],
    [
      "tracing, debugging and signal frames",
      /spore_kernel5trace6strace|spore_kernel5debug4stop|6signal5frame/,
    ],
  ])("holds nothing of %s", (_what, pattern) => {
    expect(names.match(pattern)).toBeNull();
  });
});
