// What is derived from a program holds whatever the program does, and little else.

import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, objectsOf, stracedCalls, temporaryFolder } from "../test/programs.ts";
import { type AppObject, deriveNeeds } from "./derive.ts";
import type { Needs } from "./types.ts";

const folder = temporaryFolder();
afterAll(folder.remove);

const fixtures = join(import.meta.dirname, "../../../tests/fixtures/programs");

function derived(program: string): Needs {
  return deriveNeeds(objectsOf(program), []);
}

function names({ calls }: Needs): string[] {
  return calls.map(({ name }) => name);
}

function include(file: string): string {
  return `#include "${join(fixtures, file)}"\n`;
}

describe.each([
  ["dynamic glibc", "gcc", "-pthread"],
  ["static glibc", "gcc", "-static", "-pthread"],
  ["static glibc, position-independent", "gcc", "-static-pie", "-pthread"],
  ["dynamic glibc, stripped", "gcc", "-s", "-pthread"],
  ["static musl", "musl-gcc", "-static", "-pthread"],
])("%s", (_, ...command) => {
  test.each([
    ["hello", []],
    ["threads", []],
    ["faults", []],
  ])("%s: every call that strace sees is derived, and none is unknown", (name, args) => {
    const program = compile(folder.path, name, include(`${name}.c`), ...command);
    const needs = derived(program);
    expect(needs.everything).toEqual([]);
    expect(names(needs)).toEqual(expect.arrayContaining(stracedCalls(folder.path, program, ...args)));
  });

  test("a program that prints needs no sockets, and one with threads needs them alone", () => {
    const hello = derived(compile(folder.path, "hello", include("hello.c"), ...command));
    for (const name of [
      "socket",
      "connect",
      "epoll_wait",
      "clone",
      "timerfd_create",
      "inotify_init1",
      "fork",
    ]) {
      expect(names(hello)).not.toContain(name);
    }
    expect(hello.services.map(({ name }) => name).filter((name) => name.startsWith("socket/"))).toEqual([]);
    const threads = derived(compile(folder.path, "threads", include("threads.c"), ...command));
    expect(names(threads)).toContain("clone");
  });
});

const UNRECORDED = `
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((noinline)) static long ask(long number, long a) { return syscall(number, a, 0); }
__attribute__((noinline)) static long event(int a) { return syscall(SYS_eventfd2, a, 0); }
__attribute__((noinline)) static long watch(void) { return ask(SYS_inotify_init1, 0); }
int main(int argc, char **argv) { return event(argc) < 0 || watch() < 0; }
`;

