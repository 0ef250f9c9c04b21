import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { launchPlan } from "./launch.ts";
import { defaultStore, storeAt } from "./store.ts";
import { sweepStore } from "./store-sweep.ts";
import { openWorkshop, unpack } from "./test-workshop.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());

const SOURCE = '#include <stdio.h>\nint main(void){puts("x");return 0;}\n';
let program: string;
beforeAll(() => {
  program = workshop.compile("program", SOURCE, "gcc");
});

/** A build that began after everything there is was written. */
async function later<T>(action: () => Promise<T>): Promise<T> {
  const past = new Date(Date.now() - 60_000);
  for (const name of readdirSync(workshop.folder)) {
    if (name !== "store") utimesSync(join(workshop.folder, name), past, past);
  }
  return action();
}

describe("an unchanged target is not built again", () => {
  test("the second build only looks", async () => {
    const first = await later(() => workshop.build(program));
    const second = await workshop.build(program);
    expect([first.reused, second.reused]).toEqual([false, true]);
    expect(second.image).toEqual(first.image);
    expect(second.decisions).toEqual(first.decisions);
  });

  test("options that change the image are another build", async () => {
    await later(() => workshop.build(program));
    expect((await workshop.build(program, { patch: false })).reused).toBe(false);
    expect((await workshop.build(program, { args: ["x"] })).reused).toBe(false);
    expect((await workshop.build(program, { fresh: true })).reused).toBe(false);
    expect((await workshop.build(program)).reused).toBe(true);
  });

  test("a changed program or kernel is built again", async () => {
    const own = workshop.compile("own", SOURCE, "gcc");
    await later(() => workshop.build(own));
    expect((await workshop.build(own)).reused).toBe(true);
    appendFileSync(own, "x");
    expect((await workshop.build(own)).reused).toBe(false);
    await later(() => workshop.build(own));
    appendFileSync(join(workshop.folder, "kernel.a"), `${"more/".padEnd(48)}0         \`\n`);
    expect((await workshop.build(own)).reused).toBe(false);
  });

  test("so is a target whose included folder got another file", async () => {
    const folder = workshop.project("extra", { "a.txt": "a", "deep/b.txt": "b" });
    const past = new Date(Date.now() - 60_000);
    for (const path of [folder, join(folder, "deep"), join(folder, "a.txt"), join(folder, "deep/b.txt")]) {
      utimesSync(path, past, past);
    }
    const include = [{ host: folder, guest: "/data" }];
    const first = await later(() => workshop.build(program, { include }));
    const root = unpack(first.image);
    expect(readFileSync(join(root, "data/deep/b.txt"), "utf8")).toBe("b");
    expect((await workshop.build(program, { include })).reused).toBe(true);
    writeFileSync(join(folder, "deep/c.txt"), "c");
    const third = await workshop.build(program, { include });
    expect(third.reused).toBe(false);
    expect(readFileSync(join(unpack(third.image), "data/deep/c.txt"), "utf8")).toBe("c");
  });

  test("links that lead in a circle, and pipes, do not disturb an included folder", async () => {
    const folder = workshop.project("circle", { "deep/a.txt": "a" });
    symlinkSync("..", join(folder, "deep/up"));
    symlinkSync("itself", join(folder, "itself"));
    symlinkSync("nowhere", join(folder, "dangling"));
    execFileSync("mkfifo", [join(folder, "pipe")]);
    const { image } = await workshop.build(program, { include: [{ host: folder, guest: "/data" }] });
    const root = join(unpack(image), "data");
    expect(readdirSync(root).sort()).toEqual(["dangling", "deep", "itself"]);
    expect(readlinkSync(join(root, "deep/up"))).toBe("..");
    expect(readlinkSync(join(root, "itself"))).toBe("itself");
  });

  test("and one whose layer was lost or damaged in the store", async () => {
    const { image } = await later(() => workshop.build(program));
    const layer = image.layers[0]?.path ?? "";
    truncateSync(layer, 4096);
    const again = await workshop.build(program);
    expect(again.reused).toBe(false);
    expect(again.image).toEqual(image);
    rmSync(layer);
    expect((await workshop.build(program)).reused).toBe(false);
  });

  test("what changes while it is built is not remembered", async () => {
    const own = workshop.compile("moving", SOURCE, "gcc");
    utimesSync(own, new Date(), new Date(Date.now() + 5000));
    await workshop.build(own);
    expect((await workshop.build(own)).reused).toBe(false);
  });
});

