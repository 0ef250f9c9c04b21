// `--pieces` and `--piece`: what was left out of the library OS, and how it comes back.
import { statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { root, spore } from "../support/spore.ts";

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
  expect(said[0]).toMatch(/left out.*called by \S+\+0x[0-9a-f]+.*`--piece inotify`/);

  const added = await spore(["run", "--piece", "inotify", image, "--", INOTIFY_INIT]);
  expect(added).toMatchObject({ stdout: "3\n4\n", status: 0 });
  const full = await spore(["run", "--pieces", "full", image, "--", INOTIFY_INIT]);
  expect(full).toMatchObject({ stdout: "3\n4\n", status: 0 });
});

test("a file of /proc is a piece: one that no recording has is named, and comes back by that name", async () => {
  const program = compile(place, "read-files.c", "musl-gcc", "-O1", "-w", "-static");
  const image = join(place, "read-files.spore");
  const recorded = await spore(["build", program, "-o", image, "--record", "true", "--", "/proc/uptime"]);
  expect(recorded.status).toBe(0);
  const files = ["/proc/uptime", "/proc/self/maps", "/proc/self/maps", "/proc/net/route"];

  const without = await spore(["run", image, "--", ...files]);
  expect(without.stdout).toMatch(
    /^\/proc\/uptime: [\d.]+ [\d.]+\n\/proc\/self\/maps: missing\n\/proc\/self\/maps: missing\n\/proc\/net\/route: missing\n$/,
  );
  const said = without.stderr.split("\n").filter((line) => line.includes("left out"));
  expect(said).toEqual([
    expect.stringMatching(/file\/proc\/self\/maps was left out.*ENOENT.*`--piece file\/proc\/self\/maps`/),
    expect.stringContaining("`--piece file/proc/self/net`"),
  ]);

  const pieces = ["--piece", "file/proc/self/maps", "--piece", "file/proc/self/net"];
  const added = await spore(["run", ...pieces, image, "--", ...files]);
  expect(added.stdout).not.toContain("missing");
  expect(added.stderr).not.toContain("file/");
});

test.each([
  ["with symbols", []],
  ["stripped", ["-s"]],
])("the image of a static hello, %s, has at most 150 KB", async (_, flags) => {
  const program = compile(place, "puts.c", "musl-gcc", "-O2", "-static", ...flags);
  const image = join(place, "hello.spore");
  expect((await spore(["build", program, "-o", image])).status).toBe(0);
  expect(statSync(image).size).toBeLessThanOrEqual(150_000);
  expect((await spore(["run", image])).stdout).toBe("hello\n");
  const explained = await spore(["explain", "--json", image]);
  const { features, pieces } = JSON.parse(explained.stdout) as {
    readonly features: readonly { readonly name: string }[];
    readonly pieces: readonly { readonly parts: readonly { readonly name: string }[] }[];
  };
  // No sockets, no file systems, no threads; of files only the table of descriptors.
  expect(features.map(({ name }) => name)).toEqual(["core", "memory", "descriptors", "process"]);
  const parts = pieces.flatMap((piece) => piece.parts.map(({ name }) => name));
  expect(parts.filter((name) => /spore_kernel(3net|2fs(?!5table)|3ipc|6signal)/.test(name))).toEqual([]);
});

test("a feature is asked for and explained by its name", async () => {
  const program = compile(place, "hidden-call.c", "musl-gcc", "-O1", "-w", "-static");
  const run = await spore(["run", "--piece", "inotify", program, "--", INOTIFY_INIT]);
  expect(run).toMatchObject({ stdout: "3\n4\n", status: 0 });
  const image = join(place, "feature.spore");
  expect((await spore(["build", "--piece", "epoll", program, "-o", image])).status).toBe(0);
  const { stdout } = await spore(["explain", "--json", image]);
  const { features } = JSON.parse(stdout) as { readonly features: readonly { readonly name: string }[] };
  expect(features).toContainEqual(
    expect.objectContaining({
      name: "epoll",
      calls: ["epoll_create", "epoll_wait", "epoll_ctl", "epoll_pwait", "epoll_create1", "epoll_pwait2"],
    }),
  );
  const epoll = await spore(["explain", image, "epoll"]);
  expect(epoll.stdout).toMatch(/^epoll: .*epoll_create, .*\n\nepoll_create: call, .*\n {2}--piece epoll\n/);
  const all = await spore(["explain", image]);
  expect(all.stdout).toMatch(/^epoll +[\d.]+ KiB {2}6 pieces; epoll_create: --piece epoll/m);
});

test("a feature is left out whole, with what needs it, and brought back by name", async () => {
  const program = compile(place, "threads.c", "musl-gcc", "-O1", "-w", "-static", "-pthread");
  const image = join(place, "without.spore");
  expect((await spore(["build", "--without", "futex", program, "-o", image])).status).toBe(0);
  const { stdout } = await spore(["explain", image]);
  expect(stdout).toContain("left out by --without: futex\n");
  expect(stdout).toMatch(/^asked for and not there, answered ENOSYS: .*\bclone\b.*\bfutex\b/m);
  expect(stdout).not.toMatch(/^(futex|threads) /m);
  const without = await spore(["run", image]);
  expect(without.stderr).toMatch(/clone was left out.*`--piece threads`/);
  const back = await spore(["run", "--piece", "threads", image]);
  expect(back).toMatchObject({ status: 0, stderr: "" });

  const both = await spore(["run", "--piece", "threads", "--without", "futex", program]);
  expect(both.stderr).toMatch(
    /^error\[SPORE_PIECE_CONFLICT\]: threads is asked for, and left out with futex/,
  );
  expect(both.status).toBe(64);
});

test("a file is a piece by the name that a program opens, links followed", async () => {
  const program = compile(place, "puts.c", "musl-gcc", "-O2", "-static");
  const image = join(place, "net.spore");
  expect((await spore(["build", "--piece", "file/proc/net/tcp", program, "-o", image])).status).toBe(0);
  const piece = await spore(["explain", image, "file/proc/self/net"]);
  expect(piece.stdout).toContain("--piece file/proc/self/net/tcp\n");
  for (const name of ["file/proc/nothing", "file/proc/nothing/*"]) {
    const none = await spore(["run", "--piece", name, program]);
    expect(none.stderr).toContain(`error[SPORE_PIECE_UNKNOWN]: the library OS has no piece ${name} — `);
  }
});

test("an image without the snapshot piece says so when it is to be frozen", async () => {
  const words = ["snapshot", "--without", "snapshot", "-o", join(place, "none.snap")];
  const { stderr, status } = await spore([...words, join(root, "examples/hello")], { deadline: 240_000 });
  expect(stderr).toMatch(/error\[SPORE_SNAPSHOT_FAILED\]: .*holds no snapshot piece: .*`--piece snapshot`/);
  expect(status).not.toBe(0);
});

test("a piece that does not exist is refused", async () => {
  const program = compile(place, "hidden-call.c", "musl-gcc", "-O1", "-w", "-static");
  const { stderr, status } = await spore(["run", "--piece", "no_such_call", program, "--", INOTIFY_INIT]);
  expect(stderr).toMatch(/^error\[SPORE_[A-Z_]+\]: .*no_such_call/m);
  expect(status).not.toBe(0);
});
