/** The bundle of an app's own modules. */

import { dirname, extname, join, relative } from "node:path";
import { type BuildResult, build } from "esbuild";
import { guestPath } from "../guest-paths.ts";
import { type Apart, apartLead, apartPlugin } from "./apart.ts";
import { bundleError, commonOptions } from "./esbuild.ts";
import type { BundleRequest, ModuleGraph } from "./graph.ts";
import { type BundledFile, finished, guestMap } from "./output.ts";
import { builtInPlugin, externalNames, ownModules, placePlugin, resolvePlugin } from "./plugins.ts";

/** The output, and the files of unbundled packages that it loads. */
export interface Bundle {
  /** Guest path of the entry. */
  readonly entry: string;
  readonly files: readonly BundledFile[];
  /** Absolute host paths of modules that are loaded as they are. */
  readonly external: ReadonlySet<string>;
}

/**
 * Writes the bundle. Packages in `external` are loaded from where they are, those `apart` from their own
 * file; `extra` modules (workers, modules loaded by path) become files of their own.
 */
export async function writeBundle(
  request: BundleRequest,
  graph: ModuleGraph,
  isExternal: (folder: string) => boolean,
  extra: readonly string[],
  apart: Apart | null,
): Promise<Bundle> {
  const { project, entry } = request;
  const { format } = graph;
  // Other entries have modules of their own, which nobody has looked at.
  const seen = extra.length === 0 ? graph : null;
  const external = new Set<string>();
  const extension = format === "esm" ? ".mjs" : ".cjs";
  const entryOutput = entryPath(project, entry, extension);
  const points = [entry, ...extra].map((path) => ({ in: path, out: outputStem(project, path) }));
  let result: BuildResult;
  try {
    result = await build({
      ...commonOptions(request, format),
      metafile: false,
      entryPoints: points,
      outdir: project,
      chunkNames: ".chunks/[name]-[hash]",
      outExtension: { ".js": extension },
      splitting: format === "esm" && extra.length > 0,
      plugins: [
        ...(format === "esm" ? [builtInPlugin()] : []),
        ...(apart ? [apartPlugin(project, apart)] : []),
        resolvePlugin(request, isExternal, external, externalNames(seen, isExternal)),
        placePlugin(project, entry, entryOutput, ownModules(seen)),
      ],
    });
  } catch (error) {
    throw bundleError(request, error);
  }
  const renamed = new Map(points.map(({ in: path, out }) => [join(project, out) + extension, path]));
  const files: BundledFile[] = [];
  for (const { path, text, contents } of result.outputFiles ?? []) {
    const module = renamed.get(path.replace(/\.map$/, ""));
    const target =
      module === undefined
        ? guestPath(project, path)
        : module === entry
          ? entryOutput
          : guestPath(project, module);
    if (path.endsWith(".map")) {
      const map = module === undefined ? target : `${target}.map`;
      files.push({ path: map, bytes: Buffer.from(guestMap(text, project, dirname(path))) });
    } else if (/\.[cm]js$/.test(path)) {
      const lead = apart ? apartLead(project, text, format) : "";
      files.push({ path: target, bytes: Buffer.from(finished(text, format, target, lead)) });
    } else {
      files.push({ path: target, bytes: contents });
    }
  }
  return { entry: entryOutput, files, external };
}

/** The bundle takes the entry's place: beside it, what is relative stays so. */
function entryPath(project: string, entry: string, extension: string): string {
  const path = guestPath(project, entry);
  return path.slice(0, path.length - extname(path).length) + extension;
}

/** A name that keeps modules apart that differ in their extension only. */
function outputStem(project: string, path: string): string {
  const inside = relative("/app", guestPath(project, path));
  return inside.replace(/\.([a-z]+)$/, "-$1");
}
