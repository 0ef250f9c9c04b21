import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { compilePrograms, type Kind } from "../test/programs.ts";
import {
  buildId,
  ElfError,
  type ElfErrorReason,
  FileType,
  interpreter,
  parseElf,
  readDynamic,
  readDynamicSymbols,
  readFrames,
  readSections,
  readSymbols,
  SegmentType,
  segmentOfType,
} from "./index.ts";

const { programs, remove } = compilePrograms();
afterAll(remove);

/** What readelf says, for comparison. */
function readelf(kind: Kind, ...flags: string[]): string {
  return execFileSync("readelf", ["-W", ...flags, programs[kind].path], { encoding: "utf8" });
}

function parse(kind: Kind) {
  return parseElf(programs[kind].bytes);
}

/** Every reader, so that damage anywhere is met. */
function readEverything(bytes: Uint8Array): void {
  const elf = parseElf(bytes);
  const readers: (() => unknown)[] = [
    () => interpreter(elf),
    () => readDynamic(elf),
    () => readSections(elf),
    () => buildId(elf),
    () => readFrames(elf),
    () => {
      const symbols = readSymbols(elf);
      for (const symbol of symbols ?? []) symbols?.lookup(symbol.address);
      symbols?.find("main");
    },
    () => [...(readDynamicSymbols(elf) ?? [])],
  ];
  let failure: unknown;
  for (const reader of readers) {
    try {
      reader();
    } catch (error) {
      if (!(error instanceof ElfError)) throw error;
      failure = error;
    }
  }
  if (failure) throw failure;
}

/** The reason for which reading fails, or "none". */
function reasonOf(bytes: Uint8Array): ElfErrorReason | "none" {
  try {
    readEverything(bytes);
    return "none";
  } catch (error) {
    if (error instanceof ElfError) return error.reason;
    throw error;
  }
}

/** A copy with some bytes replaced. */
function edited(bytes: Uint8Array, offset: number, ...values: number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, offset);
  return copy;
}

describe("header and segments", () => {
  test("agree with readelf", () => {
    for (const kind of ["pie", "fixed", "shared", "stripped"] as const) {
      const elf = parse(kind);
      const listed = [
        ...readelf(kind, "-l").matchAll(/^ {2}([A-Z_]+) +(0x\w+) (0x\w+) 0x\w+ (0x\w+) (0x\w+)/gm),
      ];
      expect(elf.segments.map((each) => [each.offset, each.vaddr, each.fileSize, each.memorySize])).toEqual(
        listed.map((row) => row.slice(2, 6).map(Number)),
      );
    }
    expect(parse("fixed").header.type).toBe(FileType.executable);
    expect(parse("pie").header.type).toBe(FileType.shared);
    expect(parse("object").header.type).toBe(FileType.relocatable);
    expect(parse("object").segments).toEqual([]);
  });

  test("the interpreter, thread-local storage and relocation read-only data are found", () => {
    expect(interpreter(parse("pie"))).toBe("/lib64/ld-linux-x86-64.so.2");
    expect(interpreter(parse("shared"))).toBeUndefined();
    expect(segmentOfType(parse("pie"), SegmentType.tls)?.fileSize).toBe(4);
    expect(segmentOfType(parse("pie"), SegmentType.gnuRelro)).toBeDefined();
  });

  test("the build id is the one readelf prints", () => {
    const printed = /Build ID: (\w+)/.exec(readelf("pie", "-n"))?.[1];
    expect(printed).toHaveLength(40);
    expect(buildId(parse("pie"))).toBe(printed);
    expect(buildId(parse("object"))).toBeUndefined();
  });
});

describe("dynamic section", () => {
  test("needed libraries, search paths and names", () => {
    expect(readDynamic(parse("pie"))).toMatchObject({
      needed: ["libc.so.6"],
      rpath: ["/opt/a", "/opt/b"],
      runpath: [],
      pie: true,
    });
    expect(readDynamic(parse("fixed"))).toMatchObject({ rpath: [], runpath: ["$ORIGIN/lib"], pie: false });
    expect(readDynamic(parse("shared"))?.soname).toBe("libsample.so.7");
    expect(readDynamic(parse("object"))).toBeUndefined();
  });
});

describe("sections and symbols", () => {
  test("sections agree with readelf", () => {
    const names = [...readelf("pie", "-S").matchAll(/^ {2}\[ *\d+\] ([.\w-]+)/gm)].map((row) => row[1]);
    const sections = readSections(parse("pie"));
    expect(sections.slice(1).map((each) => each.name)).toEqual(names.slice(names[0] === "" ? 1 : 0));
  });

  test("a function is found by name and by any address inside it", () => {
    const symbols = readSymbols(parse("pie"));
    const visible = symbols?.find("visible");
    expect(visible?.size).toBeGreaterThan(4);
    if (!visible) return;
    expect(symbols?.lookup(visible.address + 4)).toMatchObject({ symbol: { name: "visible" }, offset: 4 });
    expect(symbols?.lookup(visible.address + visible.size)?.symbol.name).not.toBe("visible");
    expect(symbols?.find("printf@")).toBeUndefined();
    expect(symbols?.lookup(1)).toBeUndefined();
  });

  test("a stripped file still has its dynamic symbols, with and without section headers", () => {
    const { bytes } = programs.stripped;
    expect(readSymbols(parseElf(bytes))?.find("visible")?.size).toBeGreaterThan(4);
    const bare = edited(edited(bytes, 40, 0, 0, 0, 0, 0, 0, 0, 0), 60, 0, 0, 0, 0);
    const all = [...(readSymbols(parseElf(bytes)) ?? [])];
    expect([...(readSymbols(parseElf(bare)) ?? [])].map((each) => each.name)).toEqual(
      all.map((each) => each.name),
    );
  });
});

