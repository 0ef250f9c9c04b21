import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { ElfError, parseElf, readSymbols, SegmentFlag, SegmentType } from "@spore/elf";
import fc from "fast-check";
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from "iced-x86";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bytesOf,
  compile,
  compileGo,
  compileWith,
  objdumpInstructions,
  objdumpSites,
  systemLibraries,
  temporaryFolder,
  writeProgram,
} from "../test/programs.ts";
import { FAST_ENTRY, type PatchReport, patchSyscalls, type SiteKind } from "./index.ts";

const folder = temporaryFolder();
afterAll(folder.remove);

/** Instructions as text, with absolute addresses, from `address` on. */
function disassemble(file: Uint8Array, address: number, end: number): string[] {
  const elf = parseElf(file);
  const load = elf.loads.find((each) => address >= each.vaddr && address < each.vaddr + each.fileSize);
  if (!load) throw new Error("no such address");
  const at = load.offset + address - load.vaddr;
  const decoder = new Decoder(64, file.subarray(at, at + end - address), DecoderOptions.None);
  decoder.ip = BigInt(address);
  const formatter = new Formatter(FormatterSyntax.Intel);
  formatter.ripRelativeAddresses = false;
  const lines: string[] = [];
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    lines.push(formatter.format(instruction));
    instruction.free();
  }
  decoder.free();
  formatter.free();
  return lines.map((line) => line.replace(/\b(short|near ptr) /g, "").replace(/\b0+(?=[0-9A-F])/g, ""));
}

function hex(address: number): string {
  return `${address.toString(16).toUpperCase()}h`;
}

/** The text of an instruction that jumps or points somewhere: hexadecimal, a leading 0 before a letter dropped. */
function withTarget(text: string, address: number): string {
  return `${text}${hex(address)}`;
}

