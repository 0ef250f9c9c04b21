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
import { buildProgramLayer } from "./program-layer.ts";
import { defaultsOf, nameOf, policyOf, type ResolvedBuild } from "./resolved-build.ts";
import type { Decision } from "./types.ts";

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
  const request = { host: target, guest, name: nameOf(target), include: options.include ?? [] };
  const layer = buildProgramLayer(request, store, patcher, inputs, decisions);
  const needs = findNeeds(layer.objects, patcher.objects, "full", options.recording, store, decisions);
  const kernel = storeKernel(build.kernel, null, store);
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
