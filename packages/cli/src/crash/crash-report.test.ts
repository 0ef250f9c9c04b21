import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseElf, readSymbols } from "@spore/elf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { formatCall } from "./calls.ts";
import { parseCrash } from "./crash.ts";
import { kernelReport } from "./kernel-report.ts";
import { crashReport } from "./report.ts";
import { Symbolizer } from "./symbols.ts";

const source = `
static volatile int *nothing;
__attribute__((noinline)) int inner(void) { return *nothing; }
__attribute__((noinline)) int outer(void) { return inner() + 1; }
int main(void) { return outer(); }
`;
const base = 0x555555400000n;

let directory: string;
let layer: { path: string; offset: number; length: number };
let addressOf: (name: string) => bigint;
let module: { start: string; end: string; fileOffset: number; path: string };

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "crash-"));
  const program = join(directory, "root/usr/bin/crasher");
  execFileSync("mkdir", ["-p", join(directory, "root/usr/bin")]);
  writeFileSync(join(directory, "crasher.c"), source);
  execFileSync("gcc", ["-O1", "-fno-omit-frame-pointer", "-o", program, join(directory, "crasher.c")]);
  execFileSync("ln", ["-s", "usr/bin", join(directory, "root/bin")]);
  const image = join(directory, "layer.erofs");
  execFileSync("mkfs.erofs", ["--quiet", image, join(directory, "root")]);
  layer = { path: image, offset: 0, length: statSync(image).size };

  const elf = parseElf(readFileSync(program));
  const text = elf.loads.find(({ flags }) => (flags & 1) !== 0);
  if (text === undefined) throw new Error("the program has no code");
  const start = base + BigInt(text.vaddr);
  module = {
    start: `0x${start.toString(16)}`,
    end: `0x${(start + BigInt(text.memorySize)).toString(16)}`,
    fileOffset: text.offset,
    path: "/usr/bin/crasher",
  };
  addressOf = (name) => base + BigInt(readSymbols(elf)?.find(name)?.address ?? 0);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function crash(changes: Record<string, unknown> = {}) {
  const inside = (name: string, offset: bigint) => `0x${(addressOf(name) + offset).toString(16)}`;
  return {
    signal: 11,
    code: 1,
    address: "0x0",
    rip: inside("inner", 4n),
    registers: { rsp: "0x7efe00000000" },
    tid: 2,
    calls: [
      {
        number: 257,
        args: ["0xffffff9c", "0x7efe00001000", "0x80000", "0x0", "0x0", "0x0"],
        result: -2,
        tid: 2,
        unfinished: false,
      },
      {
        number: 202,
        args: ["0x7efe00001000", "0x80", "0x1", "0x0", "0x0", "0x0"],
        result: 0,
        tid: 3,
        unfinished: true,
      },
    ],
    modules: [module],
    stack: [inside("outer", 9n), inside("main", 9n), "0x10"],
    layers: [layer],
    program: "/usr/bin/crasher",
    ...changes,
  };
}

