import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { ElfError, parseElf, readSymbols, SegmentFlag, SegmentType } from "@spore/elf";
import fc from "fast-check";
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from "iced-x86";
import { afterAll, describe, expect, test } from "vitest";
import {
  bytesOf,
  compile,
  objdumpInstructions,
  objdumpSyscalls,
  systemLibraries,
  temporaryFolder,
  writeProgram,
} from "../test/programs.ts";
import { FAST_ENTRY_ADDRESS, type PatchReport, patchSyscalls } from "./index.ts";

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
  const ends = [...windows.map((each) => each.stub), stubs.vaddr + stubs.size].sort((a, b) => a - b);
  expect(disassemble(patched, stubs.vaddr, stubs.vaddr + 13)).toEqual([
    withTarget("mov r11,", FAST_ENTRY_ADDRESS),
    "jmp r11",
  ]);
  for (const { site, start, end, stub } of windows) {
    const [jump, ...padding] = disassemble(patched, start, end);
    expect(jump).toBe(withTarget("jmp ", stub));
    expect(padding).toEqual(padding.map(() => "nop"));
    const before = site > start ? disassemble(original, start, site) : [];
    const after = end > site + 2 ? disassemble(original, site + 2, end) : [];
    const stubEnd = ends.find((each) => each > stub) ?? 0;
    const code = disassemble(patched, stub, stubEnd);
    while (code.at(-1) === "int3") code.pop();
    const call = code.slice(before.length, before.length + 2);
    expect(code.slice(0, before.length)).toEqual(before);
    expect(call[1]).toBe(withTarget("jmp ", stubs.vaddr));
    const rest = code.slice(before.length + 2);
    if (after.length === 0) {
      expect([call[0], rest]).toEqual([withTarget("lea rcx,[", end).concat("]"), []]);
    } else {
      const back = after.at(-1) === "ret" ? [] : [withTarget("jmp ", end)];
      expect(rest).toEqual([...after, ...back]);
      expect(call[0]).toMatch(/^lea rcx,\[[0-9A-F]+h\]$/);
      const resume = Number.parseInt(/\[([0-9A-F]+)h/.exec(call[0] ?? "")?.[1] ?? "", 16);
      expect(disassemble(patched, resume, stubEnd).filter((line) => line !== "int3")).toEqual(rest);
    }
  }
}

/** Checks that only windows and program headers changed, and that the new segment is sound. */
function checkFile(original: Uint8Array, patched: Uint8Array, report: PatchReport): void {
  const elf = parseElf(patched);
  const stubs = elf.loads.at(-1);
  expect(stubs?.flags).toBe(SegmentFlag.read | SegmentFlag.execute);
  expect(stubs).toMatchObject({
    vaddr: report.stubs?.vaddr,
    offset: report.stubs?.offset,
    fileSize: report.stubs?.size,
  });
  expect((stubs?.vaddr ?? 1) % 4096).toBe(0);
  expect((stubs?.offset ?? 1) % 4096).toBe(0);
  const others = (file: Uint8Array) =>
    parseElf(file).segments.filter(({ type }) => type !== SegmentType.load && type !== SegmentType.note);
  expect(others(patched)).toEqual(others(original));
  const restored = patched.slice(0, original.length);
  const header = parseElf(original).header;
  const table = header.programHeaderOffset;
  restored.set(original.subarray(table, table + header.programHeaderCount * 56), table);
  for (const { start, end } of report.windows) {
    const load = elf.loads.find((each) => start >= each.vaddr && start < each.vaddr + each.fileSize);
    const offset = (load?.offset ?? 0) + start - (load?.vaddr ?? 0);
    restored.set(original.subarray(offset, offset + end - start), offset);
  }
  expect(Buffer.compare(restored, original)).toBe(0);
}

const { libc, loader } = systemLibraries();

describe.each([
  ["the C library", libc],
  ["the loader", loader],
])("%s of this system", (_name, path) => {
  const original = bytesOf(path);
  const { bytes: patched, report } = patchSyscalls(original);

  test("every syscall that objdump finds is patched", () => {
    const expected = objdumpSyscalls(path);
    expect(expected.length).toBeGreaterThan(40);
    expect(report.skipped).toEqual([]);
    expect(report.windows.map((each) => each.site).sort((a, b) => a - b)).toEqual(expected);
    expect(report).toMatchObject({ sites: expected.length, patched: expected.length });
    expect(objdumpSyscalls(writeProgram(join(folder.path, "patched"), patched))).toEqual([]);
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
    expect(elsewhere.length / report.sites).toBeLessThan(0.1);
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
    const native = patchSyscalls(original, { entry: { kind: "syscall" } });
    expect(native.report.windows.length).toBe(report.windows.length);
    const program = writeProgram(join(folder.path, "cases"), native.bytes);
    expect(spawnSync(program).status).toBe(0);
  });

  test("what cannot be patched is named, with the reason", () => {
    expect(report.skipped).toEqual([
      { address: address("at_cornered"), reason: "branch-target" },
      { address: address("at_between_calls"), reason: "not-relocatable" },
    ]);
    expect(report.sites).toBe(9);
    expect(report.patched).toBe(7);
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

describe("other files", () => {
  test("a static program of the C library is patched and runs", () => {
    const path = compile(folder.path, "threads.c", "-static");
    const { bytes, report } = patchSyscalls(bytesOf(path), { entry: { kind: "syscall" } });
    expect(report.skipped).toEqual([]);
    expect(report.sites).toBe(objdumpSyscalls(path).length);
    const program = writeProgram(join(folder.path, "static"), bytes);
    expect(spawnSync(program, { encoding: "utf8" })).toMatchObject(
      (({ status, stdout }) => ({ status, stdout }))(spawnSync(path, { encoding: "utf8" })),
    );
  });

  test("a program without any syscall comes back as it is", () => {
    const bytes = bytesOf(execFileSync("which", ["true"], { encoding: "utf8" }).trim());
    const result = patchSyscalls(bytes);
    expect(result.bytes).toBe(bytes);
    expect(result.report).toEqual({ sites: 0, patched: 0, skipped: [], windows: [] });
  });

  test("without a program header to spare the table moves, and the program still runs", () => {
    const flags = ["-nostdlib", "-static", "-Wl,--build-id=none", "-Wa,-mx86-used-note=no"];
    const original = bytesOf(compile(folder.path, "cases.s", ...flags));
    expect(parseElf(original).segments.some((each) => each.type === SegmentType.note)).toBe(false);
    const { bytes, report } = patchSyscalls(original, { entry: { kind: "syscall" } });
    expect(report.patched).toBe(7);
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
