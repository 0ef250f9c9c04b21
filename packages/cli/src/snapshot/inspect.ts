/** What `spore snapshot inspect` and `verify` do. */

import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import { findMonitor, inspectSnapshot, type SnapshotFacts } from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";

/** Prints what a snapshot holds; `verify` reads every byte of it. */
export function inspect(file: string | undefined, verify: boolean, json: boolean, context: Context): number {
  if (file === undefined) {
    throw sporeError("SPORE_USAGE", { problem: "FILE is missing", command: "snapshot" });
  }
  const facts = inspectSnapshot(findMonitor(root, context.env), resolve(context.cwd, file), verify);
  context.out(json ? `${JSON.stringify(facts)}\n` : describe(facts));
  return 0;
}

function describe(facts: SnapshotFacts): string {
  const { used, written } = facts.workingSet;
  const name = (facts.about as { image?: { name?: string } } | null)?.image?.name ?? "?";
  const rows: readonly (readonly [string, string])[] = [
    ["image", `${facts.image} (${name})`],
    ["kernel", facts.kernel],
    ["processor", `features ${facts.cpuFeaturesChecksum}`],
    ["generation", String(facts.generation)],
    ["frozen", new Date(facts.frozenAt).toISOString()],
    ["memory", `${mebibytes(facts.memory)}, ${mebibytes(facts.pages * 4096)} of it not zero`],
    ...(facts.imagePages > 0
      ? [["its pages", `${mebibytes(facts.imagePages * 4096)} of the memory is as in the image`] as const]
      : []),
    ...(facts.base === null
      ? []
      : [["base", `${facts.base}, for ${mebibytes(facts.basePages * 4096)}`] as const]),
    ["working set", used === 0 ? "not recorded" : `${used} pages, ${written} of them written to`],
    ["file", `${mebibytes(facts.bytes)}${facts.verified ? ", whole" : ""}`],
  ];
  return rows.map(([topic, text]) => `${topic.padEnd(12)}${text}\n`).join("");
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
