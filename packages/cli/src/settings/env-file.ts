/** `--env-file FILE`. */

import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { sporeError } from "@spore/errors";

/** The variables of the file. Throws SPORE_ENV_FILE. */
export function readEnvFile(file: string): Readonly<Record<string, string>> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw sporeError("SPORE_ENV_FILE", { file, problem: reason(cause) }, { cause });
  }
  const wrong = withoutQuoted(text)
    .split("\n")
    .findIndex((line) => isOutside(line) && !/^\s*(export\s+)?[\w.-]+\s*=/.test(line));
  const parsed = parseEnv(text);
  if (wrong >= 0) {
    throw sporeError("SPORE_ENV_FILE", { file, problem: `line ${wrong + 1} is not KEY=VALUE` });
  }
  return Object.fromEntries(
    Object.entries(parsed).flatMap(([key, text]) => (text === undefined ? [] : [[key, text]])),
  );
}

/** The text with empty lines where a value in quotes goes on. */
function withoutQuoted(text: string): string {
  return text.replace(/^(\s*(?:export\s+)?[\w.-]+\s*=\s*)(["'`])[\s\S]*?\2/gm, (all, start: string) =>
    start.concat("\n".repeat(all.split("\n").length - start.split("\n").length)),
  );
}

/** Not blank and not a comment. */
function isOutside(line: string): boolean {
  return !/^\s*(#|$)/.test(line);
}

function reason(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "it does not exist";
  if (code === "EACCES") return "it cannot be read";
  if (code === "EISDIR") return "it is a directory";
  return cause instanceof Error ? cause.message : String(cause);
}
