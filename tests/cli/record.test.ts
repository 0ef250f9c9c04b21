// `spore build --record`: the app runs while a command exercises it, and the image says what it used.
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { root, runTarget, serve, spore } from "../support/spore.ts";

const place = folder();

interface Piece {
  readonly by: readonly { readonly kind: string; readonly command?: string; readonly count?: number }[];
}

test("a server: the command learns where it is, and what it made the app do is recorded", async () => {
  const project = join(place, "hello");
  cpSync(join(root, "examples/hello"), project, { recursive: true });
  symlinkSync(join(root, "node_modules"), join(place, "node_modules"));
  const image = join(place, "hello.spore");
  const command = 'test "$SPORE_URL" = "http://127.0.0.1:$PORT" && curl -sS --fail "$SPORE_URL/"';
  const { stderr, status } = await spore(["build", project, "-o", image, "--record", command], {
    deadline: 240_000,
  });
  expect(stderr).toContain("Hello from Spore");
  expect(status).toBe(0);
  const recording = JSON.parse(readFileSync(join(project, "spore.recording.json"), "utf8")) as {
    readonly command: string;
    readonly calls: Readonly<Record<string, number>>;
    readonly services: readonly string[];
  };
  expect(recording.command).toBe(command);
  expect(recording.calls).toMatchObject({ listen: 1, accept4: 1 });
  expect(recording.services).toContain("socket/inet6");
  const piece = await spore(["explain", "--json", image, "accept4"]);
  expect((JSON.parse(piece.stdout) as Piece).by).toEqual([{ kind: "recording", command, count: 1 }]);

  // The recording is kept: later builds and runs go by it, without the command.
  const later = join(place, "later.spore");
  const built = await spore(["build", project, "-o", later, "--pieces", "recorded"]);
  expect(built).toMatchObject({ stderr: "", status: 0 });
  expect(readFileSync(later).equals(readFileSync(image))).toBe(true);
  await using server = await serve(8080, ["--pieces", "recorded", project]);
  expect(await (await fetch(server.url)).text()).toContain("Hello from Spore");
});

test("a program that ends by itself: its run is the recording", async () => {
  const program = compile(place, "hello.c", "musl-gcc", "-O1", "-w", "-static");
  const image = join(place, "program.spore");
  expect((await spore(["build", program, "-o", image, "--record", "true"])).status).toBe(0);
  const { calls } = JSON.parse(readFileSync(`${image}.recording.json`, "utf8")) as {
    readonly calls: Readonly<Record<string, number>>;
  };
  expect(Object.keys(calls)).toEqual(expect.arrayContaining(["writev", "exit_group", "arch_prctl"]));
  expect(Object.keys(calls)).not.toContain("socket");
  expect(await runTarget([image, "--", "a"])).toMatchObject({ stdout: "hello [a]\n" });
  const kept = ["--pieces", "recorded", "--recording", `${image}.recording.json`];
  expect(await runTarget([...kept, program, "--", "b"])).toMatchObject({ stdout: "hello [b]\n" });
});

test("without a recording, or with a file that is none, nothing is built", async () => {
  const project = join(place, "unrecorded");
  cpSync(join(root, "examples/hello"), project, { recursive: true });
  const missing = await runTarget(["--pieces", "recorded", project]);
  expect(missing.stderr).toBe(
    `error[SPORE_RECORDING_MISSING]: ${project} has no recording: ${project}/spore.recording.json (ENOENT) cannot be read — record one with \`spore build TARGET -o FILE --record COMMAND\`\n`,
  );
  expect(missing.status).toBe(66);
  writeFileSync(join(project, "spore.recording.json"), '{ "version": 1, "calls": { "no_such_call": 1 } }');
  const damaged = await runTarget(["--pieces", "recorded", project]);
  expect(damaged.stderr).toContain(`error[SPORE_RECORDING_INVALID]: ${project}/spore.recording.json is not`);
  expect(damaged.status).toBe(65);
  const program = await runTarget(["--pieces", "recorded", "/bin/true"]);
  expect(program.stderr).toContain("error[SPORE_RECORDING_MISSING]: /bin/true has no recording: --recording");
});

test("a command that fails leaves no image", async () => {
  const image = join(place, "none.spore");
  const words = ["build", join(root, "examples/hello"), "-o", image, "--record", "exit 3"];
  const { stderr, status } = await spore(words, { deadline: 240_000 });
  expect(status).toBe(65);
  expect(stderr).toContain(
    "error[SPORE_RECORD_FAILED]: nothing was recorded: the command ended with status 3",
  );
  expect(() => readFileSync(image)).toThrow();
});