describe("unwind records", () => {
  test("give the bounds of functions, as symbols do", () => {
    const elf = parse("pie");
    const frames = readFrames(elf);
    for (const name of ["main", "visible", "hidden"]) {
      const symbol = readSymbols(elf)?.find(name);
      expect(frames.find((each) => each.start === symbol?.address)?.end).toBe(
        (symbol?.address ?? 0) + (symbol?.size ?? 0),
      );
    }
    const fromReadelf = [...readelf("pie", "--debug-dump=frames").matchAll(/FDE .* pc=(\w+)\.\.(\w+)/g)];
    expect(frames.map((each) => [each.start, each.end])).toEqual(
      fromReadelf
        .map((row) => row.slice(1, 3).map((text) => Number.parseInt(text, 16)))
        .sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0)),
    );
  });
});

describe("unwind records without a search table", () => {
  test("are found in their section", () => {
    const segment = segmentOfType(parse("pie"), SegmentType.gnuEhFrame);
    const elf = parse("pie");
    const index = segment ? elf.segments.findIndex((each) => each.type === SegmentType.gnuEhFrame) : 0;
    const without = edited(programs.pie.bytes, elf.header.programHeaderOffset + index * 56, 0, 0, 0, 0);
    expect(segmentOfType(parseElf(without), SegmentType.gnuEhFrame)).toBeUndefined();
    expect(readFrames(parseElf(without)).map((each) => each.start)).toEqual(
      readFrames(elf).map((each) => each.start),
    );
  });
});

describe("damaged files", () => {
  const good = programs.pie.bytes;
  const cases: [string, Uint8Array, ElfErrorReason][] = [
    ["empty", new Uint8Array(), "not-elf"],
    ["a text file", new TextEncoder().encode("#!/bin/sh\necho hello, world\n"), "not-elf"],
    ["only the magic", good.slice(0, 4), "truncated"],
    ["half a header", good.slice(0, 40), "truncated"],
    ["cut after the header", good.slice(0, 100), "truncated"],
    ["cut in the middle", good.slice(0, good.length >> 1), "truncated"],
    ["32 bits", edited(good, 4, 1), "wrong-class"],
    ["big endian", edited(good, 5, 2), "wrong-byte-order"],
    ["another ELF version", edited(good, 6, 9), "wrong-version"],
    ["for AArch64", edited(good, 18, 183), "wrong-machine"],
    ["a core dump", edited(good, 16, 4), "wrong-type"],
    ["program headers of another size", edited(good, 54, 32), "bad-header"],
    ["program headers beyond the end", edited(good, 34, 0xff), "truncated"],
    ["program headers at an absurd offset", edited(good, 39, 0xff), "out-of-range"],
  ];
  test.each(cases)("%s", (_name, bytes, reason) => {
    expect(reasonOf(bytes)).toBe(reason);
  });

  test("overlapping segments", () => {
    const elf = parseElf(good);
    const second = elf.loads[1];
    if (!second) throw new Error("the sample has one segment only");
    const at = elf.header.programHeaderOffset + elf.segments.indexOf(second) * 56;
    expect(reasonOf(edited(good, at + 16, 0, 0, 0, 0, 0, 0, 0, 0))).toBe("segments-overlap");
    expect(reasonOf(edited(good, at + 48, 3, 0))).toBe("bad-segment");
  });

  test("an interpreter path without an end", () => {
    const segment = segmentOfType(parseElf(good), SegmentType.interp);
    const end = (segment?.offset ?? 0) + (segment?.fileSize ?? 0);
    expect(reasonOf(edited(good, end - 1, 0x41))).toBe("bad-string");
  });

  test("flipped bytes anywhere raise ElfError or nothing", () => {
    const kinds = fc.constantFrom<Kind>("pie", "stripped", "object");
    const flip = fc.record({ at: fc.nat(), near: fc.nat(0x5ff), value: fc.nat(255), head: fc.boolean() });
    fc.assert(
      fc.property(kinds, fc.array(flip, { minLength: 1, maxLength: 8 }), (kind, flips) => {
        const copy = programs[kind].bytes.slice();
        for (const { at, near, value, head } of flips) copy[head ? near : at % copy.length] = value;
        reasonOf(copy);
      }),
      { numRuns: 1500 },
    );
  });

  test("flipped bytes in the tables raise ElfError or nothing", () => {
    const bytes = programs.pie.bytes;
    const elf = parseElf(bytes);
    const names = [
      ".dynamic",
      ".dynsym",
      ".gnu.hash",
      ".eh_frame",
      ".eh_frame_hdr",
      ".symtab",
      ".note.gnu.build-id",
    ];
    const tables = readSections(elf).filter((each) => names.includes(each.name));
    expect(tables).toHaveLength(names.length);
    fc.assert(
      fc.property(
        fc.constantFrom(...tables),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1 }),
        (table, flips) => {
          const copy = bytes.slice();
          for (const [at, value] of flips) copy[table.offset + (at % table.size)] = value;
          reasonOf(copy);
        },
      ),
      { numRuns: 1500 },
    );
  });

  test("a file cut anywhere raises ElfError", () => {
    fc.assert(
      fc.property(fc.nat(good.length - 1), (length) => {
        expect(reasonOf(good.slice(0, length))).not.toBe("none");
      }),
    );
  });
});
