// `spore image`: looking into an image without running it.
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { beforeAll, expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { root, spore } from "../support/spore.ts";

const place = folder();
const hello = compile(place, "hello.c", "gcc");
const data = join(place, "data");
const image = join(place, "hello.spore");

beforeAll(async () => {
  mkdirSync(join(data, "inner"), { recursive: true });
  writeFileSync(join(data, "text"), "some text\n");
  writeFileSync(join(data, "inner/script"), "#!/bin/sh\n", { mode: 0o755 });
  symlinkSync("inner/script", join(data, "link"));
  symlinkSync("/data/text", join(data, "absolute"));
  symlinkSync("/etc/passwd", join(data, "inner/out"));
  const words = ["--include", `${data}:/data`, "-o", image, hello];
  expect(await spore(["build", ...words])).toMatchObject({ status: 0 });
});

const json = async (...words: string[]): Promise<unknown> =>
  JSON.parse((await spore(["image", ...words, "--json"])).stdout);

test("ls and tree show what the guest would see", async () => {
  expect(await json("ls", image, "/data")).toMatchObject([
    { path: "/data/absolute", type: "symlink", target: "/data/text" },
    { path: "/data/inner", type: "directory" },
    { path: "/data/link", type: "symlink", target: "inner/script" },
    {
      path: "/data/text",
      type: "file",
      size: 10,
      mode: 0o644,
      uid: 0,
      layer: expect.stringMatching(/^hello/),
    },
  ]);
  const { stdout } = await spore(["image", "ls", image, "/data/text"]);
  expect(stdout).toMatch(/^-rw-r--r-- 0:0 +10 {2}\S+ +text\n$/);
  expect((await spore(["image", "tree", image, "/data/"])).stdout).toBe(
    "/data\n  absolute -> /data/text\n  inner/\n    out -> /etc/passwd\n    script\n  link -> inner/script\n  text\n",
  );
});

test("cat prints a file, links followed inside of the image", async () => {
  for (const path of ["/data/text", "/data/absolute", "data/../data/text"]) {
    expect((await spore(["image", "cat", image, path])).stdout).toBe("some text\n");
  }
  // The guest's own, whatever the host has there.
  expect((await spore(["image", "cat", image, "/data/inner/out"])).stdout).toContain("root:x:0:0");
  // The C library is patched on its way in; everything else is as it was.
  const program = execFileSync(join(root, "spore"), ["image", "cat", image, hello]);
  expect(program.equals(readFileSync(hello))).toBe(true);
});

test("cp copies a file, and a tree with its modes and links", async () => {
  const file = join(place, "copied.txt");
  expect(await spore(["image", "cp", image, "/data/link", file])).toMatchObject({ status: 0, stderr: "" });
  expect(readFileSync(file, "utf8")).toBe("#!/bin/sh\n");
  expect(statSync(file).mode & 0o777).toBe(0o755 & ~process.umask());
  const tree = join(place, "tree");
  expect(await json("cp", image, "/", tree)).toMatchObject({ path: tree });
  expect(readFileSync(join(tree, "data/absolute"), "utf8")).toBe("some text\n");
  expect(readlinkSync(join(tree, "data/absolute"))).toBe("text");
  expect(readlinkSync(join(tree, "data/inner/out"))).toBe("../../etc/passwd");
  expect(statSync(join(tree, "tmp")).mode & 0o777).toBe(0o777);
});

test("a link out of what is copied is refused, and nothing is written", async () => {
  const away = join(place, "away");
  const { status, stderr } = await spore(["image", "cp", image, "/data", away]);
  expect(stderr).toMatch(
    /^error\[SPORE_IMAGE_PATH\]: in the image, \/data\/inner\/out is a link to "\/etc\/passwd"/,
  );
  expect(status).toBe(66);
  expect(existsSync(away)).toBe(false);
  expect(readdirSync(place).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("what is there already is not written over", async () => {
  const there = join(place, "there");
  mkdirSync(join(there, "inner"), { recursive: true });
  const { status, stderr } = await spore(["image", "cp", image, "/data/inner", there]);
  expect(stderr).toContain("error[SPORE_OUTPUT_WRITE]");
  expect(status).toBe(73);
  expect(readdirSync(join(there, "inner"))).toEqual([]);
});

test("inspect says what the image says of itself", async () => {
  const found = await json("inspect", image);
  expect(found).toMatchObject({
    kind: "program",
    stopSignal: "SIGTERM",
    rights: { ports: null, volumes: [] },
  });
  const { stdout } = await spore(["image", "inspect", image]);
  expect(stdout).toContain(`sha256:${(found as { digest: string }).digest}\n`);
  expect(stdout).toMatch(/^ports +all$/m);
});

test("a project is built to be looked at", async () => {
  const entries = (await json("ls", join(root, "examples/hello"), "/app")) as {
    path: string;
    layer: string;
  }[];
  expect(entries.find(({ path }) => path === "/app/package.json")).toMatchObject({ layer: "app" });
  const top = (await json("ls", join(root, "examples/hello"), "/")) as { path: string }[];
  expect(top.map(({ path }) => path)).toEqual(expect.arrayContaining(["/app", "/usr", "/etc", "/tmp"]));
});

test("export writes memory that standard tools read", async () => {
  const elf = join(place, "hello.elf");
  expect(await spore(["image", "export", image, "-o", elf])).toMatchObject({ status: 0, stderr: "" });
  const headers = execFileSync("readelf", ["--wide", "--file-header", "--program-headers", elf], {
    encoding: "utf8",
  });
  expect(headers).toMatch(/Type: +EXEC/);
  // The library OS at its guest-physical address, and the layer at its own.
  expect(headers).toMatch(/LOAD +\S+ +\S+ 0x0*1000000000 .* R E/);
  const notes = execFileSync("readelf", ["--notes", elf], { encoding: "utf8" });
  expect(notes).toContain("Spore");
  const kernel = (
    (await json("inspect", image)) as { kernel: { path: string; offset: number; length: number } }
  ).kernel;
  const { path, offset } = kernel;
  // As any tool would: the kernel travels compressed.
  const packed = readFileSync(path).subarray(offset, offset + kernel.length);
  const blob = zstdDecompressSync(packed);
  const { length } = blob;
  const raw = join(place, "hello.raw");
  expect(await spore(["image", "export", image, "--format", "raw", "-o", raw])).toMatchObject({ status: 0 });
  const memory = execFileSync(
    "dd",
    [`if=${raw}`, "bs=4096", "skip=512", `count=${Math.ceil(length / 4096)}`, "status=none"],
    { maxBuffer: 1 << 26 },
  );
  expect(memory.subarray(0, length).equals(blob)).toBe(true);
  // The file is as long as the guest's memory map, and takes what is not zero.
  expect(statSync(raw).blocks * 512).toBeLessThan(64 << 20);
});

test.each([
  [["ls", image, "/none"], "SPORE_IMAGE_PATH", 66],
  [["cat", image, "/data"], "SPORE_IMAGE_PATH", 66],
  [["cat", image], "SPORE_USAGE", 64],
  [["cp", image, "/data"], "SPORE_USAGE", 64],
  [["ls"], "SPORE_USAGE", 64],
  [["look", image], "SPORE_USAGE", 64],
  [["inspect", image, "/"], "SPORE_USAGE", 64],
  [["export", image], "SPORE_USAGE", 64],
  [["export", image, "-o", "/nowhere/x"], "SPORE_OUTPUT_WRITE", 73],
  [["ls", join(place, "none")], "SPORE_TARGET_NOT_FOUND", 66],
] as const)("image %j is %s", async (words, code, exit) => {
  const { status, stderr } = await spore(["image", ...words]);
  expect(stderr).toMatch(new RegExp(`^error\\[${code}\\]: [^\\n]*\\n$`));
  expect(status).toBe(exit);
});