describe("the store", () => {
  test("two builds give the same bytes, in whatever store", async () => {
    const one = await workshop.build(program, { fresh: true });
    const other = await workshop.build(program, { store: join(workshop.folder, "store2") });
    expect(other.image.digest).toBe(one.image.digest);
    for (const [index, layer] of other.image.layers.entries()) {
      const same = readFileSync(one.image.layers[index]?.path ?? "");
      expect(readFileSync(layer.path).equals(same)).toBe(true);
    }
  });

  test("nothing unfinished stays, and what a killed build left goes", async () => {
    const left = join(workshop.store, "tmp", "4194303-12345-0123456789ab.tmp");
    writeFileSync(left, "half");
    await workshop.build(program, { fresh: true });
    expect(readdirSync(join(workshop.store, "tmp"))).toEqual([]);
  });

  test("layers and images that nothing leads to go after an hour, the others stay", async () => {
    const { image } = await later(() => workshop.build(program, { fresh: true }));
    const store = storeAt(workshop.store);
    const orphans = ["0", "1"].map((digit) => join(store.blobs, digit.repeat(64)));
    for (const path of orphans) writeFileSync(path, "orphan");
    sweepStore(store);
    expect(orphans.map((path) => existsSync(path))).toEqual([true, true]);
    sweepStore(store, Date.now() + 2 * 3_600_000);
    expect(orphans.map((path) => existsSync(path))).toEqual([false, false]);
    expect((await workshop.build(program)).image).toEqual(image);
  });

  test("one that cannot be created is named", async () => {
    const failure = workshop.build(program, { store: "/dev/null/spore" });
    await expect(failure).rejects.toMatchObject({ code: "SPORE_OUTPUT_WRITE" });
    await expect(failure).rejects.toThrow("/dev/null/spore");
  });

  test("lies where the environment says", () => {
    expect(defaultStore({ SPORE_HOME: "/a" })).toBe("/a");
    expect(defaultStore({ XDG_CACHE_HOME: "/b", HOME: "/c" })).toBe("/b/spore");
    expect(defaultStore({ HOME: "/c" })).toBe("/c/.cache/spore");
  });
});

