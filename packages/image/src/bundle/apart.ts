/**
 * The packages that are bundled apart from the app's own modules, so that an edit bundles only these:
 * CommonJS modules and all they lead to. In a bundle each of them is a function that runs it when it is
 * first asked for; apart, the functions that own modules call ("doors") are the exports of one file.
 * ES modules of packages stay with the app's: what of them nobody uses is left out there.
 */

import { dirname, join } from "node:path";
import { build, type Plugin } from "esbuild";
import { guestPath, packageFolder } from "../guest-paths.ts";
import { bundleError, commonOptions } from "./esbuild.ts";
import { type BundleRequest, type Import, type ModuleFormat, type ModuleGraph, questionOf } from "./graph.ts";
import { type BundledFile, finished, guestMap } from "./output.ts";
import {
  builtInPlugin,
  externalNames,
  isKeptOut,
  NOTHING,
  oneOf,
  placePlugin,
  resolvePlugin,
} from "./plugins.ts";

/** What is bundled apart. */
export interface Apart {
  /** Absolute paths of the modules that others ask for, in a fixed order. */
  readonly doors: readonly string[];
  /** All modules of it. */
  readonly modules: ReadonlySet<string>;
  /** Which of `doors` an import from outside leads to, by `questionOf`. */
  readonly answers: ReadonlyMap<string, number>;
  /** What is asked for in those imports. */
  readonly names: readonly string[];
  /** Files that its modules load from where they are: add-ons, packages that are not bundled. */
  readonly external: readonly string[];
}

/** Name of the file's exports in the app's own bundle. */
const PACKAGES = "__spore_packages";
const NAMESPACE = "package";

/** What can be bundled apart; null: nothing, or not without changing what the app does. */
export function findApart(
  project: string,
  graph: ModuleGraph,
  isExternal: (folder: string) => boolean,
): Apart | null {
  if (!graph.imports) return null;
  const isOut = (path: string): boolean => isKeptOut(path, isExternal);
  const asked = graph.imports.filter(({ by, isOutside }) => !isOutside && !isOut(by));
  const links = asked.filter(({ path }) => !isOut(path));
  const commonJs = new Set(graph.commonJs.filter((path) => packageFolder(path) !== null));
  const modules = reachedFrom(
    links.filter(({ by, path }) => commonJs.has(path) && !commonJs.has(by)).map(({ path }) => path),
    links,
  );
  const border = links.filter(({ by, path }) => !modules.has(by) && modules.has(path));
  // An ES module is known by its exports, which one function cannot stand for.
  if (border.length === 0 || border.some(({ path }) => !commonJs.has(path))) return null;
  if ([...modules].some((path) => packageFolder(path) === null)) return null;
  const doors = [...new Set(border.map(({ path }) => path))].sort((a, b) =>
    guestPath(project, a) < guestPath(project, b) ? -1 : 1,
  );
  const answers = border.map(
    ({ by, kind, asked, path }) => [questionOf(by, kind, asked), doors.indexOf(path)] as const,
  );
  const external = asked.filter(({ by, path }) => modules.has(by) && isOut(path)).map(({ path }) => path);
  return {
    doors,
    modules,
    answers: new Map(answers),
    names: [...new Set(border.map((each) => each.asked))],
    external: [...new Set(external)].sort(),
  };
}

function reachedFrom(seeds: readonly string[], links: readonly Import[]): Set<string> {
  const next = Map.groupBy(links, ({ by }) => by);
  const reached = new Set(seeds);
  // Grows while it is walked.
  for (const module of reached) for (const { path } of next.get(module) ?? []) reached.add(path);
  return reached;
}

/** Guest path of the file. */
function apartPath(project: string, format: ModuleFormat): string {
  return guestPath(project, join(project, ".chunks", format === "esm" ? "packages.mjs" : "packages.cjs"));
}

/** Puts a call of a door where a module that is apart is asked for. */
export function apartPlugin(project: string, { doors, answers, names }: Apart): Plugin {
  return {
    name: "spore-apart",
    setup(setup) {
      setup.onResolve({ filter: oneOf(names) }, ({ importer, kind, path }) => {
        const door = answers.get(questionOf(importer, kind, path));
        if (door === undefined) return undefined;
        return { path: guestPath(project, doors[door] ?? ""), namespace: NAMESPACE, pluginData: door };
      });
      setup.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ pluginData: door }) => {
        return { contents: `module.exports = ${PACKAGES}.m${door}();`, loader: "js" };
      });
    },
  };
}

/** What comes first in a file of the app's own bundle that calls a door. */
export function apartLead(project: string, text: string, format: ModuleFormat): string {
  if (!text.includes(`${PACKAGES}.m`)) return "";
  const path = JSON.stringify(apartPath(project, format));
  return format === "esm"
    ? `import * as ${PACKAGES} from ${path}; `
    : `const ${PACKAGES} = require(${path}); `;
}

/** Bundles what is apart; throws SPORE_BUNDLE_FAILED. */
export async function writeApart(
  request: BundleRequest,
  graph: ModuleGraph,
  { doors }: Pick<Apart, "doors">,
  isExternal: (folder: string) => boolean,
): Promise<BundledFile[]> {
  const { project, entry } = request;
  const { format } = graph;
  const target = apartPath(project, format);
  const contents = doors.map(
    (path, door) => `export const m${door} = () => require(${JSON.stringify(path)});`,
  );
  try {
    const { outputFiles } = await build({
      ...commonOptions(request, format),
      metafile: false,
      stdin: { contents: contents.join("\n"), resolveDir: project, sourcefile: "packages.js", loader: "js" },
      outfile: join(project, ".chunks", "packages.js"),
      plugins: [
        ...(format === "esm" ? [builtInPlugin()] : []),
        resolvePlugin(request, isExternal, new Set(), externalNames(graph, isExternal)),
        placePlugin(project, entry, target, NOTHING),
      ],
    });
    return outputFiles.map(({ path, text }) =>
      path.endsWith(".map")
        ? { path: `${target}.map`, bytes: Buffer.from(guestMap(text, project, dirname(path))) }
        : { path: target, bytes: Buffer.from(finished(text, format, target)) },
    );
  } catch (error) {
    throw bundleError(request, error);
  }
}
