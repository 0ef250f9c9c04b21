/** The process of esbuild, started while what else a build needs is still loaded. */

import { transform } from "esbuild";

/**
 * It bundles once and ends, so that collecting garbage is a third of its work for nothing: it starts
 * at this size only. Variables that somebody has set stay.
 */
const VARIABLES = { GOGC: "off", GOMEMLIMIT: "2GiB" } as const;

/** Starts esbuild ahead of its first question. */
export function startBundler(): void {
  const set = Object.entries(VARIABLES).filter(([name]) => process.env[name] === undefined);
  for (const [name, value] of set) process.env[name] = value;
  try {
    // It is started before this returns; what goes wrong shows when it is asked for something.
    transform("").catch(() => undefined);
  } finally {
    // Nobody else's: a command that records an app may be a Go program.
    for (const [name] of set) delete process.env[name];
  }
}
