import { expect, test } from "vitest";
import { Metrics } from "./metrics.ts";
import { testCloud } from "./test-cloud.ts";
import { testDriver } from "./test-driver.ts";

test("wakes are counted by phase and start, from a quarter of a millisecond; a tenant sees its own apps alone", async () => {
  await using cloud = await testCloud(testDriver());
  const metrics = new Metrics(cloud.fleet, null);
  const answer = { method: "GET", status: 200, firstByteMs: 3, start: "snapshot" } as const;
  const phases = { accept: 0.1, wait: 2, shell: 0.2, restore: 1, resume: 0.8, first_byte: 0.9 };
  metrics.answered({ ...answer, target: "mine/1", phases });
  metrics.answered({ ...answer, target: "yours/1", start: "warm", phases: {} });
  const all = await metrics.text(null);
  for (const phase of Object.keys(phases)) {
    expect(all).toContain(`spore_wake_phase_seconds_count{phase="${phase}",start="snapshot"} 1`);
  }
  expect(all).toContain('spore_wake_phase_seconds_bucket{le="0.00025",phase="shell",start="snapshot"} 1');
  expect(all).toContain('spore_wake_phase_seconds_bucket{le="0.00025",phase="restore",start="snapshot"} 0');
  const wake = (await metrics.list(null)).find(({ name }) => name === "spore_wake_phase_seconds");
  expect(wake?.values).toContainEqual({
    name: "spore_wake_phase_seconds_count",
    labels: { phase: "shell", start: "snapshot" },
    value: 1,
  });
  expect(JSON.stringify(await metrics.list(new Set(["mine"])))).not.toContain("yours");
  const own = await metrics.text(new Set(["mine"]));
  expect(own).toContain('app="mine"');
  expect(own).not.toContain("yours");
  expect(own).not.toMatch(/^spore_(instances|daemon_)/m);
});

test("of an app that is gone no number is left", async () => {
  await using cloud = await testCloud(testDriver());
  const metrics = new Metrics(cloud.fleet, null);
  const answer = { method: "GET", firstByteMs: 3, phases: {} } as const;
  for (const target of ["mine/1", "yours/1"]) {
    metrics.answered({ ...answer, target, status: 200, start: "warm" });
    metrics.answered({ ...answer, target, status: 502, start: "cold" });
    metrics.answered({ ...answer, target, status: 404, start: null });
  }
  metrics.forget("yours");
  const all = await metrics.text(null);
  expect(all).toContain('app="mine"');
  expect(all).not.toContain("yours");
});
