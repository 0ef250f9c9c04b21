/** What esbuild is told of a project: what stays outside, what modules may ask for, where they are. */

import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, extname, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Loader, OnResolveArgs, OnResolveResult, Plugin, PluginBuild } from "esbuild";
import { DecoratorCompiler } from "../decorators.ts";
import { guestPath, packageFolder } from "../guest-paths.ts";
import type { BundleRequest, ModuleGraph } from "./graph.ts";

/** Modules that know their own place: their text names it. */
const PLACE = /\bimport\.meta\b|\b__dirname\b|\b__filename\b/;
/** Names that stand for a module's place until the output is written. */
const PLACE_NAMES = {
  "import.meta.url": "__spore_url",
  "import.meta.dirname": "__spore_dirname",
  "import.meta.filename": "__spore_filename",
  "import.meta.main": "__spore_main",
  __dirname: "__spore_dirname",
  __filename: "__spore_filename",
} as const;
/** Filters of esbuild's plugins: everything, and nothing. */
export const EVERY: RegExp = /.*/;
export const NOTHING: RegExp = /^\b\B/;

/** True for a module that is loaded from where it is. */
export function isKeptOut(path: string, isExternal: (folder: string) => boolean): boolean {
  return path.endsWith(".node") || isExternal(packageFolder(path) ?? "");
}

/** What is asked for that may not be bundled. */
export function externalNames(graph: ModuleGraph | null, isExternal: (folder: string) => boolean): RegExp {
  if (!graph?.imports) return EVERY;
  const isOutside = (path: string): boolean => isKeptOut(path, isExternal);
  // What stays outside asks by itself.
  const border = graph.imports.filter(({ by, path }) => !isOutside(by) && isOutside(path));
  return oneOf(border.map(({ asked }) => asked));
}

/** The modules that may ask where they are: packages that do so are not bundled. */
export function ownModules(graph: ModuleGraph | null): RegExp {
  const script = /\.([cm]?[jt]s|[jt]sx)$/;
  if (!graph) return script;
  return oneOf(graph.modules.filter((path) => packageFolder(path) === null && script.test(path)));
}

/** A filter for some texts, as both JavaScript and Go read it. */
export function oneOf(texts: readonly string[]): RegExp {
  if (texts.length === 0) return NOTHING;
  const escaped = [...new Set(texts)].map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^(?:${escaped.join("|")})$`);
}

/** Marks a resolution that this plugin asks for itself. */
const OWN_QUESTION = Symbol("own question");

/** Leaves unbundled packages, add-ons and what packages ask for in vain to Node. */
export function resolvePlugin(
  request: BundleRequest,
  isExternal: (folder: string) => boolean,
  external: Set<string>,
  filter: RegExp,
): Plugin {
  const answer = async (setup: PluginBuild, args: OnResolveArgs): Promise<OnResolveResult | undefined> => {
    if (args.pluginData === OWN_QUESTION || args.kind === "entry-point") return undefined;
    const { importer, kind, resolveDir } = args;
    const found = await setup.resolve(args.path, { importer, kind, resolveDir, pluginData: OWN_QUESTION });
    if (found.errors.length > 0) {
      if (args.path === "@spore/sdk") return { path: fileURLToPath(import.meta.resolve("@spore/sdk")) };
      // What a package offers to use if it is there is its own affair.
      return packageFolder(importer) === null ? undefined : { path: args.path, external: true };
    }
    if (found.external || found.namespace !== "file") return undefined;
    const folder = packageFolder(found.path);
    const addOn = found.path.endsWith(".node");
    if (!addOn && (folder === null || !isExternal(folder))) return undefined;
    external.add(found.path);
    return { path: guestPath(request.project, found.path), external: true, sideEffects: found.sideEffects };
  };
  return {
    name: "spore-resolve",
    setup: (setup) => setup.onResolve({ filter }, (args) => answer(setup, args)),
  };
}

/**
 * Takes Node's own modules as `require` does. An ESM import of one reads all
 * its exports, and those of node:http load a whole HTTP client when they are
 * read: a server would start in twice the time.
 */
export function builtInPlugin(): Plugin {
  return {
    name: "spore-built-in",
    setup(setup) {
      const filter = new RegExp(`^node:|${oneOf(builtinModules).source}`);
      setup.onResolve({ filter }, ({ path }) => ({ path, namespace: "built-in" }));
      setup.onLoad({ filter: /.*/, namespace: "built-in" }, ({ path }) => {
        const name = JSON.stringify(path);
        const unknown = `Object.assign(new Error("No such built-in module: " + ${name}), { code: "ERR_UNKNOWN_BUILTIN_MODULE" })`;
        const contents = `module.exports = globalThis.process.getBuiltinModule(${name});\nif (!module.exports) throw ${unknown};`;
        return { contents, loader: "js" };
      });
    },
  };
}

/** Tells modules that ask where they are: at their own place in the guest, not in the bundle's. */
export function placePlugin(project: string, entry: string, entryOutput: string, filter: RegExp): Plugin {
  const compiler = new DecoratorCompiler(relative(project, entry));
  return {
    name: "spore-place",
    setup(setup) {
      setup.initialOptions.define = PLACE_NAMES;
      setup.onLoad({ filter }, ({ path }) => {
        const source = readFileSync(path, "utf8");
        const compiled = compiler.compile(path, source);
        const { text, loader } = compiled ?? { text: source, loader: loaderOf(path) };
        if (!PLACE.test(text)) return compiled && { contents: text, loader };
        const place = path === entry ? entryOutput : guestPath(project, path);
        return { contents: withPlace(text, place, path === entry), loader };
      });
    },
  };
}

/** A module's text with its place declared on its first line, so that line numbers stay. */
function withPlace(text: string, place: string, isMain: boolean): string {
  const values = [
    `${PLACE_NAMES["import.meta.url"]} = ${JSON.stringify(pathToFileURL(place).href)}`,
    `${PLACE_NAMES["import.meta.filename"]} = ${JSON.stringify(place)}`,
    `${PLACE_NAMES["import.meta.dirname"]} = ${JSON.stringify(dirname(place))}`,
    `${PLACE_NAMES["import.meta.main"]} = ${isMain}`,
  ];
  const declaration = `var ${values.join(", ")};`;
  const shebang = /^#!.*/.exec(text)?.[0] ?? "";
  const body = text.slice(shebang.length);
  const strict = /^\s*(["'])use strict\1/.test(body) ? '"use strict";' : "";
  // A shebang line becomes a comment: the declaration must not be part of it.
  return shebang === "" ? strict + declaration + body : `${strict}${declaration}//${shebang}${body}`;
}

function loaderOf(path: string): Loader {
  const extension = extname(path);
  if (extension === ".tsx") return "tsx";
  if (extension === ".jsx") return "jsx";
  return extension.endsWith("ts") ? "ts" : "js";
}