describe("a report", () => {
  test("names signal, address, symbol, module, callers and the last system calls, and ends with the error line", () => {
    const lines = crashReport(parseCrash(JSON.stringify(crash())));
    expect(lines[0]).toBe(
      "spore: /usr/bin/crasher was ended by SIGSEGV (invalid memory access) at address 0x0: nothing is mapped there",
    );
    expect(lines[1]).toMatch(/^ {2}at {3}0x[0-9a-f]+ {2}inner\+0x4 in \/usr\/bin\/crasher\+0x[0-9a-f]+$/);
    expect(lines[2]).toMatch(/^ {2}from 0x[0-9a-f]+ {2}outer\+0x9 in /);
    expect(lines[3]).toMatch(/^ {2}from 0x[0-9a-f]+ {2}main\+0x9 in /);
    expect(lines[4]).toMatch(/^ {2}from 0x10 {2}\(outside of all files/);
    expect(lines.slice(5, 8)).toEqual([
      "  the last system calls, newest last (the crash was in thread 2):",
      "    [2] openat(-100, 0x7efe00001000, 0x80000, 0) = -1 ENOENT",
      "    [3] futex(0x7efe00001000, 128, 1, 0, 0, 0) = ?",
    ]);
    expect(lines.at(-1)).toBe(
      "error[SPORE_GUEST_CRASH]: /usr/bin/crasher crashed: SIGSEGV (invalid memory access) at address 0x0: nothing is mapped there, at inner+0x4 in /usr/bin/crasher — a null pointer was used; `--gdb PORT` lets gdb look",
    );
  });

  test("a symbolic link on the way to the module is followed", () => {
    const linked = { ...crash(), modules: [{ ...module, path: "/bin/crasher" }] };
    expect(crashReport(parseCrash(JSON.stringify(linked)))[1]).toContain("inner+0x4 in /bin/crasher");
  });

  test("without symbols it still says file and offset", () => {
    for (const layers of [[], [{ ...layer, path: "/nowhere" }], [{ ...layer, length: 100 }]]) {
      const text = crashReport(parseCrash(JSON.stringify(crash({ layers })))).join("\n");
      expect(text).toMatch(/at {3}0x[0-9a-f]+ {2}in \/usr\/bin\/crasher\+0x/);
      expect(text).toContain("error[SPORE_GUEST_CRASH]");
    }
  });

  test("names that the guest made up cannot reach the terminal", () => {
    const evil = {
      ...crash(),
      modules: [{ ...module, path: "/x\u001b]0;owned\u0007\n" }],
      program: "/p\u001b[31m",
    };
    for (const line of crashReport(parseCrash(JSON.stringify(evil)))) expect(line).not.toMatch(/\p{Cc}/u);
  });

  test.each([
    [{ address: "0x7efdfffffff8" }, "exhausted by a recursion"],
    [{ signal: 6, code: -6 }, "gave up by itself"],
    [{ signal: 4, code: 2 }, "does not offer"],
    [{ address: "0x123456789" }, "the lines above say where"],
  ])("hint for %j", (changes, hint) => {
    expect(crashReport(parseCrash(JSON.stringify(crash(changes)))).at(-1)).toContain(hint);
  });
});

test("a return address at the end of a function belongs to the call before it", () => {
  const symbolizer = new Symbolizer(
    [
      {
        start: BigInt(module.start),
        end: BigInt(module.end),
        fileOffset: module.fileOffset,
        path: module.path,
      },
    ],
    [layer],
  );
  expect(symbolizer.place(addressOf("outer"), "exact")?.symbol).toBe("outer+0x0");
  expect(symbolizer.place(addressOf("outer"), "return")?.symbol).not.toMatch(/^outer/);
});

test.each([
  [
    { number: 0, args: [3n, 0x7f0000000000n, 4096n, 0n, 0n, 0n], result: 10 },
    "read(3, 0x7f0000000000, 4096) = 10",
  ],
  [
    { number: 9, args: [0n, 8192n, 3n, 34n, 2n ** 64n - 1n, 0n], result: 0x7f0000000000 },
    "mmap(0, 8192, 3, 34, -1, 0) = 0x7f0000000000",
  ],
  [{ number: 39, args: [1n, 2n], result: 2 }, "getpid() = 2"],
  [{ number: 9999, args: [1n], result: -38 }, "syscall_9999(1) = -1 ENOSYS"],
])("a system call reads as strace prints it: %#", (call, text) => {
  expect(formatCall({ ...call, tid: 1, unfinished: false })).toBe(text);
});

test("an address in the library OS is named by the symbols beside it, and without them by its place", () => {
  const kernel = { path: "/nowhere/1.kernel", start: 0x7f8000200000n, end: 0x7f8000600000n };
  const lines = crashReport({ ...parseCrash(JSON.stringify(crash())), rip: 0x7f8000201003n, kernel });
  expect(lines[1]).toBe("  at   0x7f8000201003  in the library OS+0x1003");
});

test("a stop of the library OS: the functions on its stack, by the symbols that were kept beside it", () => {
  const folder = mkdtempSync(join(tmpdir(), "spore-crash-"));
  // A call at 0x1000 of the text, then what it returns to.
  const source = ".globl outer\nouter: call inner\nnop\n.globl inner\ninner: ud2\n";
  execFileSync("as", ["-o", join(folder, "k.o")], { input: source });
  execFileSync("ld", [
    "-Ttext=0x7f8000201000",
    "-e",
    "outer",
    "-o",
    join(folder, "k.elf"),
    join(folder, "k.o"),
  ]);
  const kernel = { path: join(folder, "k.kernel"), start: 0x7f8000200000n, end: 0x7f8000600000n };
  const stop = {
    problem: "bad: 0x7f8000201006 0xd",
    rip: 0x7f8000201007n,
    stack: [0x7f8000201006n, 0x7f8000201005n],
  };
  expect(kernelReport({ ...stop, kernel })).toEqual([
    "spore: the library OS stopped; functions on its stack, some of them maybe left from before:",
    "  at   0x7f8000201006  inner+0x0",
    "  in   0x7f8000201007  inner+0x1",
    // The other word stands behind no call.
    "  from 0x7f8000201005  outer+0x5",
  ]);
  rmSync(folder, { recursive: true });
});

test("the command reads standard input, writes standard error and succeeds", () => {
  const main = join(import.meta.dirname, "../main.ts");
  const run = (input: string) =>
    spawnSync(process.execPath, [main, "crash-report"], { input, encoding: "utf8" });
  expect(run(JSON.stringify(crash()))).toMatchObject({
    status: 0,
    stdout: "",
    stderr: expect.stringMatching(/error\[SPORE_GUEST_CRASH\][^\n]*\n$/),
  });
  expect(run("{}").status).not.toBe(0);
});
