/**
 * TypeScript with `emitDecoratorMetadata`: compiled by the project's own compiler.
 *
 * Frameworks that inject by type (NestJS, TypeORM) read at run time which types the
 * parameters of a decorated class have. esbuild looks at one file at a time and emits
 * none of that; a project that asks for it has the package `typescript` anyway.
 */

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, extname, join } from "node:path";
import { sporeError } from "@spore/errors";
import type { Loader, Plugin } from "esbuild";
import { packageFolder } from "./guest-paths.ts";

/** What is used of the package `typescript`. */
interface Compiler {
  readonly ModuleKind: { readonly ESNext: number; readonly Preserve?: number };
  readonly JsxEmit: { readonly Preserve: number };
  readonly ScriptTarget: { readonly ES2022: number };
  readonly sys: { readonly readFile: (path: string) => string | undefined };
  readonly readConfigFile: (path: string, read: Compiler["sys"]["readFile"]) => { readonly config?: object };
  readonly parseJsonConfigFileContent: (
    config: object,
    host: Compiler["sys"],
    folder: string,
  ) => { readonly options: Readonly<Record<string, unknown>> };
  readonly transpileModule: (
    text: string,
    options: { readonly fileName: string; readonly compilerOptions: object },
  ) => { readonly outputText: string };
}

/** A module that is no TypeScript any more. */
export interface Compiled {
  readonly text: string;
  readonly loader: Loader;
}

/** A line that begins with a decorator, or a decorated parameter. */
const DECORATOR = /(^|[(,]|\s)@[A-Za-z_$(]/m;
const METADATA = /"emitDecoratorMetadata"\s*:\s*true/;

/** Compiles a module if it has decorators and its tsconfig.json asks for metadata. */
export class DecoratorCompiler {
  readonly #entry: string;
  readonly #options: Map<string, Readonly<Record<string, unknown>>> = new Map();

  /** `entry`: name of the entry, for errors. */
  constructor(entry: string) {
    this.#entry = entry;
  }

  /** The compiled module, or undefined if esbuild does all that is asked for. */
  compile(path: string, text: string): Compiled | undefined {
    if (!/\.([cm]?ts|tsx)$/.test(path) || packageFolder(path) !== null || !DECORATOR.test(text)) {
      return undefined;
    }
    const config = nearestConfig(dirname(path));
    if (config === undefined) return undefined;
    const compiler = findCompiler(path);
    if (compiler === undefined) {
      if (!METADATA.test(readFileSync(config, "utf8"))) return undefined;
      const problem = `${path} has decorators, and tsconfig.json asks for emitDecoratorMetadata: that takes the package typescript (npm install --save-dev typescript@5)`;
      throw sporeError("SPORE_BUNDLE_FAILED", { entry: this.#entry, problem });
    }
    const options = this.#optionsOf(compiler, config);
    if (options["emitDecoratorMetadata"] !== true) return undefined;
    const { outputText } = compiler.transpileModule(text, {
      fileName: path,
      compilerOptions: {
        ...options,
        module: compiler.ModuleKind.Preserve ?? compiler.ModuleKind.ESNext,
        target: compiler.ScriptTarget.ES2022,
        jsx: compiler.JsxEmit.Preserve,
        importHelpers: false,
        declaration: false,
        sourceMap: false,
        inlineSourceMap: true,
        inlineSources: true,
      },
    });
    return { text: outputText, loader: extname(path) === ".tsx" ? "jsx" : "js" };
  }

  #optionsOf(compiler: Compiler, config: string): Readonly<Record<string, unknown>> {
    let options = this.#options.get(config);
    if (options === undefined) {
      const read = compiler.readConfigFile(config, compiler.sys.readFile).config ?? {};
      options = compiler.parseJsonConfigFileContent(read, compiler.sys, dirname(config)).options;
      this.#options.set(config, options);
    }
    return options;
  }
}

/** Compiles what is looked at on the way to the module graph. */
export function decoratorPlugin(compiler: DecoratorCompiler): Plugin {
  return {
    name: "spore-decorators",
    setup(setup) {
      setup.onLoad({ filter: /\.([cm]?ts|tsx)$/ }, ({ path }) => {
        const compiled = compiler.compile(path, readFileSync(path, "utf8"));
        return compiled && { contents: compiled.text, loader: compiled.loader };
      });
    },
  };
}

function nearestConfig(folder: string): string | undefined {
  const path = join(folder, "tsconfig.json");
  if (existsSync(path)) return path;
  const parent = dirname(folder);
  return parent === folder ? undefined : nearestConfig(parent);
}

/** The compiler that is installed beside the module. */
function findCompiler(path: string): Compiler | undefined {
  try {
    const found: unknown = createRequire(path)("typescript");
    return isCompiler(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

function isCompiler(value: unknown): value is Compiler {
  return typeof value === "object" && value !== null && "transpileModule" in value;
}
