/** A stand-in for the archive of the library OS: the smallest that the linker takes for one. */

import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";

const SOURCE = `
    .section .spore.header,"ax",@progbits
    .ascii "SPOREKRN"
    .quad spore_boot
    .section .text.boot,"ax",@progbits
    .globl spore_boot, spore.missing, spore.call.1.write, spore.call.39.getpid
spore_boot:
    lea spore_calls_start(%rip), %rax
spore.missing:
    ret
    .section .text.write,"ax",@progbits
spore.call.1.write:
    ret
    .section .text.getpid,"ax",@progbits
spore.call.39.getpid:
    ret
    .section .rodata.catalogue,"a",@progbits
    .globl spore.catalogue
    .type spore.catalogue, @object
    .size spore.catalogue, 0
spore.catalogue:
    .bss
    .skip 0x3000
`;

/** Writes it: a few bytes of code, 12 KiB of zeros in memory. */
export function writeTestKernel(path: string): void {
  writeFileSync(`${path}.s`, SOURCE);
  execFileSync("cc", ["-c", "-o", `${path}.o`, `${path}.s`]);
  rmSync(path, { force: true });
  execFileSync("ar", ["rcsD", path, `${path}.o`]);
}
