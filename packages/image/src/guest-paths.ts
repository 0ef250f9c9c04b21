/** Where the files of a project lie in the guest. */

import { isAbsolute, join, relative, sep } from "node:path";

/** The project itself. */
export const APP: string = "/app";

/**
 * Guest path of a host file: the project is /app; packages installed above it
 * (a workspace) are /node_modules, where Node finds them from /app too; other
 * files outside get a place that depends only on how far up they lie.
 */
export function guestPath(project: string, host: string): string {
  const inside = relative(project, host);
  if (inside === "") return APP;
  if (!inside.startsWith(`..${sep}`) && inside !== ".." && !isAbsolute(inside)) return join(APP, inside);
  const marker = `${sep}node_modules${sep}`;
  const first = host.indexOf(marker);
  if (first >= 0 && isAbove(host.slice(0, first), project)) return host.slice(first);
  if (first < 0 && host.endsWith(`${sep}node_modules`)) return "/node_modules";
  const parts = inside.split(sep);
  const up = parts.filter((part) => part === "..").length;
  return join(APP, `.up${up}`, ...parts.slice(up));
}

/** True if `folder` is `inner` or one of its parents. */
function isAbove(folder: string, inner: string): boolean {
  return folder === "" || inner === folder || inner.startsWith(`${folder}${sep}`);
}

/** The folder of the package that a file belongs to, if it lies in node_modules. */
export function packageFolder(file: string): string | null {
  const marker = `${sep}node_modules${sep}`;
  const at = file.lastIndexOf(marker);
  if (at < 0) return null;
  const start = at + marker.length;
  const parts = file.slice(start).split(sep);
  const depth = parts[0]?.startsWith("@") ? 2 : 1;
  return parts.length > depth ? file.slice(0, start) + parts.slice(0, depth).join(sep) : null;
}

/** Name of the package whose folder this is. */
export function packageName(folder: string): string {
  const marker = `${sep}node_modules${sep}`;
  return folder.slice(folder.lastIndexOf(marker) + marker.length);
}

/** Where the module is that runs before a Node.js app. */
export const PRELOAD_PATH = "/usr/local/lib/spore/preload.cjs";
