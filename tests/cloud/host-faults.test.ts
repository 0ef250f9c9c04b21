/** What goes wrong with the host: each time, what the user sees, and that nothing is lost. */

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page, Result } from "@spore/api";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { compile, folder } from "../support/programs.ts";
import { cli, root } from "../support/spore.ts";

const vars = join(root, "tests/fixtures/cloud-vars");
const scratch = folder();
// A file system of a test's own, or a /dev without KVM, is root's to make; CI is.
const isRoot = process.getuid?.() === 0;

test.skipIf(!isRoot)(
  "a disk that is full is named; what runs goes on, and what was there is there when it has room",
  async () => {
    let mounted = "";
    const program = compile(scratch, "answer.c", "gcc", "-O2", "-static");
    {
      await using spore = await cloud([], (state) => {
        mounted = join(state, "spore");
        mkdirSync(mounted);
        execFileSync("mount", ["-t", "tmpfs", "-o", "size=48m", "tmpfs", mounted]);
      });
      try {
        const words = ["deploy", "--name", "app", "--idle", "1h", program];
        await spore.json(words);
        const filler = join(spore.home, "filler");
        const fill = (): void => {
          const { bfree, bsize } = statfsSync(spore.home);
          try {
            writeFileSync(filler, Buffer.alloc(Number(bfree) * Number(bsize)), { flag: "a" });
          } catch (thrown) {
            if ((thrown as NodeJS.ErrnoException).code !== "ENOSPC") throw thrown;
          }
        };
        fill();
        // What runs answers; what would have to be kept is refused by its name.
        expect(await spore.get("app")).toMatchObject({ status: 200 });
        let refused = "";
        for (let call = 0; call < 50 && refused === ""; call += 1) {
          const { status, stderr } = await spore.spore(["env", "app", "--set", `N=${call}`]);
          if (status !== 0) refused = `${status} ${stderr}`;
          else fill();
        }
        expect(refused).toMatch(
          /^\d+ error\[SPORE_(STATE|START_FAILED)\]: .*(full|no space left).* — [^\n]+\n$/,
        );
        expect(await spore.get("app")).toMatchObject({ status: 200 });
        expect((await spore.spore(["ps"])).status).toBe(0);

        rmSync(filler);
        expect(await spore.json(words)).toMatchObject({ state: "live" });
        expect(await spore.get("app")).toMatchObject({ status: 200 });
        const [live, ...before] = await spore.json<{ number: number; live: boolean }[]>(["releases", "app"]);
        expect(live?.live).toBe(true);
        expect(before.at(-1)?.number).toBe(1);
      } finally {
        await spore.spore(["down"]);
        execFileSync("umount", [mounted]);
      }
    }
  },
  120_000,
);

test.skipIf(!isRoot)(
  "without KVM the daemon does not start, and says what to do; when it is taken away, starts fail by name",
  async () => {
    const state = join(scratch, "no-kvm");
    const file = join(scratch, "not-kvm");
    mkdirSync(state);
    writeFileSync(file, "");
    /** Runs `spore WORDS...` where /dev is as `before` makes it. */
    const spore = (words: string, before = "true"): { status: number; stderr: string } => {
      const script = `${before} && exec env XDG_STATE_HOME=${state} ${cli.join(" ")} ${words}`;
      const { status, stderr } = spawnSync("unshare", ["-m", "sh", "-c", script], { encoding: "utf8" });
      return { status: status ?? -1, stderr };
    };
    const bare =
      "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 444 /dev/urandom c 1 9";
    const missing = spore("up --port 0", bare);
    expect(missing.status, missing.stderr).toBe(69);
    expect(missing.stderr).toMatch(/^error\[SPORE_KVM_MISSING\]: \/dev\/kvm does not exist — /);
    expect(spore("up --port 0", `mount --bind ${file} /dev/kvm`)).toMatchObject({ status: 0 });
    const { status, stderr } = spore(`deploy --name app ${vars}`);
    expect(status, stderr).toBe(69);
    expect(stderr).toMatch(/error\[SPORE_START_FAILED\]: app did not start: error\[SPORE_KVM_\w+\]/);
    expect(spore("down").status).toBe(0);
  },
  120_000,
);

test("a monitor that hangs is replaced; so is a program that does", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "1h", vars]);
  const change = { params: { app: "app" }, body: { requestTimeoutMs: 500 } };
  expect((await spore.api.call("changeApp", change)).ok).toBe(true);
  const replaced = async (hang: () => Promise<unknown>): Promise<void> => {
    expect(await spore.get("app")).toMatchObject({ status: 200 });
    const [hung = 0] = spore.monitors();
    await hang();
    const seen = new Set<number>();
    while (!seen.has(200)) {
      const { status, text } = await spore.get("app");
      if (status !== 200) expect(text).toMatch(/^SPORE_APP_TIMEOUT: the app did not begin to answer in time/);
      seen.add(status);
      expect(seen.size).toBeLessThan(3);
    }
    // It is told to stop, and ended when it does not.
    await expect.poll(() => spore.monitors(), { timeout: 60_000 }).not.toContain(hung);
  };
  await replaced(async () => process.kill(spore.monitors()[0] ?? 0, "SIGSTOP"));
  await replaced(() => spore.get("app", "/hang"));
  const reasons = (await spore.json<{ instances: { reason: string }[] }>(["ps", "app", "--all"])).instances;
  expect(reasons.filter(({ reason }) => reason === "hung")).toHaveLength(2);
}, 180_000);

test("a flood of lines is kept as far as it can be, the log says what is missing, and others are served", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "1h", vars]);
  await spore.json(["deploy", "--name", "other", "--idle", "1h", vars]);
  const flood = spore.get("app", "/flood");
  const during = await Promise.all(Array.from({ length: 20 }, () => spore.get("other")));
  expect(during.every(({ status }) => status === 200)).toBe(true);
  expect((await flood).status).toBe(200);
  const last = async (): Promise<string> => (await spore.spore(["logs", "app", "--last", "1"])).stdout;
  await expect.poll(last, { timeout: 60_000 }).toContain("the flood is over");
  // Every byte is in a line that was kept, counted as missing, or older than what is kept.
  type Line = { readonly seq: number; readonly text: string; readonly lost: number };
  const lines: Line[] = [];
  let after: number | undefined = 0;
  while (after !== undefined) {
    const query: { readonly after: number; readonly limit: number } = { after, limit: 1000 };
    const page: Result<Page<Line>> = await spore.api.call("readLogs", { params: { app: "app" }, query });
    if (!page.ok) throw new Error(JSON.stringify(page));
    lines.push(...page.value.items);
    after = page.value.next === null ? undefined : Number(page.value.next);
  }
  for (const [index, { seq }] of lines.entries()) {
    if (index > 0) expect(seq).toBe((lines[index - 1]?.seq ?? 0) + 1);
  }
  const whole = lines.filter(({ text }) => text === "x".repeat(999)).length;
  const lost = lines.reduce((sum, line) => sum + line.lost, 0);
  expect(whole).toBeGreaterThan(500);
  if (whole < 40_000) expect(lost).toBeGreaterThan(0);
}, 180_000);
