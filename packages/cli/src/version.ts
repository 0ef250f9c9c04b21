/** The version of this Spore. */

import { readFileSync } from "node:fs";

/** As package.json states it. */
export function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
