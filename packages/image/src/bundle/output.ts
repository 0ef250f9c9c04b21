/** What becomes of esbuild's output on its way into the image. */

import { basename, resolve } from "node:path";
import { guestPath, packageFolder } from "../guest-paths.ts";
import type { ModuleFormat } from "./graph.ts";

/** One file of the output. */
export interface BundledFile {
  /** Guest path. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Adds what Node needs to know: a `require` for bundled CommonJS modules, and the source map; `lead` comes first. */
export function finished(text: string, format: ModuleFormat, path: string, lead: string = ""): string {
  const needsRequire = format === "esm" && /^var __require = /m.test(text);
  const require = needsRequire
    ? 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url); '
    : "";
  const shebang = /^#!.*\n/.exec(text)?.[0] ?? "";
  return `${shebang}${lead}${require}${text.slice(shebang.length)}//# sourceMappingURL=${basename(path)}.map\n`;
}

/** A source map that names guest paths; the text of packages is left out. */
export function guestMap(text: string, project: string, folder: string): string {
  const map: { sources: string[]; sourcesContent?: (string | null)[] } = JSON.parse(text);
  const hosts = map.sources.map((source) => resolve(folder, source));
  map.sources = hosts.map((host) => guestPath(project, host));
  map.sourcesContent = (map.sourcesContent ?? []).map((content, index) =>
    packageFolder(hosts[index] ?? "") === null ? content : null,
  );
  return JSON.stringify(map);
}
