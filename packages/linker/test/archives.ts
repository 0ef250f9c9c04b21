/** Small real archives for the tests: assembled and compiled once per test run, removed at its end. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Entry, tables and catalogue of a kernel that is a Linux program: it exits with what call 7 says. */
const ENTRY = `
    .section .spore.header,"ax",@progbits
    .ascii "SPOREKRN"
    .section .spore.entry,"ax",@progbits
    .globl spore_boot
spore_boot:
    mov spore_services_start@GOTPCREL(%rip), %rbx
    mov spore_services_end@GOTPCREL(%rip), %rbp
1:  cmp %rbp, %rbx
    jae 2f
    call *(%rbx)
    add $8, %rbx
    jmp 1b
2:  lea spore_left_out_start(%rip), %rax
    lea spore_calls_start(%rip), %rax
    call *56(%rax)
    mov %eax, %edi
    mov $231, %eax
    syscall
    .section .text.spore_missing,"ax",@progbits
    .globl spore.missing
spore.missing:
    mov $38, %eax
    ret
    .section .rodata.catalogue,"a",@progbits
    .globl spore.catalogue
    .type spore.catalogue, @object
    .size spore.catalogue, 2f - spore.catalogue
spore.catalogue:
    .ascii "@TEXT@"
2:
`;

const CATALOGUE = "ground needs for\\ntower needs ground for seventh eighth\\nmoat needs for\\n";

const CALLS = `
extern int deep(int);
extern int table(int) __attribute__((weak));
extern int height;
static int counter;
static int (*const step)(int) = deep;
int seventh(void) __asm__("spore.call.7.seventh");
int eighth(void) __asm__("spore.call.8.eighth");
void ground(void) __asm__("spore.service.ground");
void tower(void) __asm__("spore.service.tower");
void moat(void) __asm__("spore.service.moat");
int seventh(void) { return deep(40) + height + (table ? 100 : 0); }
int eighth(void) { volatile int (*unused)(int) = (void *)step; return counter += (int)(long)unused; }
void ground(void) { height = 1; }
void tower(void) { height += 1; }
void moat(void) { height = 1000; }
`;

const DEEP = `
int height = 500;
int zeros[1000];
const int constants[] = {1, 2, 3};
__attribute__((noinline)) int deeper(int x) { return x + constants[x & 1]; }
int deep(int x) { return deeper(x) - 1; }
int never(int x) { return zeros[x] + deep(x); }
`;

/** The archive and the means to make others. */
export interface Archives {
  readonly folder: string;
  /** A kernel archive as CALLS and DEEP describe it; more members, or another catalogue, if given. */
  make(name: string, more?: Readonly<Record<string, string>>, catalogue?: string): string;
  read(path: string): Uint8Array;
  remove(): void;
}

/** Opens a folder for archives. */
export function openArchives(): Archives {
  const folder = mkdtempSync(join(tmpdir(), "spore-linker-"));
  const assemble = (file: string, source: string): string => {
    const kind = source.includes(".section") ? "s" : "c";
    writeFileSync(join(folder, `${file}.${kind}`), source);
    const object = join(folder, `${file}.o`);
    const flags = [
      "-O1",
      "-fPIC",
      "-ffunction-sections",
      "-fdata-sections",
      "-fno-asynchronous-unwind-tables",
    ];
    execFileSync("cc", [
      ...flags,
      "-fno-stack-protector",
      "-c",
      "-o",
      object,
      join(folder, `${file}.${kind}`),
    ]);
    return object;
  };
  return {
    folder,
    make(name, more = {}, catalogue = CATALOGUE) {
      const sources = { entry: ENTRY.replace("@TEXT@", catalogue), calls: CALLS, deep: DEEP, ...more };
      const objects = Object.entries(sources).map(([file, source]) => assemble(`${name}-${file}`, source));
      const archive = join(folder, `${name}.a`);
      rmSync(archive, { force: true });
      execFileSync("ar", ["rcsD", archive, ...objects]);
      return archive;
    },
    read: (path) => new Uint8Array(readFileSync(path)),
    remove: () => rmSync(folder, { recursive: true }),
  };
}
