// Snapshots of machines that were restored themselves: everything new is new in each generation.
import { join } from "node:path";
import { expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { fixtures, type Server, serve, spore } from "../support/spore.ts";

const place = folder();
const GENERATIONS = 3;
const CLONES = 3;

interface State {
  readonly secret: string;
  readonly requests: number;
  readonly now: number;
  readonly monotonic: number;
}

async function ask<T>(server: Server, path: string): Promise<T> {
  return (await (await fetch(new URL(path, server.url))).json()) as T;
}

test("a restored machine is frozen and restored again: nothing random comes twice, time and state go on", {
  timeout: 180_000,
}, async () => {
  let file = join(place, "1.snap");
  const taken = await spore(["snapshot", join(fixtures, "snapshot-server"), "-o", file, "--warm", "/random"]);
  expect(taken.status, taken.stderr).toBe(0);
  const drawn: string[] = [];
  const secrets = new Set<string>();
  let monotonic = 0;
  for (let generation = 1; generation <= GENERATIONS; generation++) {
    const { stdout } = await spore(["snapshot", "inspect", file, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ generation });
    for (let clone = 0; clone < CLONES; clone++) {
      const orders = join(place, "orders.sock");
      await using server = await serve(8080, ["--orders", orders, file]);
      const { bytes, bootId } = await ask<{ bytes: string; bootId: string }>(server, "/random");
      drawn.push(bytes, bootId);
      const state = await ask<State>(server, "/state");
      secrets.add(state.secret);
      expect(state.requests).toBe(2 + 2 * generation - 1);
      expect(state.monotonic).toBeGreaterThan(monotonic);
      expect(Math.abs(state.now - state.monotonic)).toBeLessThan(50);
      if (clone < CLONES - 1) continue;
      monotonic = state.monotonic;
      file = join(place, `${generation + 1}.snap`);
      const frozen = await spore(["snapshot", "--orders", orders, "-o", file]);
      expect(frozen.status, frozen.stderr).toBe(0);
    }
  }
  expect(secrets.size).toBe(1);
  expect(new Set(drawn).size).toBe(2 * GENERATIONS * CLONES);
});
