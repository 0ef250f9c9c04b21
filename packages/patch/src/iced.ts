/** The disassembler, loaded when first used: that takes far longer than a run that patches nothing. */
import { createRequire } from "node:module";

type Iced = typeof import("iced-x86");

let loaded: Iced | undefined;

/** The iced-x86 package. */
export function iced(): Iced {
  loaded ??= createRequire(import.meta.url)("iced-x86") as Iced;
  return loaded;
}
