/** The host's time zones, for programs that read them themselves. */

import { statSync } from "node:fs";
import { basename, join } from "node:path";
import type { Inputs } from "./build-record.ts";
import type { GuestTree } from "./guest-tree.ts";
import { readable } from "./host-file.ts";
import { readBinary } from "./program-file.ts";
import type { Decision } from "./types.ts";

const ZONES = "/usr/share/zoneinfo";
/** The same zones once more, with leap seconds and under a second name: nobody asks for those. */
const DOUBLES = new Set([join(ZONES, "right"), join(ZONES, "posix")]);
/** A C library names the folder in every program; it does with UTC what it is asked to. */
const C_LIBRARY = /^(libc\.so\.|libc-2|libc\.musl-|ld-)/;

/**
 * Adds the time zones if something in the tree names their folder in its own
 * bytes. Debian's PHP, for one, has no zones of its own and does not start without.
 */
export function addTimeZones(tree: GuestTree, inputs: Inputs, decisions: Decision[]): void {
  inputs.add(ZONES);
  if (!statSync(ZONES, { throwIfNoEntry: false })?.isDirectory() || tree.find(ZONES)) return;
  const asking = tree
    .objects()
    .find(({ path, host }) => !C_LIBRARY.test(basename(path)) && readBinary(host).includes(ZONES));
  if (!asking) return;
  readable(ZONES, () =>
    tree.graft(
      ZONES,
      ZONES,
      (path) => inputs.add(path),
      (path) => DOUBLES.has(path),
    ),
  );
  decisions.push({ topic: "time zones", what: ZONES, why: `${asking.path} names the folder` });
}
