// `spore explain`: what is in an image's library OS, who asked for it, and what an update changes.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { root, spore } from "../support/spore.ts";

const place = folder();
const hello = compile(place, "hello.c", "musl-gcc", "-O1", "-w", "-static");

interface Piece {
  readonly name: string;
  readonly kind: string;
  readonly size: number;
  readonly by: readonly { readonly kind: string; readonly object?: string; readonly symbol?: string }[];
}

interface Report {
  readonly kernel: number;
  readonly pieces: readonly Piece[];
  readonly everything: readonly unknown[];
  readonly sites: readonly { readonly object: string; readonly sites: number; readonly patched: number }[];
}

async function explained<T>(...words: string[]): Promise<T> {
  const { stdout, stderr, status } = await spore(["explain", "--json", ...words], { deadline: 240_000 });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  return JSON.parse(stdout) as T;
}

test("the pieces of a program's image, with sizes that add up and the function that asked", async () => {
  const image = join(place, "hello.spore");
  expect((await spore(["build", hello, "-o", image])).status).toBe(0);
  const report = await explained<Report>(image);
  expect(report.everything).toEqual([]);
  const sum = report.pieces.reduce((total, { size }) => total + size, 0);
  expect(sum).toBeLessThanOrEqual(report.kernel);
  expect(sum).toBeGreaterThan(report.kernel * 0.8);
  const writev = report.pieces.find(({ name }) => name === "writev");
  expect(writev?.by).toContainEqual(
    expect.objectContaining({ kind: "callSite", object: hello, symbol: "__stdio_write" }),
  );
  expect(report.pieces.find(({ name }) => name === "epoll_wait")?.by ?? []).toEqual([]);
  expect(report.sites).toEqual([expect.objectContaining({ object: hello, sites: expect.any(Number) })]);
});

test("one piece for people: everybody who asked, and what it pulled in", async () => {
  const { stdout, status } = await spore(["explain", hello, "writev"]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^writev: call, [\d.]+ (KiB|B)\n/);
  expect(stdout).toContain(`${hello} makes it at 0x`);
  expect(stdout).toContain("in __stdio_write\n");
  expect(stdout).toMatch(/pulled in:\n( +[\d.]+ (KiB|B) {2}\S.*\n)+/);
});

test("a Node.js project: symbols of Node and its libraries, and the way through the C library", async () => {
  const piece = await explained<Piece>(join(root, "examples/hello"), "epoll_ctl");
  expect(piece.by).toContainEqual(
    expect.objectContaining({ kind: "import", object: "/usr/local/bin/node", symbol: "epoll_ctl" }),
  );
});

test("a project with a configuration: the image that `spore image` shows and `spore build` writes", async () => {
  const project = join(place, "configured");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), '{ "type": "module" }');
  writeFileSync(join(project, "server.js"), "console.log(process.argv[2]);");
  writeFileSync(
    join(project, "spore.config.ts"),
    'export default { entry: "server.js", memory: "256M", args: ["--fast"], env: { A: "b" } };',
  );
  const built = join(place, "configured.spore");
  expect((await spore(["build", project, "-o", built], { deadline: 240_000 })).status).toBe(0);
  const { digest } = await explained<{ readonly digest: string }>(project);
  const shown = await spore(["image", "inspect", "--json", project]);
  expect(JSON.parse(shown.stdout)).toMatchObject({ digest, defaults: { args: ["--fast"], env: { A: "b" } } });
  expect(await explained(built)).toMatchObject({ digest });
});

test("instructions that leave the guest are counted: system calls and cpuid, jumps and traps", async () => {
  const { stdout, status } = await spore(["explain", join(root, "examples/hello")], { deadline: 240_000 });
  expect(status).toBe(0);
  expect(stdout).toMatch(/ld-linux\S+: (\d+) of \1 system-call .* 0 trap; (\d+) of \2 cpuid .* 0 trap$/m);
  // Node.js itself is too large to be read.
  expect(stdout).toMatch(/\/node: 0 of (\d+) cpuid instructions are jumps, \1 trap$/m);
});

test("two images: what one has over the other", async () => {
  const threads = compile(place, "threads.c", "musl-gcc", "-O1", "-w", "-static", "-pthread");
  const { stdout, status } = await spore(["explain", hello, threads]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^hello\S* {2}[0-9a-f]{64}\nthreads\S* {2}[0-9a-f]{64}\nlibrary OS: /);
});

test("a piece that is not there: the nearest name", async () => {
  const { stderr, status } = await spore(["explain", hello, "writv"]);
  expect(status).toBe(66);
  expect(stderr).toMatch(
    /^error\[SPORE_PIECE_ABSENT\]: \S+ has no piece writv — did you mean `write\w?`\?\n$/,
  );
});
