// The profiles of runtimes hold what their test programs use, and so does what is derived from their code.
import { needsOf } from "@spore/image";
import { callName, loadProfile } from "@spore/needs";
import { describe, expect, test } from "vitest";
import { PROFILES, recordRun, runsOf } from "../support/profiles.ts";
import { folder } from "../support/programs.ts";

const place = folder();

// Bun is a hundred megabytes of code to read, once.
describe.each(PROFILES)("%s", { timeout: 300_000 }, (name) => {
  test("a run of its programs uses nothing outside of the profile (tools/record-profiles.ts writes it)", async () => {
    const { calls, services } = loadProfile(name);
    const known = new Set([...calls.map(([number]) => callName(number)), ...services.map(([each]) => each)]);
    for (const run of await runsOf(name, place)) {
      const { calls: used, services: asked } = await recordRun(run);
      const outside = [...Object.keys(used), ...asked].filter((each) => !known.has(each));
      expect(outside, run.program).toEqual([]);
      const needs = needsOf(run.image);
      const derived = new Set(needs?.calls.map((call) => call.name));
      expect(
        Object.keys(used).filter((call) => !derived.has(call)),
        run.program,
      ).toEqual([]);
    }
  });
});
