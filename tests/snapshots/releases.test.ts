// What the releases of an app have in common is on disk once.
//
// SPORE_RELEASES says how many there are.
import { copyFileSync, cpSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { root, serve, spore } from "../support/spore.ts";

const place = folder();
const releases = Number(process.env["SPORE_RELEASES"] ?? 3);
const file = (number: number): string => join(place, `${number}.snap`);

/** Changes one file of the app. */
function edit(app: string, number: number): void {
  writeFileSync(
    join(app, "src/server.ts"),
    `import { createServer } from "node:http";
    createServer((_, response) => response.end("release ${number}")).listen(8080);\n`,
  );
}

async function take(app: string, number: number): Promise<void> {
  const base = number === 1 ? [] : ["--base", file(1)];
  const words = ["snapshot", app, "-o", file(number), ...base, "--warm", "/", "--warm", "/"];
  const { status, stderr } = await spore(words, { deadline: 60_000 });
  expect(status, stderr).toBe(0);
}

async function facts(what: "inspect" | "verify", number: number): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await spore(["snapshot", what, file(number), "--json"]);
  expect(stderr).toBe("");
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function answer(number: number): Promise<string> {
  await using program = await serve(8080, [file(number)]);
  return (await fetch(program.url)).text();
}

test("releases cost what has changed, and each goes on as what it was", {
  timeout: 60_000 + releases * 20_000,
}, async () => {
  const app = join(place, "app");
  cpSync(join(root, "examples/hello"), app, { recursive: true });
  for (let number = 1; number <= releases; number++) {
    edit(app, number);
    await take(app, number);
  }
  const whole = Number((await facts("verify", 1))["pages"]) * 4096;
  expect(statSync(file(1)).size).toBeLessThan(0.75 * whole);
  for (let number = 2; number <= releases; number++) {
    expect(await facts("verify", number)).toMatchObject({ base: "1.snap", verified: true });
    expect(statSync(file(number)).size).toBeLessThan(0.35 * whole);
  }
  expect(await answer(releases)).toBe(`release ${releases}`);

  // Without what it was made on it is refused by name, and the program boots.
  renameSync(file(1), join(place, "away"));
  const missing = await spore(["snapshot", "verify", file(2)]);
  expect(missing.stderr).toContain("SPORE_SNAPSHOT_FOREIGN");
  expect(missing.stderr).toContain("its base 1.snap is not there");
  expect(await answer(2)).toBe("release 2");
  copyFileSync(file(2), file(1));
  expect((await spore(["snapshot", "verify", file(2)])).stderr).toContain("is not the base");
  rmSync(file(1));
  renameSync(join(place, "away"), file(1));
  expect(await answer(2)).toBe("release 2");
});

test("a base must be another snapshot in the same folder", async () => {
  const words = ["snapshot", join(root, "examples/hello"), "-o", join(place, "a.snap"), "--base"];
  expect((await spore([...words, "/elsewhere/b.snap"])).stderr).toContain("SPORE_USAGE");
  expect((await spore([...words, join(place, "none.snap")])).stderr).toContain("SPORE_SNAPSHOT_DAMAGED");
});