/** Checks every window and stub of a patched file instruction by instruction. */
function checkStubs(original: Uint8Array, patched: Uint8Array, report: PatchReport): void {
  const { stubs, windows } = report;
  if (!stubs) throw new Error("nothing was patched");
  if (FAST_ENTRY.kind !== "jump") throw new Error("no jump");
  const shared = { syscall: stubs.vaddr, cpuid: stubs.vaddr + 16 };
  const ends = [...windows.map((each) => each.stub), stubs.vaddr + stubs.size].sort((a, b) => a - b);
  expect(disassemble(patched, shared.syscall, shared.syscall + 13)).toEqual([
    withTarget("mov r11,", FAST_ENTRY.syscall),
    "jmp r11",
  ]);
  expect(disassemble(patched, shared.cpuid, shared.cpuid + 12)).toEqual([
    withTarget("mov rbx,", FAST_ENTRY.cpuid),
    "jmp rbx",
  ]);
  for (const { kind, site, start, end, stub, keepsSite } of windows) {
    const link = kind === "syscall" ? "rcx" : "rdx";
    const [jump, ...padding] = disassemble(patched, start, end);
    expect(jump).toBe(withTarget("jmp ", stub));
    const kept = keepsSite ? padding.pop() : undefined;
    expect(kept).toBe(keepsSite ? "syscall" : undefined);
    expect(padding).toEqual(padding.map(() => "nop"));
    const before = site > start ? disassemble(original, start, site) : [];
    const after = end > site + 2 ? disassemble(original, site + 2, end) : [];
    const stubEnd = ends.find((each) => each > stub) ?? 0;
    const code = disassemble(patched, stub, stubEnd);
    while (code.at(-1) === "int3") code.pop();
    const call = code.slice(before.length, before.length + 2);
    expect(code.slice(0, before.length)).toEqual(before);
    expect(call[1]).toBe(withTarget("jmp ", shared[kind]));
    const rest = code.slice(before.length + 2);
    if (after.length === 0) {
      expect([call[0], rest]).toEqual([withTarget(`lea ${link},[`, end).concat("]"), []]);
    } else {
      const back = after.at(-1) === "ret" ? [] : [withTarget("jmp ", end)];
      expect(rest).toEqual([...after, ...back]);
      expect(call[0]).toMatch(new RegExp(`^lea ${link},\\[[0-9A-F]+h\\]$`));
      const resume = Number.parseInt(/\[([0-9A-F]+)h/.exec(call[0] ?? "")?.[1] ?? "", 16);
      expect(disassemble(patched, resume, stubEnd).filter((line) => line !== "int3")).toEqual(rest);
    }
  }
}

/** Checks that only windows and program headers changed, and that the new segment is sound. */
function checkFile(original: Uint8Array, patched: Uint8Array, report: PatchReport): void {
  const elf = parseElf(patched);
  const { header } = parseElf(original);
  const stubs = elf.loads.at(-1);
  // Without a header to spare the table moves to the start of the new segment.
  const moved = elf.header.programHeaderOffset !== header.programHeaderOffset;
  const reserved = moved ? Math.ceil((elf.segments.length * 56) / 16) * 16 : 0;
  expect(stubs?.flags).toBe(SegmentFlag.read | SegmentFlag.execute);
  expect(stubs).toMatchObject({
    vaddr: (report.stubs?.vaddr ?? 0) - reserved,
    offset: (report.stubs?.offset ?? 0) - reserved,
    fileSize: (report.stubs?.size ?? 0) + reserved,
  });
  expect((stubs?.vaddr ?? 1) % 4096).toBe(0);
  expect((stubs?.offset ?? 1) % 4096).toBe(0);
  const kept: number[] = [SegmentType.load, SegmentType.note, SegmentType.phdr];
  const others = (file: Uint8Array) => parseElf(file).segments.filter(({ type }) => !kept.includes(type));
  expect(others(patched)).toEqual(others(original));
  const restored = patched.slice(0, original.length);
  if (moved) restored.set(original.subarray(0, 64));
  const table = header.programHeaderOffset;
  restored.set(original.subarray(table, table + header.programHeaderCount * 56), table);
  for (const { start, end } of report.windows) {
    const load = elf.loads.find((each) => start >= each.vaddr && start < each.vaddr + each.fileSize);
    const offset = (load?.offset ?? 0) + start - (load?.vaddr ?? 0);
    restored.set(original.subarray(offset, offset + end - start), offset);
  }
  expect(Buffer.compare(restored, original)).toBe(0);
}

/** Checks that the report names what objdump finds, no more and no less; answers that. */
function checkSites(path: string, report: PatchReport): Record<SiteKind, number[]> {
  const expected = objdumpSites(path);
  for (const kind of ["syscall", "cpuid"] as const) {
    const found = [...report.windows, ...report.skipped.map((each) => ({ ...each, site: each.address }))]
      .filter((each) => each.kind === kind)
      .map((each) => each.site);
    expect(found.sort((a, b) => a - b)).toEqual(expected[kind]);
    const left = report.skipped.filter((each) => each.kind === kind).length;
    expect(report.counts[kind]).toMatchObject({ sites: found.length, patched: found.length - left });
  }
  return expected;
}

const { libc, loader } = systemLibraries();

describe.each([
  ["the C library", libc],
  ["the loader", loader],
])("%s of this system", (_name, path) => {
  const original = bytesOf(path);
  const { bytes: patched, report } = patchSyscalls(original);

  test("every syscall and cpuid that objdump finds is patched", () => {
    const expected = checkSites(path, report);
    expect(expected.syscall.length).toBeGreaterThan(40);
    expect(report.skipped).toEqual([]);
    const kept = report.windows.filter(({ keepsSite }) => keepsSite).map(({ site }) => site);
    expect(objdumpSites(writeProgram(join(folder.path, "patched"), patched))).toEqual({
      syscall: kept.sort((a, b) => a - b),
      cpuid: [],
    });
    expect(kept.length / expected.syscall.length).toBeGreaterThan(0.8);
  });

  test("nothing changes but windows and program headers", () => {
    checkFile(original, patched, report);
  });

  test("stubs do what the windows did", () => {
    checkStubs(original, patched, report);
  });

  test("windows are whole instructions, as objdump sees them", () => {
    const starts = new Set(objdumpInstructions(path));
    expect(report.windows.filter(({ start, end }) => !starts.has(start) || !starts.has(end))).toEqual([]);
  });

  test("nearly all calls return to the address they return to unpatched", () => {
    const elsewhere = report.windows.filter(({ site, end }) => end !== site + 2);
    expect(elsewhere.length / report.windows.length).toBeLessThan(0.1);
  });

  test("the same input gives the same output and is left alone", () => {
    expect(Buffer.compare(original, bytesOf(path))).toBe(0);
    expect(Buffer.compare(patchSyscalls(original).bytes, patched)).toBe(0);
  });
});

describe("hand-written cases", () => {
  const path = compile(folder.path, "cases.s", "-nostdlib", "-static", "-Wl,--build-id");
  const original = bytesOf(path);
  const symbols = readSymbols(parseElf(original));
  const address = (name: string): number => symbols?.find(name)?.address ?? Number.NaN;
  const { bytes: patched, report } = patchSyscalls(original);
  const windowAt = (site: number) => report.windows.find((each) => each.site === site);

  test("the program works before and after", () => {
    expect(spawnSync(path).status).toBe(0);
    const native = patchSyscalls(original, { entry: { kind: "itself" } });
    expect(native.report.windows.length).toBe(report.windows.length);
    const program = writeProgram(join(folder.path, "cases"), native.bytes);
    expect(spawnSync(program).status).toBe(0);
  });

  test("what cannot be patched is named, with the reason", () => {
    expect(report.skipped).toEqual([
      { address: address("at_cornered"), kind: "syscall", reason: "branch-target" },
      { address: address("at_between_calls"), kind: "syscall", reason: "not-relocatable" },
      { address: address("at_signal_return"), kind: "syscall", reason: "signal-return" },
    ]);
    expect(report.counts).toEqual({
      syscall: {
        sites: 10,
        patched: 7,
        left: { "branch-target": 1, "not-relocatable": 1, "signal-return": 1 },
      },
      cpuid: { sites: 2, patched: 2, left: {} },
    });
  });

  test("no window covers a target, be it in code, a table or a pointer", () => {
    for (const name of ["at_entered", "case_1", "at_pointed", "at_returns"]) {
      expect(windowAt(address(name))?.start).toBe(address(name));
    }
  });

  test("a function that runs on past its unwind record is followed", () => {
    expect(windowAt(address("cut_short") + 5)?.start).toBe(address("cut_short"));
  });

  test("stubs do what the windows did", () => {
    checkFile(original, patched, report);
    checkStubs(original, patched, report);
  });

  test("bytes that only look like a syscall stay", () => {
    const at = address("no_syscall");
    expect(disassemble(patched, at, at + 5)).toEqual(["mov eax,50Fh"]);
  });
});

describe("programs without the usual records", () => {
  /** Every system call is found; those that stay have one of the reasons. */
  const checkProgram = (path: string, original: string, ...reasons: string[]): PatchReport => {
    const bytes = bytesOf(path);
    const { bytes: patched, report } = patchSyscalls(bytes);
    checkFile(bytes, patched, report);
    checkStubs(bytes, patched, report);
    const expected = new Set(objdumpSites(original).syscall);
    expect(report.windows.every(({ kind, site }) => kind === "cpuid" || expected.has(site))).toBe(true);
    expect(report.skipped.filter(({ reason }) => !reasons.includes(reason))).toEqual([]);
    const native = patchSyscalls(bytes, { entry: { kind: "itself" } });
    const run = (program: string) => {
      const { status, stdout } = spawnSync(program, { encoding: "utf8" });
      return { status, stdout };
    };
    expect(run(writeProgram(join(folder.path, "unrecorded"), native.bytes))).toEqual(run(path));
    return report;
  };
  const stripped = (path: string): string => {
    execFileSync("strip", ["-o", `${path}-stripped`, path]);
    return `${path}-stripped`;
  };

  test("a static program of musl, with symbols and without", () => {
    // Not threads.c: with the call itself in the stub, musl does not know where a signal meets it.
    const path = compileWith(folder.path, "musl-gcc", "files.c", "-static");
    const report = checkProgram(path, path, "signal-return");
    expect(report.counts.syscall.sites).toBe(objdumpSites(path).syscall.length);
    // Functions that nothing calls are not found: nobody misses them.
    const again = checkProgram(stripped(path), path, "signal-return", "not-reached");
    expect(again.counts.syscall.patched).toBeGreaterThan(0.9 * report.counts.syscall.patched);
  });

  test("a static program of the C library without symbols", () => {
    const path = compile(folder.path, "threads.c", "-static");
    const report = checkProgram(stripped(path), path);
    expect(report.counts).toEqual(patchSyscalls(bytesOf(path)).report.counts);
    expect(report.counts.cpuid.patched).toBeGreaterThan(20);
  });

  test("the C library of musl", () => {
    const path = "/lib/ld-musl-x86_64.so.1";
    const { report } = patchSyscalls(bytesOf(path));
    const expected = new Set(objdumpSites(path).syscall);
    expect(report.windows.filter(({ site }) => !expected.has(site))).toEqual([]);
    expect(report.counts.syscall.patched).toBeGreaterThan(0.97 * expected.size);
  });

  describe("Go", () => {
    let path = "";
    // Go compiles its own library when it is first used.
    beforeAll(() => {
      path = compileGo(folder.path, "threads.go");
    }, 600_000);

    test.each(["with symbols", "without"])("a program %s", (how) => {
      const program = how === "without" ? stripped(path) : path;
      const report = checkProgram(program, path, "signal-return");
      expect(report.counts.syscall.sites).toBe(objdumpSites(path).syscall.length);
      expect(report.counts.syscall.left).toEqual({ "signal-return": 1 });
      expect(report.counts.cpuid.patched).toBeGreaterThan(2);
    });
  });
});

describe("other files", () => {
  test("a program that carries data behind its end keeps its length and traps", () => {
    const program = bytesOf(compile(folder.path, "threads.c", "-static"));
    const bytes = new Uint8Array([...program, ...new TextEncoder().encode("payload")]);
    const result = patchSyscalls(bytes);
    expect(result.bytes).toBe(bytes);
    const { sites, patched, left } = result.report.counts.syscall;
    expect({ patched, left }).toEqual({ patched: 0, left: { "trailing-data": sites } });
    expect(sites).toBeGreaterThan(50);
  });

  test("a static program of the C library is patched and runs", () => {
    const path = compile(folder.path, "threads.c", "-static");
    const { bytes, report } = patchSyscalls(bytesOf(path), { entry: { kind: "itself" } });
    expect(report.skipped).toEqual([]);
    checkSites(path, report);
    const program = writeProgram(join(folder.path, "static"), bytes);
    expect(spawnSync(program, { encoding: "utf8" })).toMatchObject(
      (({ status, stdout }) => ({ status, stdout }))(spawnSync(path, { encoding: "utf8" })),
    );
  });

  test("a program without any syscall comes back as it is", () => {
    const bytes = bytesOf(execFileSync("which", ["true"], { encoding: "utf8" }).trim());
    const result = patchSyscalls(bytes);
    expect(result.bytes).toBe(bytes);
    const none = { sites: 0, patched: 0, left: {} };
    expect(result.report).toEqual({ counts: { syscall: none, cpuid: none }, skipped: [], windows: [] });
  });

  test("without a program header to spare the table moves, and the program still runs", () => {
    const flags = ["-nostdlib", "-static", "-Wl,--build-id=none", "-Wa,-mx86-used-note=no"];
    const original = bytesOf(compile(folder.path, "cases.s", ...flags));
    expect(parseElf(original).segments.some((each) => each.type === SegmentType.note)).toBe(false);
    const { bytes, report } = patchSyscalls(original, { entry: { kind: "itself" } });
    expect(report.windows).toHaveLength(9);
    expect(parseElf(bytes).segments).toHaveLength(parseElf(original).segments.length + 1);
    expect(spawnSync(writeProgram(join(folder.path, "moved"), bytes)).status).toBe(0);
  });

  test("a damaged file raises ElfError or is patched, and nothing else", () => {
    const original = bytesOf(compile(folder.path, "cases.s", "-nostdlib", "-static", "-Wl,--build-id"));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.boolean()), { minLength: 1, maxLength: 5 }),
        (flips) => {
          const copy = original.slice();
          for (const [at, value, head] of flips) copy[at % (head ? 0x300 : copy.length)] = value;
          try {
            patchSyscalls(copy);
          } catch (error) {
            if (!(error instanceof ElfError)) throw error;
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
