// Programs in C and Rust: what they print in a machine is what they print on Linux.
import { once } from "node:events";
import net from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { run } from "../support/process.ts";
import { compile, folder } from "../support/programs.ts";
import { runTarget, serve, spore } from "../support/spore.ts";

const output = folder();

const toolchains: readonly (readonly [name: string, command: string, ...flags: string[]])[] = [
  ["dynamic glibc, position-independent", "gcc", "-pthread"],
  ["dynamic glibc at a fixed address", "gcc", "-no-pie", "-pthread"],
  ["static glibc", "gcc", "-static", "-pthread"],
  ["static glibc, position-independent", "gcc", "-static-pie", "-pthread"],
  ["static musl", "musl-gcc", "-static", "-pthread"],
  ["static musl without symbols", "musl-gcc", "-static", "-s", "-pthread"],
  ["dynamic musl", "musl-gcc", "-pthread"],
];

describe.each(toolchains)("C, %s", (_, command, ...flags) => {
  const build = (source: string): string => compile(output, source, command, "-O1", "-w", ...flags);

  test("hello: arguments, directory and exit status", async () => {
    const program = build("hello.c");
    const native = await run(program, ["with arguments", "3", "ü", ""], { cwd: "/" });
    expect(native).toEqual({ stdout: "hello [with arguments] [3] [ü] []\n", stderr: "", status: 3 });
    for (const flags of [[], ["--no-patch"]]) {
      const words = [...flags, program, "--", "with arguments", "3", "ü", ""];
      expect(await runTarget(words)).toEqual(native);
    }
  });

  test("50 threads", async () => {
    const program = build("threads.c");
    const native = await run(program, []);
    expect(native.stdout).toContain("counter 500000, lockless 500000, ");
    expect(await runTarget([program])).toEqual(native);
    expect(await runTarget(["--no-patch", program])).toEqual(native);
  });

  test("50 threads are cancelled while they wait", async () => {
    const program = build("cancel.c");
    const native = await run(program, []);
    expect(native.stdout).toBe("cancelled 50, cleaned 2525\n");
    expect(await runTarget([program])).toEqual(native);
    expect(await runTarget(["--no-patch", program])).toEqual(native);
  });

  test("faults reach the handler: signal, code, address, trap, alternate stack", async () => {
    const program = build("faults.c");
    const native = await run(program, []);
    expect(native.status).toBe(0);
    expect(await runTarget([program])).toEqual(native);
    expect(await runTarget(["--no-patch", program])).toEqual(native);
  });
});

describe("a fault that nobody catches", () => {
  const program = compile(output, "faults.c", "gcc", "-O1", "-w", "-g");

  test.each([
    ["null", "SIGSEGV", "touch", "at address 0x0"],
    ["guard", "SIGSEGV", "touch", "at address 0x"],
    ["read-only", "SIGSEGV", "touch", "at address 0x"],
    ["unmapped", "SIGSEGV", "touch", "at address 0x123456789000"],
    ["overflow", "SIGSEGV", "overflow", "the stack is probably exhausted"],
    ["divide", "SIGFPE", "fault", ""],
    ["illegal", "SIGILL", "fault", ""],
    ["abort", "SIGABRT", "libc.so.6", ""],
  ])("%s: status of %s, place, reason and the last system calls", async (fault, signal, place, reason) => {
    const native = await run(program, [fault]);
    const { stdout, stderr, status } = await runTarget([program, "--", fault]);
    expect({ stdout, status }).toEqual({ stdout: native.stdout, status: native.status });
    const last = stderr.trimEnd().split("\n").at(-1) ?? "";
    expect(last).toMatch(/^error\[SPORE_GUEST_CRASH\]: /);
    for (const part of [signal, place, reason]) expect(last).toContain(part);
    expect(stderr).toMatch(/munmap\(0x[0-9a-f]+, \d+\) = 0\n/);
    expect(stderr).not.toMatch(/panicked|RUST_BACKTRACE|rax|kvm_regs/);
  });
});

test("Rust: a TCP server of the standard library with threads, channels and a panic", async () => {
  const program = compile(output, "server.rs", "rustc", "-O");
  const talk = async (port: number): Promise<unknown[]> => {
    const conversations = Array.from({ length: 8 }, async (_, number) => {
      const socket = net.connect(port, "127.0.0.1");
      await once(socket, "connect");
      socket.end(`line of ${number}\nshared\n`.repeat(1000));
      return await text(socket);
    });
    return await Promise.all(conversations);
  };
  await using server = await serve(7000, [program]);
  const answers = await talk(server.port);
  expect(answers).toEqual(
    Array.from({ length: 8 }, (_, number) => `LINE OF ${number}\nSHARED\n`.repeat(1000)),
  );
  const { stderr, status } = await server.ended;
  const lines = Array.from({ length: 8 }, (_, number) => `"line of ${number}": 1000`).join(", ");
  expect(stderr).toContain(`[0, 1, 2, 3, 4, 5, 6, 7] {${lines}, "shared": 8000} 136000\n`);
  expect(stderr).toMatch(/panicked at .*server\.rs:\d+:\d+:\non purpose/);
  expect(stderr).toContain("panicked: true\n");
  expect(status).toBe(3);
});

test("a system call that is not there is named once, with its caller, and answers ENOSYS", async () => {
  const program = compile(output, "unknown-call.c", "gcc", "-O1");
  const { stdout, stderr, status } = await spore(["run", program]);
  expect({ stdout, status }).toEqual({ stdout: "-1 38\n-1 38\n-1 38\n", status: 0 });
  expect(stderr.match(/system call 462/g)).toHaveLength(1);
  expect(stderr).toContain("unknown-call");
});
