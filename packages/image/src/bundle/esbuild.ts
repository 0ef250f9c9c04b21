/** How esbuild is asked, and what it says when it cannot. */

import { relative } from "node:path";
import { sporeError } from "@spore/errors";
import type { BuildFailure, BuildOptions, Message } from "esbuild";
import type { BundleRequest, ModuleFormat } from "./graph.ts";

export function commonOptions(request: BundleRequest, format: ModuleFormat): BuildOptions & { write: false } {
  return {
    absWorkingDir: request.project,
    bundle: true,
    platform: "node",
    target: `node${request.nodeMajor}`,
    format,
    metafile: true,
    sourcemap: "external",
    charset: "utf8",
    legalComments: "none",
    logLevel: "silent",
    conditions: ["node-addons"],
    write: false,
  };
}

export function bundleError(request: BundleRequest, error: unknown): Error {
  const [first] = messagesOf(error);
  const entry = relative(request.project, request.entry);
  if (!first) {
    const problem = error instanceof Error ? error.message : String(error);
    return sporeError("SPORE_BUNDLE_FAILED", { entry, problem }, { cause: error });
  }
  const { location, text } = first;
  const place = location ? `${location.file}:${location.line}:${location.column + 1}: ` : "";
  return sporeError("SPORE_BUNDLE_FAILED", { entry, problem: place + text }, { cause: error });
}

export function messagesOf(error: unknown): readonly Message[] {
  const isFailure = (value: unknown): value is BuildFailure =>
    value instanceof Error && "errors" in value && Array.isArray(value.errors);
  return isFailure(error) ? error.errors : [];
}
