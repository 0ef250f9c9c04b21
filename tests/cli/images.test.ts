// `spore build`: one file, the same bytes from the same inputs, that runs as its target would.
import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { eventsOf, root, runTarget, serve, spore } from "../support/spore.ts";

const place = folder();
const hello = compile(place, "hello.c", "gcc");
const digest = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

test("an image of a program runs without the program, with what was said at build time", async () => {
  const image = join(place, "hello.spore");
  const words = ["-e", "BUILT=yes", "--cwd", "/tmp", "-o", image, hello, "--", "@", "4"];
  expect(await spore(["build", ...words])).toMatchObject({ status: 0 });
  renameSync(hello, `${hello}.away`);
  const kept = await runTarget([image]);
  expect(kept).toMatchObject({ stderr: "", status: 4 });
  for (const line of ["hello [@] [4]", "BUILT=yes", "in /tmp"])
    expect(kept.stdout.split("\n")).toContain(line);
  const other = await runTarget(["-e", "BUILT=no", image, "--", "@", "5"]);
  expect(other.stdout).toContain("BUILT=no\n");
  expect(other.status).toBe(5);
  renameSync(`${hello}.away`, hello);
});

test("an image of a project serves, without the project or the store it was built with", async () => {
  const project = join(place, "project");
  cpSync(join(root, "examples/hello"), project, { recursive: true });
  const image = join(place, "project.spore");
  const env = { SPORE_HOME: join(place, "first") };
  expect(await spore(["build", "-o", image, project], { env })).toMatchObject({ status: 0 });
  rmSync(project, { recursive: true });
  rmSync(env.SPORE_HOME, { recursive: true });
  await using server = await serve(8080, [image], { env: { SPORE_HOME: join(place, "second") } });
  expect(await (await fetch(server.url)).text()).toBe("Hello from Spore\n");
});

test("the same inputs give the same bytes, in another store and at another time", async () => {
  const [one, two] = [join(place, "one.spore"), join(place, "two.spore")];
  for (const [output, home] of [
    [one, "a"],
    [two, "b"],
  ] as const) {
    const env = { SPORE_HOME: join(place, home) };
    expect(await spore(["build", "-o", output, hello], { env })).toMatchObject({ status: 0 });
  }
  expect(digest(two)).toBe(digest(one));
  const { stdout } = await spore(["run", "--json", one]);
  expect(eventsOf(stdout)[0]).toMatchObject({ event: "built", reused: true });
});

test("an image that exists is replaced as a whole", async () => {
  const output = join(place, "replaced.spore");
  writeFileSync(output, "something else");
  expect(await spore(["build", "-o", output, hello])).toMatchObject({ status: 0 });
  expect(statSync(output).mode & 0o777).toBe(0o644);
  expect((await runTarget([output])).stdout).toBe("hello\n");
  expect(existsSync(`${output}.tmp`)).toBe(false);
});
