// `--pieces` and `--piece`: what was left out of the library OS, and how it comes back.
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { spore } from "../support/spore.ts";

const place = folder();
const INOTIFY_INIT = "253";

test("a call that was left out is named once, with its caller and the flag that adds it", async () => {
  const program = compile(place, "hidden-call.c", "musl-gcc", "-O1", "-w", "-static");
  const image = join(place, "hidden-call.spore");
  expect((await spore(["build", program, "-o", image])).status).toBe(0);

  const derived = await spore(["run", image, "--", INOTIFY_INIT]);
  expect(derived.stdout).toBe("-38\n-38\n");
  const said = derived.stderr.split("\n").filter((line) => line.includes("inotify_init"));
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/left out.*called from 0x[0-9a-f]+.*`--piece inotify_init`/);

  const added = await spore(["run", "--piece", "inotify_init", image, "--", INOTIFY_INIT]);
  expect(added).toMatchObject({ stdout: "3\n4\n", status: 0 });
  const full = await spore(["run", "--pieces", "full", image, "--", INOTIFY_INIT]);
  expect(full).toMatchObject({ stdout: "3\n4\n", status: 0 });
});

test("a piece that does not exist is refused", async () => {
  const program = compile(place, "hidden-call.c", "musl-gcc", "-O1", "-w", "-static");
  const { stderr, status } = await spore(["run", "--piece", "no_such_call", program, "--", INOTIFY_INIT]);
  expect(stderr).toMatch(/^error\[SPORE_[A-Z_]+\]: .*no_such_call/m);
  expect(status).not.toBe(0);
});
