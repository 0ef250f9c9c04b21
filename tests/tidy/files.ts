/** The files that the rules look at: what git tracks, without fixtures and generated ones. */

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The root of the checkout. */
export const root: string = join(import.meta.dirname, "../..");

/** Paths from the root, with slashes. */
export const tracked: readonly string[] = execFileSync("git", ["ls-files", "-z"], {
  cwd: root,
  encoding: "utf8",
})
  .split("\0")
  // A file that was just deleted is still listed until the deletion is committed.
  .filter((path) => path !== "" && existsSync(join(root, path)));

/** Files with this ending that people write. */
export function written(...endings: readonly string[]): readonly string[] {
  return tracked.filter(
    (path) =>
      endings.some((ending) => path.endsWith(ending)) &&
      !/(^|\/)(fixtures|generated|__snapshots__)\//.test(path),
  );
}

/** The text of a file. */
export function text(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** One line for each thing that breaks a rule: `path:line: what`. */
export function offences(
  paths: readonly string[],
  find: (line: string, path: string) => string | undefined,
): readonly string[] {
  return paths.flatMap((path) =>
    text(path)
      .split("\n")
      .flatMap((line, index) => {
        const what = find(line, path);
        return what === undefined ? [] : [`${path}:${index + 1}: ${what}`];
      }),
  );
}