test.each(["-O0", "-O1", "-O2"])(
  "%s: what calls in functions that no table records are derived, or everything is",
  (level) => {
    const flags = [level, "-s", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    const needs = derived(compile(folder.path, "unrecorded", UNRECORDED, "gcc", ...flags));
    if (needs.everything.length === 0)
      expect(names(needs)).toEqual(expect.arrayContaining(["eventfd2", "inotify_init1"]));
    else expect(needs.everything[0]).toMatchObject({ why: expect.stringContaining("is not in the code") });
  },
);

const INDIRECT = `
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/socket.h>
#include <unistd.h>
static long ask(long number) { return syscall(number, 0, 0, 0); }
int main(int argc, char **argv) {
  ask(SYS_getppid);
  syscall(argc > 7 ? SYS_sched_yield : SYS_getpgrp);
  socket(argc > 7 ? AF_UNIX : AF_NETLINK, SOCK_STREAM, 0);
#ifdef ANY
  syscall(atoi(argv[1]));
#endif
  return setuid(0);
}`;

describe.each([
  ["dynamic", "gcc"],
  ["dynamic, without a linkage table", "gcc", "-fno-plt"],
  ["static", "gcc", "-static"],
])("syscall(2), %s", (_, ...command) => {
  test("its numbers are found through functions and conditions, and the families of sockets", () => {
    const needs = derived(compile(folder.path, "indirect", INDIRECT, ...command));
    expect(needs.everything).toEqual([]);
    expect(names(needs)).toEqual(
      expect.arrayContaining(["getppid", "sched_yield", "getpgrp", "socket", "setuid"]),
    );
    const sockets = needs.services.map(({ name }) => name).filter((name) => name.startsWith("socket/"));
    expect(sockets).toEqual(["socket/netlink", "socket/unix"]);
  });

  test("a number that is not in the code means everything, and says where", () => {
    const program = compile(folder.path, "any", `#define ANY\n${INDIRECT}`, ...command);
    expect(derived(program).everything).toEqual([
      expect.objectContaining({ kind: "unknown", object: program, why: expect.stringContaining("main") }),
    ]);
  });
});

test("a program without a C library, records of its functions, or a return", () => {
  const source = `
.globl _start
_start: mov $1, %eax; mov $1, %edi; lea words(%rip), %rsi; mov $6, %edx; syscall
        mov $60, %eax; xor %edi, %edi; syscall
words:  .ascii "hello\\n"
`;
  const program = compile(folder.path, "lone", source, "gcc", "-nostdlib", "-static", "-xassembler");
  const needs = derived(program);
  expect(needs.everything).toEqual([]);
  expect(names(needs)).toEqual(["write", "exit"]);
});

test.each(["hello", "faults"])("%s of static musl shows without symbols what it shows with them", (name) => {
  const build = (...flags: string[]): Needs =>
    derived(compile(folder.path, name, include(`${name}.c`), "musl-gcc", "-static", ...flags));
  expect(names(build("-s"))).toEqual(names(build()));
  expect(build("-s").everything).toEqual([]);
});

describe("a static musl program", () => {
  const program = (name: string, source: string): Needs =>
    derived(compile(folder.path, name, source, "musl-gcc", "-static", "-pthread"));

  test("that prints is alone: no files, no threads, though its C library knows of them", () => {
    const needs = program("prints", '#include <stdio.h>\nint main(void) { puts("hello"); }');
    expect(names(needs)).toEqual(expect.arrayContaining(["writev", "exit_group"]));
    // The check of a set-user-ID start, the lock of a stream that nobody else has, what follows the end.
    for (const name of ["open", "poll", "futex", "exit"]) expect(names(needs)).not.toContain(name);
    expect(needs.services).toEqual([]);
  });

  const wait = "sem_t s; int main(int argc, char **argv) { sem_init(&s, 0, argc > 7);";
  test.each([
    [
      "that its signal handler wakes",
      `void up(int n) { sem_post(&s); } ${wait} signal(SIGALRM, up); alarm(1); return sem_wait(&s); }`,
    ],
    ["that waits for a time", `${wait} struct timespec t = { 1 }; return sem_timedwait(&s, &t) == 0; }`],
    [
      "that another thread wakes",
      `void *up(void *a) { sem_post(&s); } ${wait} pthread_t t; pthread_create(&t, 0, up, 0); return sem_wait(&s); }`,
    ],
  ])("%s keeps futex", (_, source) => {
    const headers =
      "#include <pthread.h>\n#include <semaphore.h>\n#include <signal.h>\n#include <unistd.h>\n#include <time.h>\n";
    const moved = source.includes("void up") || source.includes("void *up") ? "extern sem_t s;\n" : "";
    expect(names(program("waits", headers + moved + source))).toContain("futex");
  });

  test("that polls and opens /dev/null itself keeps both", () => {
    const source =
      '#include <poll.h>\n#include <fcntl.h>\nint main(int argc, char **argv) { struct pollfd p[3] = { { 0 } }; return poll(p, 3, 0) + open(argv[1], 2) + open("/dev/null", 2); }';
    expect(names(program("opens", source))).toEqual(expect.arrayContaining(["poll", "open"]));
  });
});

test("each need names the nearest symbol that leads to it, and the way", () => {
  const program = compile(
    folder.path,
    "asks",
    `#include <unistd.h>\n#include <stdio.h>\nint main(void) { FILE *f = fopen("/proc/cpuinfo", "r"); return getppid() + (f != 0); }`,
    "gcc",
  );
  const needs = derived(program);
  const by = (name: string): unknown => needs.calls.find((call) => call.name === name)?.by;
  expect(by("getppid")).toEqual([{ kind: "import", object: program, symbol: "getppid", through: [] }]);
  expect(by("openat")).toEqual(
    expect.arrayContaining([expect.objectContaining({ kind: "import", object: program, symbol: "fopen" })]),
  );
  expect(needs.services).toContainEqual({
    name: "file/proc/cpuinfo",
    by: [{ kind: "text", object: program, text: "/proc/cpuinfo" }],
  });
});

test("the same objects give the same needs, whatever their order", () => {
  const objects = objectsOf(compile(folder.path, "hello", include("hello.c"), "gcc"));
  const set = (list: readonly AppObject[]): string[] => names(deriveNeeds(list, []));
  expect(set([...objects].reverse())).toEqual(set(objects));
});
