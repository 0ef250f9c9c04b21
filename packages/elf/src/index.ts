/**
 * Reads ELF files for x86-64 Linux. Nothing here trusts the file: whatever is
 * wrong with it comes out as an {@link ElfError} with a stable `reason`.
 */

export { type Archive, type ArchiveMember, parseArchive } from "./archive.ts";
export { type DynamicInfo, readDynamic } from "./dynamic.ts";
export { ElfError, type ElfErrorReason } from "./error.ts";
export { readLandingPads } from "./exceptions.ts";
export {
  type ElfFile,
  type ElfHeader,
  FileType,
  fileOffset,
  interpreter,
  parseElf,
  type Segment,
  SegmentFlag,
  SegmentType,
  segmentOfType,
} from "./file.ts";
export { type FrameCommon, type FrameRecord, frameFinder, readFrames } from "./frames.ts";
export { type GoFunction, readGoFunctions } from "./go.ts";
export { buildId } from "./notes.ts";
export {
  RelocatableObject,
  type Relocations,
  type SectionGroup,
  type Sections,
  SymbolSection,
  type Symbols,
} from "./object.ts";
export { type Relocation, readRelocations } from "./relocations.ts";
export { readSections, type Section, SectionFlag, SectionType } from "./sections.ts";
export {
  type ElfSymbol,
  readDynamicSymbols,
  readSymbols,
  SymbolBinding,
  type SymbolHit,
  SymbolTable,
  SymbolType,
} from "./symbols.ts";
export { View } from "./view.ts";
