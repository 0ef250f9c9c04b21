// Freezing a warm program and going on from the file, as a user does it.
import { once } from "node:events";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { fixtures, serve, spore } from "../support/spore.ts";

const place = folder();
const fixture = join(fixtures, "snapshot-server");

interface State {
  readonly secret: string;
  readonly requests: number;
  readonly ticks: number;
  readonly upstream: string;
  readonly sum: number;
  readonly twice: number;
  readonly now: number;
  readonly monotonic: number;
  readonly hostname: string;
  readonly pid: number;
}

async function json<T>(url: string, path: string): Promise<T> {
  return (await (await fetch(new URL(path, url))).json()) as T;
}

/** Freezes the fixture after one request. */
async function take(name: string, ...words: string[]): Promise<string> {
  const file = join(place, name);
  const { stderr, status } = await spore(["snapshot", fixture, "-o", file, ...words]);
  expect(status, stderr).toBe(0);
  return file;
}

/** CRC-32C. */
function crc32c(bytes: Uint8Array): number {
  let state = ~0;
  for (const byte of bytes) {
    state ^= byte;
    for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (state & 1 ? 0x82f63b78 : 0);
  }
  return ~state >>> 0;
}

/** Makes the checksums of features and headers right again, as whoever writes such a file would. */
function seal(snapshot: Buffer): void {
  const section = 320 + 24;
  const [start, length] = [0, 8].map((at) => Number(snapshot.readBigUInt64LE(section + at)));
  if (start === undefined || length === undefined) throw new Error("no section");
  snapshot.writeUInt32LE(crc32c(snapshot.subarray(start, start + length)), section + 16);
  snapshot.writeUInt32LE(crc32c(snapshot.subarray(0, 4092)), 4092);
  snapshot.copy(snapshot, snapshot.length - 4096, 0, 4096);
}

describe("a Node.js server with a worker and WebAssembly", () => {
  test.for([22, 24, 26])(
    "of release %i goes on where it was frozen, twice, with other random numbers",
    {
      timeout: 300_000,
    },
    async (major) => {
      const file = await take(`node${major}.snap`, "--node", String(major), "--warm", "/state");
      expect(statSync(file).mode & 0o777).toBe(0o600);
      await using one = await serve(8080, [file]);
      await using two = await serve(8080, [file]);
      const [a, b] = [await json<State>(one.url, "/state"), await json<State>(two.url, "/state")];
      // The secret is in no file: it can only come from the frozen memory.
      expect(a.secret).toBe(b.secret);
      expect(a).toMatchObject({ requests: 2, sum: 42, twice: 42 });
      expect(b).toMatchObject({ requests: 2, sum: 42, twice: 42 });
      expect(a.pid).not.toBe(2);
      expect(Math.abs(a.now - Date.now())).toBeLessThan(5_000);
      expect(Math.abs(a.now - a.monotonic)).toBeLessThan(1_000);
      const random = [await json<object>(one.url, "/random"), await json<object>(two.url, "/random")];
      const values = random.flatMap((answer) => Object.values(answer) as string[]);
      expect(new Set(values).size).toBe(values.length);
      one.signal("SIGTERM");
      expect((await one.ended).status).toBe(143);
    },
  );

  test("a connection that did not survive ends with ECONNRESET", async () => {
    const upstream = createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
    await once(upstream, "listening");
    const { port } = upstream.address() as { port: number };
    const file = await take("upstream.snap", "--warm", `/connect?port=${port}`, "--warm", "/state");
    await using server = await serve(8080, [file]);
    expect((await json<State>(server.url, "/state")).upstream).toBe("error ECONNRESET closed");
    upstream.close();
  });

  test("a damaged snapshot is refused by name, and the program boots instead", async () => {
    const file = await take("damaged.snap", "--warm", "/state");
    const bytes = readFileSync(file);
    const places = [0, 8, 200, 4100, Math.floor(bytes.length / 2), bytes.length - 5000];
    for (const at of places) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      const copy = join(place, "copy.snap");
      writeFileSync(copy, damaged);
      expect((await spore(["snapshot", "verify", copy])).status, `byte ${at}`).toBe(65);
      await using server = await serve(8080, [copy]);
      // It has booted: this is its first request.
      expect((await json<State>(server.url, "/state")).requests, `byte ${at}`).toBe(1);
      expect(server.said.stderr).toMatch(/^error\[SPORE_SNAPSHOT_(DAMAGED|FOREIGN)\]: .*; booting instead$/m);
    }
  });

  test("a snapshot of another processor, image or library OS is refused by name, and the program boots instead", async () => {
    const file = await take("elsewhere.snap", "--warm", "/state");
    const whole = readFileSync(file);
    // docs/internals/snapshot.md has the places.
    const features = Number(whole.readBigUInt64LE(320 + 24));
    const foreign = [
      { at: features + 12, why: "it was taken on a processor with other features" },
      { at: 80, why: "it was taken with another library OS" },
      { at: 112, why: "it was taken of another image" },
    ];
    for (const { at, why } of foreign) {
      const other = Buffer.from(whole);
      other[at] = (other[at] ?? 0) ^ 1;
      seal(other);
      const copy = join(place, "copy.snap");
      writeFileSync(copy, other);
      // It is whole, just not for this machine.
      expect((await spore(["snapshot", "verify", copy])).status, why).toBe(0);
      await using server = await serve(8080, [copy]);
      expect((await json<State>(server.url, "/state")).requests, why).toBe(1);
      expect(server.said.stderr).toContain("error[SPORE_SNAPSHOT_FOREIGN]");
      expect(server.said.stderr).toContain(why);
    }
  });

  test("leaves nothing beside the file", async () => {
    await take("alone.snap");
    expect(readdirSync(place).filter((name) => name.startsWith("alone"))).toEqual(["alone.snap"]);
  });
});
