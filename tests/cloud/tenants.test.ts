import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const vars = join(root, "tests/fixtures/cloud-vars");
const PAGE = 4096;
const CHUNK = 1 << 20;

/** How often a text stands in the memory of a process, in pages that are there. */
function findings(pid: number, text: string): number {
  const needle = Buffer.from(text);
  const [memory, pages] = [openSync(`/proc/${pid}/mem`, "r"), openSync(`/proc/${pid}/pagemap`, "r")];
  let count = 0;
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, from = "", to = "", rights = ""] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? [];
      if (!rights.startsWith("rw") || /\[v(var|syscall|dso)/.test(line)) continue;
      for (let at = Number.parseInt(from, 16); at < Number.parseInt(to, 16); at += CHUNK) {
        const bytes = present(memory, pages, at, Math.min(CHUNK, Number.parseInt(to, 16) - at));
        for (let index = bytes.indexOf(needle); index >= 0; index = bytes.indexOf(needle, index + 1))
          count += 1;
      }
    }
  } finally {
    closeSync(memory);
    closeSync(pages);
  }
  return count;
}

/** The bytes there; pages that nobody has touched are zero, and stay untouched. */
function present(memory: number, pages: number, at: number, length: number): Buffer {
  const entries = Buffer.alloc((length / PAGE) * 8);
  const bytes = Buffer.alloc(length);
  if (readSync(pages, entries, 0, entries.length, (at / PAGE) * 8) < entries.length) return bytes;
  for (let page = 0; page < length / PAGE; page += 1) {
    // Bit 63: in memory.
    if ((entries[page * 8 + 7] ?? 0) < 0x80) continue;
    try {
      readSync(memory, bytes, page * PAGE, PAGE, at + page * PAGE);
    } catch {
      // Given back meanwhile.
    }
  }
  return bytes;
}

test("nothing of one tenant is in the memory of another, nor in what stands by for it", async () => {
  await using spore = await cloud();
  const marker = "what only the first tenant may know";
  // Not in one piece anywhere but in the memory of who puts it together.
  const parts = `/keep?${marker.split("").reverse().join("").replaceAll(" ", "_")}`;
  for (const app of ["first", "second"]) {
    await spore.json(["deploy", "--name", app, vars]);
  }
  const running = async (app: string) =>
    (await spore.json<{ instances: { id: string; pid: number }[] }>(["ps", app])).instances;
  const sleep = async (app: string): Promise<void> => {
    for (const { id } of await running(app)) await spore.json(["stop", id]);
    await expect.poll(async () => await running(app), { timeout: 30_000 }).toEqual([]);
  };
  for (let round = 0; round < 2; round += 1) {
    for (const app of ["first", "second"]) await sleep(app);
    expect((await spore.get("first", parts)).text).toBe(`${marker.length * 100_000}`);
    const [first] = await running("first");
    // The hunt finds what is there.
    expect(findings(first?.pid ?? 0, marker)).toBeGreaterThan(1000);
    await sleep("first");
    // It may be given the very frames that the first has let go.
    expect((await spore.get("second")).status).toBe(200);
    const monitors = spore.monitors();
    expect(monitors.length).toBeGreaterThan(0);
    for (const pid of monitors) expect({ pid, found: findings(pid, marker) }).toEqual({ pid, found: 0 });
  }
});

test("a secret reaches its app, and is in no file that a monitor is given", async () => {
  const kept = mkdtempSync(join(tmpdir(), "spore-launch-"));
  const wrapper = join(kept, "monitor");
  const real = join(root, "target/release/spore-monitor");
  // A monitor that keeps what it is told, which the real one removes.
  writeFileSync(wrapper, `#!/bin/sh\ncp "$2" "${kept}/$$.json"\nexec "${real}" "$@"\n`, { mode: 0o700 });
  vi.stubEnv("SPORE_MONITOR", wrapper);
  try {
    await using spore = await cloud();
    await spore.json(["deploy", "--name", "app", "--no-snapshot", "-e", "API_KEY=public", vars]);
    await spore.json(["secret", "app", "--set", "API_KEY"], { input: "s3cret-marker\n" });
    expect(JSON.parse((await spore.get("app")).text)).toEqual({ API_KEY: "s3cret-marker" });
    const told = readdirSync(kept).filter((name) => name.endsWith(".json"));
    expect(told.length).toBeGreaterThanOrEqual(2);
    for (const name of told) expect(readFileSync(join(kept, name), "utf8")).not.toContain("s3cret-marker");
  } finally {
    vi.unstubAllEnvs();
    rmSync(kept, { recursive: true, force: true });
  }
});
