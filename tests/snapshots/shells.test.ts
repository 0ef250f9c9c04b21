// Machines that stand by: woken by `spore run`, by a connection, and never used twice.
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { folder } from "../support/programs.ts";
import { fixtures, serve, spore, startSpore } from "../support/spore.ts";

const place = folder();
const file = join(place, "server.snap");
/** Pools are looked for there. */
const env = { XDG_RUNTIME_DIR: place };

const PAGE = 4096;
/** Bytes that are looked at together. */
const PIECE = 1 << 20;

interface State {
  readonly secret: string;
  readonly requests: number;
}

async function state(url: string): Promise<State> {
  return (await (await fetch(new URL("/state", url))).json()) as State;
}

/** The process of a pool that runs a machine and is not known yet. */
function wokenBy(pool: number, known: readonly number[]): number {
  // The command has a monitor keep the pool; one that only waits has no thread for sockets.
  const machines = children(pool).flatMap(children);
  const found = machines.find((pid) => !known.includes(pid) && threads(pid).includes("rings"));
  if (found === undefined) throw new Error("no machine of the pool runs");
  return found;
}

function children(parent: number): readonly number[] {
  const processes = readdirSync("/proc").map(Number).filter(Boolean);
  return processes.filter((pid) => {
    try {
      return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) === parent;
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
}

/** The letter for what a process does; null: it is gone. */
function doing(pid: number): string | null {
  try {
    return /^State:\t(\S)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? null;
  } catch {
    return null;
  }
}

function threads(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/comm`, "utf8").trim(),
  );
}

/** Whether a text is anywhere in the memory of a process: the machine's is part of it. */
function holds(pid: number, text: string): boolean {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  const bytes = Buffer.alloc(PIECE + text.length);
  try {
    return [...present(pid)].some((at) => {
      try {
        return bytes.subarray(0, readSync(memory, bytes, 0, bytes.length, at)).includes(text);
      } catch {
        // Pages of the kernel's own, such as the vCPU's.
        return false;
      }
    });
  } finally {
    closeSync(memory);
  }
}

/** Where there are pages behind a process's writable mappings. */
function* present(pid: number): Iterable<number> {
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  const entries = Buffer.alloc((PIECE / PAGE) * 8);
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, start = "", end = ""] = /^(\w+)-(\w+) rw/.exec(line) ?? [];
      for (let at = Number.parseInt(start, 16); at < Number.parseInt(end, 16); at += PIECE) {
        const count = readSync(pagemap, entries, 0, entries.length, (at / PAGE) * 8) / 8;
        // proc_pid_pagemap(5): the highest bit says that there is a page, the next that it is swapped out.
        const pages = Array.from({ length: count }, (_, page) => entries.readUInt8(page * 8 + 7));
        if (pages.some((byte) => byte >= 0x40)) yield at;
      }
    }
  } finally {
    closeSync(pagemap);
  }
}

beforeAll(async () => {
  const { stderr, status } = await spore(
    ["snapshot", join(fixtures, "snapshot-server"), "-o", file, "--warm", "/state"],
    { env },
  );
  expect(status, stderr).toBe(0);
});

describe("spore shells", () => {
  test("spore run wakes one: its streams, its signals, its exit status", async () => {
    await using pool = startSpore(["shells", file, "-n", "1", "--json"], { env });
    await pool.says("stdout", /"event":"standby"/);
    await using one = await serve(8080, [file], { env });
    expect((await state(one.url)).requests).toBe(2);
    expect(pool.said.stdout).toContain('"event":"taken"');
    // A new one takes its place and knows nothing of the first.
    await pool.says("stdout", /"event":"standby"[\s\S]*"event":"standby"/);
    await using two = await serve(8080, [file], { env });
    expect(await state(two.url)).toMatchObject({ secret: (await state(one.url)).secret, requests: 2 });
    one.signal("SIGTERM");
    expect((await one.ended).status).toBe(143);
    // Machines that were woken do not depend on the pool.
    pool.signal("SIGTERM");
    await pool.ended;
    expect((await state(two.url)).requests).toBe(3);
    two.signal("SIGINT");
    expect((await two.ended).status).toBe(130);
  });

  test("nothing of one life is found in the next: not in memory, registers, rings, or the monitor", {
    timeout: 120_000,
  }, async () => {
    await using pool = startSpore(["shells", file, "-n", "2", "--json"], { env });
    await pool.says("stdout", /"event":"standby"[\s\S]*"event":"standby"/);
    const marker = `marker-${crypto.randomUUID()}`;
    const lives: { readonly machine: number; readonly requests: number; readonly found: boolean }[] = [];
    for (let life = 0; life < 4; life++) {
      await using server = await serve(8080, [file], { env });
      const { requests } = await state(server.url);
      // `spore run` waits for the machine, which is another process.
      const known = lives.map(({ machine }) => machine);
      const machine = wokenBy(pool.pid, known);
      if (life === 0) {
        // In the request's line, a header and a body: the rings, the heap, the monitor's own buffers.
        await fetch(new URL(`/${marker}`, server.url), { method: "POST", headers: { marker }, body: marker });
      }
      lives.push({ machine, requests, found: holds(machine, marker) });
      // Before anything can fail: the machine would go on.
      server.signal("SIGTERM");
      await server.ended;
    }
    pool.signal("SIGTERM");
    await pool.ended;
    expect(lives.map(({ found }) => found)).toEqual([true, false, false, false]);
    expect(lives.map(({ requests }) => requests)).toEqual([2, 2, 2, 2]);
    // Each life has had a process of its own, and with it a virtual machine of its own.
    expect(new Set(lives.map(({ machine }) => machine)).size).toBe(4);
  });

  test("a shell that waits ends with its pool", async () => {
    await using pool = startSpore(["shells", file, "-n", "2", "--json"], { env });
    await pool.says("stdout", /"event":"standby"[\s\S]*"event":"standby"/);
    const children = readFileSync(`/proc/${pool.pid}/task/${pool.pid}/children`, "utf8").trim();
    expect(children).not.toBe("");
    pool.signal("SIGINT");
    expect((await pool.ended).status).toBe(0);
  });

  test("a command that is killed takes its pool with it", async () => {
    const started = [
      { words: ["shells", file, "-n", "2", "--json"], until: /"event":"standby"[\s\S]*"event":"standby"/ },
      { words: ["fork", file, "-n", "2", "--json"], until: /"event":"listening"[\s\S]*"event":"listening"/ },
    ];
    for (const { words, until } of started) {
      await using command = startSpore(words, { env });
      await command.says("stdout", until);
      const pools = children(command.pid);
      const machines = pools.flatMap(children);
      expect(machines).toHaveLength(2);
      command.signal("SIGKILL");
      // What has ended is not there, or waits to be buried by whoever is in charge of orphans.
      const left = () => [...pools, ...machines].filter((pid) => ![null, "Z"].includes(doing(pid)));
      await expect.poll(left, { timeout: 10_000 }).toEqual([]);
    }
    // Nor do the files stay that it had no time to remove.
    const folder = mkdtempSync(join(tmpdir(), "spore-runtime-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const own = { env: { ...env, XDG_RUNTIME_DIR: folder } };
    const shells = ["shells", file, "-n", "1", "--json"];
    await using killed = startSpore(shells, own);
    await killed.says("stdout", /"event":"standby"/);
    const before = readdirSync(folder);
    expect(before).toHaveLength(2);
    killed.signal("SIGKILL");
    await killed.ended;
    await using next = startSpore(shells, own);
    await next.says("stdout", /"event":"standby"/);
    expect(readdirSync(folder)).toHaveLength(2);
    next.signal("SIGINT");
    await next.ended;
    expect(readdirSync(folder)).toEqual([]);
  });
});
