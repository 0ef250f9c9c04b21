// Machines that stand by: woken by `spore run`, by a connection, and never used twice.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { fixtures, serve, spore, startSpore } from "../support/spore.ts";

const place = folder();
const file = join(place, "server.snap");
/** Pools are looked for there. */
const env = { XDG_RUNTIME_DIR: place };

interface State {
  readonly secret: string;
  readonly requests: number;
}

async function state(url: string): Promise<State> {
  return (await (await fetch(new URL("/state", url))).json()) as State;
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

  test("a shell that waits ends with its pool", async () => {
    await using pool = startSpore(["shells", file, "-n", "2", "--json"], { env });
    await pool.says("stdout", /"event":"standby"[\s\S]*"event":"standby"/);
    const children = readFileSync(`/proc/${pool.pid}/task/${pool.pid}/children`, "utf8").trim();
    expect(children).not.toBe("");
    pool.signal("SIGINT");
    expect((await pool.ended).status).toBe(0);
  });
});
