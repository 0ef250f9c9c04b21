/**
 * Many apps that sleep and wake. The whole promise takes a quarter of an hour on two
 * processors: SPORE_APPS=1000 SPORE_AWAKE=50 SPORE_WAKES=24000.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Cloud, cloud } from "../support/cloud.ts";
import { compile, folder } from "../support/programs.ts";

const APPS = Number(process.env["SPORE_APPS"] ?? 20);
/** So many clients each wake one app after the other. */
const AWAKE = Number(process.env["SPORE_AWAKE"] ?? 5);
const WAKES = Number(process.env["SPORE_WAKES"] ?? 300);
const IDLE_MS = 200;

const scratch = folder();

/** Resident memory of a process, in MiB. */
function memory(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

/** Processor time of a process so far, in seconds. */
function processor(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

const name = (index: number): string => `app-${index}`;

/** Deploys the image of the first app as all others. */
async function deployAll(spore: Cloud): Promise<void> {
  const program = compile(scratch, "answer.c", "gcc", "-O2", "-static");
  const settings = ["--memory", "32M", "--idle", `${IDLE_MS}ms`];
  await spore.json(["deploy", "--name", name(0), ...settings, program]);
  const [first] = await spore.json<{ image: string; config: { memory: number } }[]>(["releases", name(0)]);
  const image = first?.image ?? "";
  let next = 1;
  const worker = async (): Promise<void> => {
    while (next < APPS) {
      const app = name(next);
      next += 1;
      const body = {
        image,
        config: { memory: first?.config.memory ?? null },
        settings: { scaling: { idleMs: IDLE_MS } },
      };
      const made = await spore.api.call("deploy", { params: { app }, body });
      if (!made.ok) throw new Error(`${app}: ${JSON.stringify(made)}`);
      for (;;) {
        const seen = await spore.api.call("getDeployment", { params: { id: made.value.id } });
        if (seen.ok && seen.value.state === "live") break;
        if (!seen.ok || seen.value.state === "failed") throw new Error(`${app}: ${JSON.stringify(seen)}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
}

test(`${APPS} apps, ${AWAKE} awake, ${WAKES} wakes: none fails, and the daemon's memory stays`, async () => {
  await using spore = await cloud();
  await deployAll(spore);
  let wakes = 0;
  let warm = 0;
  const times: number[] = [];
  const sizes: number[] = [];
  const client = async (lane: number): Promise<void> => {
    // Every client has apps of its own, so that each of them sleeps before it is called again.
    const own = Array.from({ length: APPS }, (_, index) => index).filter((index) => index % AWAKE === lane);
    for (let round = 0; wakes < WAKES; round += 1) {
      const app = name(own[round % own.length] ?? 0);
      const begun = performance.now();
      const { status, text, headers } = await spore.get(app);
      if (status !== 200) throw new Error(`wake ${wakes}, ${app}: ${status} ${text}`);
      if (headers["x-spore-start"] === "warm") {
        // A host that is that slow: it must sleep first.
        warm += 1;
        await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
        continue;
      }
      times.push(performance.now() - begun);
      wakes += 1;
      if (wakes % Math.ceil(WAKES / 10) === 0) sizes.push(Math.round(memory(spore.pid())));
    }
  };
  await Promise.all(Array.from({ length: AWAKE }, (_, lane) => client(lane)));
  const sorted = times.sort((a, b) => a - b);
  const at = (part: number): string => (sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(1);
  console.log(
    `wakes ${wakes}, warm ${warm}; ms: p50 ${at(0.5)}, p99 ${at(0.99)}; daemon MiB: ${sizes.join(" ")}`,
  );
  // The first parts fill caches; from then on nothing may grow with the number of wakes.
  expect(sizes.at(-1)).toBeLessThan((sizes[2] ?? 0) * 1.15 + 16);
  await expect.poll(() => spore.monitors().length, { timeout: 60_000 }).toBe(0);
  // The daemon clears up once it has heard of an end.
  await expect.poll(() => readdirSync(join(spore.home, "run")), { timeout: 60_000 }).toEqual(["standby"]);
  const [before, begun] = [processor(spore.pid()), performance.now()];
  if (APPS >= 1000) {
    await new Promise((resolve) => setTimeout(resolve, 30_000));
    const share = (processor(spore.pid()) - before) / ((performance.now() - begun) / 1000);
    console.log(`idle: ${(share * 100).toFixed(2)} % of a processor, ${Math.round(memory(spore.pid()))} MiB`);
  }
}, 7_200_000);

/** Calls around the moment at which a machine falls asleep; `SPORE_CALLS=10000` for the whole promise. */
const CALLS = Number(process.env["SPORE_CALLS"] ?? 200);

test(`${CALLS} calls just as the app's machine falls asleep all get their answer`, async () => {
  await using spore = await cloud();
  const program = compile(scratch, "answer.c", "gcc", "-O2", "-static");
  await spore.json(["deploy", "--name", "app", "--memory", "32M", "--idle", "5ms", program]);
  const starts: Record<string, number> = {};
  for (let call = 0; call < CALLS; call += 1) {
    const { status, text, headers } = await spore.get("app");
    if (status !== 200) throw new Error(`call ${call}: ${status} ${text}`);
    const start = String(headers["x-spore-start"]);
    starts[start] = (starts[start] ?? 0) + 1;
    // From well before to well after that moment.
    await new Promise((resolve) => setTimeout(resolve, (call % 41) / 4));
  }
  console.log(`calls: ${JSON.stringify(starts)}`);
  expect(Object.keys(starts).length).toBeGreaterThan(1);
}, 7_200_000);
