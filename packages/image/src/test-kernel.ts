/** A stand-in for the linked kernel: the smallest ELF file that the builder accepts as one. */

import { writeFileSync } from "node:fs";
import { KERNEL_VA } from "./memory-map.ts";

/** Writes it; 8 KiB of bytes, 20 KiB in memory. */
export function writeTestKernel(path: string): void {
  const bytes = Buffer.alloc(0x3000);
  bytes.write("\x7fELF\x02\x01\x01", 0, "latin1");
  bytes.writeUInt16LE(2, 16);
  bytes.writeUInt16LE(62, 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(BigInt(KERNEL_VA), 24);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(64, 52);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(1, 64);
  bytes.writeUInt32LE(5, 68);
  const fields = [0x1000, KERNEL_VA, KERNEL_VA, 0x2000, 0x5000, 0x1000];
  for (const [index, value] of fields.entries()) bytes.writeBigUInt64LE(BigInt(value), 72 + 8 * index);
  bytes.write("SPOREKRN", 0x1000, "latin1");
  writeFileSync(path, bytes);
}
