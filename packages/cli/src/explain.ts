/** `--explain`: what was detected, and why. */

import type { BuildResult } from "@spore/image";
import type { Context } from "./command.ts";

/** Prints the decisions of a build to standard error. */
export function explain(built: BuildResult, configFile: string | undefined, context: Context): void {
  const lines = built.decisions.map(({ topic, what, why }) => [topic, `${what} (${why})`] as const);
  const config = configFile === undefined ? [] : [["config", configFile] as const];
  const image = [
    "image",
    `${built.image.digest} (${built.reused ? "unchanged, not built again" : "built now"})`,
  ] as const;
  const rows = [...config, ...lines, image];
  const width = Math.max(...rows.map(([topic]) => topic.length));
  for (const [topic, text] of rows) context.err(`spore: ${topic.padEnd(width)}  ${text}\n`);
}
