/**
 * Records the profiles of runtimes anew: packages/needs/profiles. Usage:
 * node tools/record-profiles.ts [NAME...], without a name all of them.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { callNumber } from "@spore/needs";
import { PROFILES, type ProfileName, recordRun, runsOf } from "../tests/support/profiles.ts";

/** What a run uses depends a little on how its threads meet: some runs have the processors to themselves, some do not. */
const TIMES = { quiet: 3, crowded: 12 } as const;
const isProfile = (name: string): name is ProfileName => PROFILES.some((each) => each === name);
const asked = process.argv.slice(2);
const unknown = asked.find((name) => !isProfile(name));
if (unknown !== undefined) throw new Error(`there is no profile ${unknown}`);

const folder = mkdtempSync(join(tmpdir(), "spore-profiles-"));
process.on("exit", () => rmSync(folder, { recursive: true }));
for (const name of asked.length === 0 ? PROFILES : asked.filter(isProfile)) {
  const calls = new Map<string, string>();
  const services = new Map<string, string>();
  const runs = await runsOf(name, folder);
  for (const [how, times] of Object.entries(TIMES)) {
    const crowd = how === "crowded" ? availableParallelism() * 2 : 0;
    const others = Array.from({ length: crowd }, () => spawn(process.execPath, ["-e", "for (;;);"]));
    try {
      for (const run of Array.from({ length: times }, () => runs).flat()) {
        const recording = await recordRun(run);
        for (const call of Object.keys(recording.calls)) if (!calls.has(call)) calls.set(call, run.program);
        for (const service of recording.services) {
          if (!services.has(service)) services.set(service, run.program);
        }
      }
    } finally {
      for (const other of others) other.kill("SIGKILL");
    }
  }
  const byNumber = [...calls].sort(([a], [b]) => (callNumber(a) ?? 0) - (callNumber(b) ?? 0));
  const profile = {
    name: name.replace("-", " "),
    calls: Object.fromEntries(byNumber),
    services: Object.fromEntries([...services].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
  const path = join(import.meta.dirname, `../packages/needs/profiles/${name}.json`);
  writeFileSync(path, `${JSON.stringify(profile, null, 2)}\n`);
  process.stdout.write(`${name}: ${calls.size} system calls, ${services.size} services\n`);
}
