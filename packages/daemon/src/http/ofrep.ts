/** What OpenFeature's remote evaluation protocol (OFREP) has of its own: its errors, and tags of answers. */

import { createHash } from "node:crypto";
import type { EvaluationError } from "@spore/api";
import type { SporeError } from "@spore/errors";

const path = /\/ofrep\/v1\/evaluate\/flags(?:\/([^/?]*))?(?:\?|$)/;

/** Whether a URL is one of the protocol. */
export function isOfrep(url: string): boolean {
  return path.test(url);
}

/** The key that a URL asks for; absent: all of them. */
export function keyOf(url: string): string | undefined {
  return path.exec(url)?.[1];
}

/** A failure as the protocol tells it. */
export function ofrepFailure(
  { code, message }: Pick<SporeError, "code" | "message">,
  key?: string,
): EvaluationError {
  const codes: Partial<Record<string, EvaluationError["errorCode"]>> = {
    SPORE_NOT_FOUND: "FLAG_NOT_FOUND",
    SPORE_API_INVALID: "PARSE_ERROR",
  };
  return {
    ...(key !== undefined && { key }),
    errorCode: codes[code] ?? "GENERAL",
    errorDetails: message,
  };
}

/** A tag that changes with what it stands for. */
export function tagOf(value: unknown): string {
  return `"${createHash("sha256").update(JSON.stringify(value)).digest("base64url").slice(0, 22)}"`;
}
