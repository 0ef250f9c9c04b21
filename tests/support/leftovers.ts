/** A place of its own for runs whose traces are looked for afterwards. */

import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { StartOptions } from "./process.ts";

/** Temporary files, store and processes of the runs that get `options`. */
export interface Place {
  readonly options: StartOptions;
  /** Processes that run and temporary files that exist: nothing, if all is well. */
  leftovers(): readonly string[];
}

/** Makes one in an empty folder. */
export function openPlace(folder: string): Place {
  const temporary = join(folder, "tmp");
  const store = join(folder, "store");
  mkdirSync(temporary, { recursive: true });
  const mark = `SPORE_TEST_PLACE=${randomUUID()}`;
  const env = { TMPDIR: temporary, SPORE_HOME: store, SPORE_TEST_PLACE: mark.split("=")[1] };
  return {
    options: { env },
    leftovers: () => [...filesOf(temporary), ...filesOf(join(store, "tmp")), ...processesWith(mark)],
  };
}

function filesOf(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
}

/** Command lines of processes that were started with this variable. */
function processesWith(variable: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, "utf8").includes(variable)) return [];
        return [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")];
      } catch {
        // Gone meanwhile, or another user's.
        return [];
      }
    });
}
