/** Builds the image of an ELF program. */

import { realpathSync } from "node:fs";
import { join } from "node:path";
import { findNeeds } from "./app-needs.ts";
import type { Inputs } from "./build-record.ts";
import { NEEDS_DOCUMENT, PIECES_DOCUMENT } from "./document.ts";
import type { ImageContent } from "./image-file.ts";
import { storeDocument } from "./image-writer.ts";
import { storeKernel } from "./kernel-blob.ts";
import type { Patcher } from "./patcher.ts";
import { interpreterOf, parseFor, readBinary } from "./program-file.ts";
import { buildProgramLayer } from "./program-layer.ts";
import { defaultsOf, modeOf, nameOf, policyOf, type ResolvedBuild } from "./resolved-build.ts";
import type { Decision } from "./types.ts";
import { opensFiles, wishesOf, withChoice } from "./wishes.ts";

/** The guest's own file systems: nothing of the image shows through there. */
const GUEST_ONLY = /^\/(dev|proc|sys)\//;

/** One layer with everything, and the kernel. */
export async function buildProgram(
  build: ResolvedBuild,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): Promise<ImageContent> {
  const { target, options, store } = build;
  decisions.push({ topic: "target", what: target, why: "an ELF program" });
  const real = realpathSync(target);
  // At its own path it finds what it looks for beside itself ($ORIGIN, /proc/self/exe).
  const moved = GUEST_ONLY.test(real);
  const guest = moved ? join("/app", nameOf(target)) : "";
  const include = options.include ?? [];
  const base = include.length > 0 || (await mayUseFiles(build, patcher, decisions));
  const request = { host: target, guest, name: nameOf(target), include, base, zones: base };
  const layer = buildProgramLayer(request, store, patcher, inputs, decisions);
  const mode = modeOf(options);
  const found = await findNeeds(layer.objects, patcher.objects, mode, options.recording, store, decisions);
  const needs = withChoice(found, options);
  const kernel = await storeKernel(build.kernel, wishesOf(needs), store);
  return {
    ...policyOf(options),
    kind: "program",
    name: nameOf(target),
    program: layer.program,
    defaults: defaultsOf(options, { argv: [moved ? guest : target], cwd: "/" }),
    kernel: kernel.blob,
    layers: [layer.blob],
    documents: [
      storeDocument(NEEDS_DOCUMENT, needs, store),
      storeDocument(PIECES_DOCUMENT, kernel.pieces, store),
    ],
  };
}

/** A static program that cannot open a file does without those that every image has. */
async function mayUseFiles(
  { target, options, store }: ResolvedBuild,
  patcher: Patcher,
  decisions: readonly Decision[],
): Promise<boolean> {
  const mode = modeOf(options);
  const more = options.more ?? [];
  if (mode === "full" || more.length > 0) return true;
  const elf = parseFor(target, readBinary(target));
  if (interpreterOf(target, elf) !== undefined) return true;
  const object = { path: target, host: realpathSync(target) };
  const needs = await findNeeds([object], patcher.objects, mode, options.recording, store, [...decisions]);
  return opensFiles(needs);
}
