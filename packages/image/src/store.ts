/** Where layers, images and build records live on this host. */

import { homedir } from "node:os";
import { join } from "node:path";

/** $SPORE_HOME, else the user's cache directory for Spore. */
export function defaultStore(env: Readonly<Record<string, string | undefined>> = process.env): string {
  if (env["SPORE_HOME"]) return env["SPORE_HOME"];
  const cache = env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache");
  return join(cache, "spore");
}