describe("what cannot be built", () => {
  const cases: [name: string, content: string | Buffer, code: string, text: RegExp][] = [
    ["empty", "", "SPORE_ELF_INVALID", /it is empty/],
    ["script", "#!/bin/sh\necho\n", "SPORE_ELF_INVALID", /it is a script/],
    ["text", "hello", "SPORE_ELF_INVALID", /not an ELF file/],
    ["cut", Buffer.from("\x7fELF\x02\x01\x01", "latin1"), "SPORE_ELF_INVALID", /./],
  ];
  test.each(cases)("%s", async (name, content, code, text) => {
    const path = join(workshop.folder, `bad-${name}`);
    writeFileSync(path, content);
    const failure = workshop.build(path);
    await expect(failure).rejects.toMatchObject({ code });
    await expect(failure).rejects.toThrow(text);
  });

  test("a target that does not exist", async () => {
    await expect(workshop.build("/does/not/exist")).rejects.toMatchObject({ code: "SPORE_TARGET_NOT_FOUND" });
  });

  test.each([
    [183, "ARM64"],
    [3, "32-bit x86"],
    [243, "RISC-V"],
  ])("a program for machine %i", async (machine, name) => {
    const bytes = readFileSync(program);
    bytes.writeUInt16LE(machine, 18);
    const path = join(workshop.folder, `machine-${machine}`);
    writeFileSync(path, bytes);
    const failure = workshop.build(path);
    await expect(failure).rejects.toMatchObject({ code: "SPORE_ELF_MACHINE" });
    await expect(failure).rejects.toThrow(`is for ${name}`);
  });

  test("an object file and a shared library", async () => {
    const object = workshop.compile("object.o", SOURCE, "gcc", "-c");
    await expect(workshop.build(object)).rejects.toThrow(/object file/);
    const library = workshop.compile("libx.so", "int x(void){return 1;}", "gcc", "-shared", "-fPIC");
    await expect(workshop.build(library)).rejects.toThrow(/shared library/);
  });

  test("an interpreter that is not there", async () => {
    const path = workshop.compile("lost", SOURCE, "gcc", "-Wl,--dynamic-linker=/lib64/ld-lost.so");
    const failure = workshop.build(path);
    await expect(failure).rejects.toMatchObject({ code: "SPORE_INTERPRETER_MISSING" });
    await expect(failure).rejects.toThrow("/lib64/ld-lost.so");
  });

  test("an include that is not there", async () => {
    const include = [{ host: "/does/not/exist", guest: "/x" }];
    await expect(workshop.build(program, { include })).rejects.toMatchObject({
      code: "SPORE_INCLUDE_NOT_FOUND",
    });
  });

  test("without a kernel", async () => {
    await expect(workshop.build(program, { kernel: "/does/not/exist" })).rejects.toMatchObject({
      code: "SPORE_NOT_BUILT",
    });
  });
});

describe("launch plan", () => {
  let plan: ReturnType<typeof launchPlan>;
  beforeEach(async () => {
    const { image } = await workshop.build(program, { env: { A: "1", B: "2" }, args: ["one"] });
    const run = { env: { B: "3" }, memory: (64 << 20) + 1, hostname: "box" };
    plan = launchPlan(image, run, storeAt(workshop.store));
  });

  test("defaults of the image, changes of the run", () => {
    expect(plan.argv).toEqual([program, "one"]);
    expect(plan.env).toContain("A=1");
    expect(plan.env).toContain("B=3");
    expect(plan.env).not.toContain("B=2");
    expect(plan.cwd).toBe("/");
    expect(plan.memory).toBe(66 << 20);
    expect(plan.publish).toBeNull();
    expect(plan.files.find(({ path }) => path === "/etc/hostname")?.data).toBe("box\n");
  });

  test("layers lie 2 MiB apart or more, addresses are hexadecimal", () => {
    expect(plan.layers.map(({ gpa }) => gpa)).toEqual(["0x1000000000"]);
    expect(plan.program.interpBase).toBe("0x7eff80000000");
    expect(plan.private[0]?.gpa).toBe("0x800000");
  });

  test("too little and too much memory", async () => {
    const { image } = await workshop.build(program);
    const plan = (memory: number) => () => launchPlan(image, { memory }, storeAt(workshop.store));
    expect(plan(8 << 20)).toThrow(/8 MiB of memory is too little/);
    expect(plan(2 ** 40)).toThrow(/at most 32768 MiB/);
  });

  test("the kernel lies unpacked in the store, and is put there again if it changes", async () => {
    const { image } = await workshop.build(program);
    const { path, offset, length } = plan.kernel;
    const bytes = readFileSync(path);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    expect(bytes.subarray(offset, offset + 8).toString()).toBe("SPOREKRN");
    expect({ offset, length }).toEqual({ offset: 0, length: bytes.length });
    expect(length).toBeGreaterThan(image.kernel.length);
    for (const spoil of [() => rmSync(path), () => writeFileSync(path, bytes.fill(0, 64, 128))]) {
      spoil();
      expect(launchPlan(image, {}, storeAt(workshop.store)).kernel).toEqual(plan.kernel);
      expect(createHash("sha256").update(readFileSync(path)).digest("hex")).toBe(sha256);
    }
  });
});
