/** The error that reaches a user, and its one line. */

import { type ErrorCode, type ErrorEntry, registry } from "./registry.ts";

type Names<T extends string> = T extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never;

/** The values that the texts of a code name. */
export type ErrorValues<Code extends ErrorCode> = Readonly<
  Record<Names<(typeof registry)[Code]["message"]> | Names<(typeof registry)[Code]["next"]>, string | number>
>;

/** What may be added to an error. */
export interface ErrorExtras {
  /** What led to it; shown with SPORE_DEBUG=1 only. */
  readonly cause?: unknown;
  /** A better next step than the registry's, where more is known. */
  readonly next?: string;
}

/** A failure that a user is told of: one line, a stable code, an exit status. */
export class SporeError extends Error {
  /** Its code in the registry. */
  readonly code: ErrorCode;
  /** What to do next. */
  readonly next: string;
  override readonly name: string = "SporeError";

  constructor(code: ErrorCode, message: string, extras: ErrorExtras & { readonly next: string }) {
    super(message, extras.cause === undefined ? {} : { cause: extras.cause });
    this.code = code;
    this.next = extras.next;
  }

  /** Exit status; "program" codes have none of their own and give 70 here. */
  get exitStatus(): number {
    const { exit } = registry[this.code];
    return exit === "program" ? 70 : exit;
  }

  /** `error[CODE]: what happened — what to do next`, on one line without control characters. */
  get line(): string {
    return oneLine(`error[${this.code}]: ${this.message} — ${this.next}`);
  }
}

/** Makes the error of a code from the values that its texts name. */
export function sporeError<Code extends ErrorCode>(
  code: Code,
  values: ErrorValues<Code>,
  extras: ErrorExtras = {},
): SporeError {
  const entry: ErrorEntry = registry[code];
  return new SporeError(code, fill(entry.message, values), {
    ...extras,
    next: extras.next ?? fill(entry.next, values),
  });
}

/** Any thrown value as a SporeError; what we did not foresee becomes SPORE_INTERNAL. */
export function asSporeError(thrown: unknown): SporeError {
  if (thrown instanceof SporeError) return thrown;
  const problem = thrown instanceof Error ? thrown.message : String(thrown);
  return sporeError("SPORE_INTERNAL", { problem }, { cause: thrown });
}

function fill(template: string, values: Readonly<Record<string, string | number>>): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** Line breaks become "; ", other control characters (a terminal's escape, say) become visible. */
function oneLine(text: string): string {
  return text
    .trim()
    .replace(/\s*[\r\n]+\s*/g, "; ")
    .replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
