/** The formats of `spore image export`. */

import { Mistake } from "../command.ts";

/** What is written. */
export type ExportFormat = "elf" | "raw";

/** Reads one. */
export function readExportFormat(text: string): ExportFormat {
  if (text !== "elf" && text !== "raw") throw new Mistake("expected elf or raw");
  return text;
}
