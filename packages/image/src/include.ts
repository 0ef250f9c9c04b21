/** `--include HOST[:GUEST]`. */

import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import type { Include } from "./types.ts";

/**
 * Reads one `HOST[:GUEST]`. Without a guest path the file appears at its own
 * host path. `base` is the directory that a relative host path starts from.
 */
export function parseInclude(text: string, base: string = process.cwd()): Include {
  const colon = text.lastIndexOf(":");
  if (colon === text.length - 1) {
    throw sporeError("SPORE_USAGE", {
      problem: `--include "${text}": the path in the guest is empty`,
      command: "run",
    });
  }
  const host = colon > 0 ? text.slice(0, colon) : text;
  const guest = colon > 0 ? text.slice(colon + 1) : resolve(base, host);
  return { host: resolve(base, host), guest: resolve("/", guest) };
}
