// What an app can rely on when it goes on from a snapshot: clocks, events, environment, identity.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { fixtures, type Server, serve, spore } from "../support/spore.ts";

const place = folder();
const fixture = join(fixtures, "lifecycle");
const snapshot = join(place, "lifecycle.snap");
/** Milliseconds since 1970 when the snapshot was complete. */
let frozenAt = 0;

interface Clocks {
  readonly wall: number;
  readonly monotonic: number;
}

interface Note {
  readonly event: string;
  readonly inTime?: boolean;
  readonly restored?: boolean;
  readonly generation?: number;
  readonly sleptMs?: number;
  readonly instance?: string;
  readonly before?: Clocks;
  readonly after?: Clocks;
  readonly late?: string;
}

interface State {
  readonly notes: readonly Note[];
  readonly due: number;
  readonly fired: readonly number[];
  readonly early: string | null;
  readonly late: string | null;
}

interface Identity {
  readonly machine: { readonly generation: number; readonly instance: string };
  readonly hostname: string;
  readonly file: string;
  readonly home: string;
  readonly pid: number;
  readonly options: readonly string[];
}

async function ask<T = State>(server: Server, path: string): Promise<T> {
  return (await (await fetch(new URL(path, server.url))).json()) as T;
}

beforeAll(async () => {
  const words = ["snapshot", fixture, "-o", snapshot, "-e", "EARLY=kept", "--warm", "/", "--warm", "/timer"];
  const { stderr, status } = await spore(words);
  expect(status, stderr).toBe(0);
  frozenAt = Date.now();
});

test("onSuspend is awaited before the freeze, onRestore comes first after it", async () => {
  await using server = await serve(8080, [snapshot]);
  const { notes } = await ask(server, "/");
  expect(notes).toMatchObject([
    { event: "suspend", inTime: true },
    { event: "suspended" },
    { event: "restore", restored: true, generation: 1 },
  ]);
});

test("clocks are right at once, monotonic time goes on, a timer that was due fires once", async () => {
  const asked = Date.now();
  await using server = await serve(8080, [snapshot]);
  const state = await ask(server, "/");
  const { before, after, sleptMs = -1 } = state.notes.at(-1) ?? {};
  if (before === undefined || after === undefined) throw new Error("no clocks were noted");
  // The guest's clock is the host's, read to a few microseconds.
  expect(after.wall).toBeGreaterThanOrEqual(asked - 2);
  expect(after.wall).toBeLessThanOrEqual(Date.now() + 2);
  expect(after.monotonic).toBeGreaterThan(before.monotonic);
  expect(Math.abs(after.wall - after.monotonic)).toBeLessThan(50);
  expect(sleptMs).toBeGreaterThanOrEqual(asked - frozenAt);
  expect(sleptMs).toBeLessThanOrEqual(after.wall - before.wall + 2);
  // An interval of 50 ms: however long the sleep was, it fires no backlog.
  const later = await ask(server, "/");
  expect(later.due).toBe(1);
  const gaps = later.fired.slice(1).map((time, index) => time - (later.fired[index] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThan(40);
});

test("environment given at a restore is there before onRestore, and stays out of all files", async () => {
  const secret = `secret-${crypto.randomUUID()}`;
  const before = readFileSync(snapshot);
  await using server = await serve(8080, ["-e", `LATE=${secret}`, snapshot], { env: { TMPDIR: place } });
  const state = await ask(server, "/");
  expect(state).toMatchObject({ early: "kept", late: secret });
  expect(state.notes.at(-1)).toMatchObject({ event: "restore", late: secret });
  expect(before.includes(secret)).toBe(false);
  for (const name of readdirSync(place)) {
    expect(readFileSync(join(place, name)).includes(secret), name).toBe(false);
  }
});

test("host name, instance and process id are new in every machine", async () => {
  const seen: Identity[] = [];
  for (let count = 0; count < 3; count++) {
    await using server = await serve(8080, [snapshot]);
    const identity = await ask<Identity>(server, "/identity");
    expect(identity.file).toBe(identity.hostname);
    expect(identity.home).toBe("127.0.1.1");
    expect(identity.machine.generation).toBe(1);
    expect(identity.pid).not.toBe(2);
    seen.push(identity);
  }
  expect(new Set(seen.map(({ hostname }) => hostname)).size).toBe(3);
  expect(new Set(seen.map(({ machine }) => machine.instance)).size).toBe(3);
});

describe("a machine that runs", () => {
  test("is frozen live, hears that it went on, and the copy that it was restored", async () => {
    const orders = join(place, "live.sock");
    const copy = join(place, "live.snap");
    await using server = await serve(8080, ["--orders", orders, fixture]);
    const freeze = () => spore(["snapshot", "--orders", orders, "-o", copy, "--patience", "200"]);
    await ask(server, "/hold");
    const refused = await freeze();
    expect(refused.status).toBe(70);
    expect(refused.stderr).toContain("SPORE_SNAPSHOT_FAILED");
    expect(refused.stderr).toContain("holds the machine awake");
    await ask(server, "/release");
    await ask(server, "/work");
    expect((await freeze()).status).toBe(70);
    await ask(server, "/finish");
    const frozen = await freeze();
    expect(frozen.status, frozen.stderr).toBe(0);
    const { notes } = await ask(server, "/");
    expect(notes.filter(({ event }) => event === "restore")).toMatchObject([
      { restored: false },
      { restored: false },
      { restored: false },
    ]);
    await using restored = await serve(8080, [copy]);
    const last = (await ask(restored, "/")).notes.at(-1);
    expect(last).toMatchObject({ event: "restore", restored: true, generation: 1 });
  });

  test("comes to rest between two turns of a busy event loop: no other code is the first to run", async () => {
    const orders = join(place, "busy.sock");
    const copy = join(place, "busy.snap");
    await using server = await serve(8080, ["--orders", orders, fixture]);
    await ask(server, "/busy");
    for (let count = 0; count < 3; count++) {
      const frozen = await spore(["snapshot", "--orders", orders, "-o", copy]);
      expect(frozen.status, frozen.stderr).toBe(0);
      await using restored = await serve(8080, [copy]);
      expect(await ask<number>(restored, "/strays")).toBe(0);
    }
  });

  test("does nothing of this without a machine that could be frozen", async () => {
    await using server = await serve(8080, [fixture]);
    await ask(server, "/hold");
    expect(await ask(server, "/")).toMatchObject({ notes: [], early: null });
    // Node.js has not even loaded what a restore needs.
    const options = ["--enable-source-maps"];
    expect(await ask<Identity>(server, "/identity")).toMatchObject({
      machine: null,
      hostname: "spore",
      options,
    });
  });
});
