/** The files of a project in its layers. */

import { lstatSync, readlinkSync, statSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { guestPath } from "./guest-paths.ts";
import type { GuestTree } from "./guest-tree.ts";

/** A host file or symlink at its guest path. */
export function addAsIs(tree: GuestTree, project: string, file: string): void {
  const at = guestPath(project, file);
  if (lstatSync(file).isSymbolicLink()) {
    const target = resolve(dirname(file), readlinkSync(file));
    tree.symlink(at, relative(dirname(at), guestPath(project, target)));
    return;
  }
  const stat = statSync(file);
  if (stat.isFile())
    tree.file(at, { host: file, size: stat.size }, (stat.mode & 0o111) === 0 ? 0o644 : 0o755);
}
