/** Reads everything that an ELF file can be asked for. */
import {
  buildId,
  ElfError,
  interpreter,
  parseElf,
  readDynamic,
  readDynamicSymbols,
  readFrames,
  readGoFunctions,
  readLandingPads,
  readSections,
  readSymbols,
} from "../src/index.ts";

/** The reason for which it was refused, the first one; undefined if everything could be read. Other errors are thrown. */
export function readAll(bytes: Uint8Array): string | undefined {
  const attempt = <T>(read: () => T): T | ElfError => {
    try {
      return read();
    } catch (error) {
      if (error instanceof ElfError) return error;
      throw error;
    }
  };
  const elf = attempt(() => parseElf(bytes));
  if (elf instanceof ElfError) return elf.reason;
  const results = [
    attempt(() => interpreter(elf)),
    attempt(() => readDynamic(elf)),
    attempt(() => readSections(elf)),
    attempt(() => buildId(elf)),
    attempt(() => readFrames(elf).map((record) => attempt(() => readLandingPads(elf, record)))),
    attempt(() => readGoFunctions(elf)),
    attempt(() => [...(readSymbols(elf) ?? [])]),
    attempt(() => [...(readDynamicSymbols(elf) ?? [])]),
  ];
  return results.find((result) => result instanceof ElfError)?.reason;
}
