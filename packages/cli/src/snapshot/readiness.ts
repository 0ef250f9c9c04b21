/** `--ready`: what a program must do before it is frozen. */

import { Mistake } from "../command.ts";
import { readPort } from "../settings/values.ts";

/** What to wait for. */
export type Readiness =
  | { readonly kind: "port"; readonly port: number }
  | { readonly kind: "http"; readonly path: string }
  | { readonly kind: "signal" };

/** "8080", "http:/health" or "signal". */
export function readReadiness(text: string): Readiness {
  if (text === "signal") return { kind: "signal" };
  if (text.startsWith("http:/")) return { kind: "http", path: text.slice("http:".length) };
  if (!/^\d+$/.test(text)) throw new Mistake("expected a port, http:/PATH or signal");
  return { kind: "port", port: readPort(text) };
}

/** A path of a warm-up request. */
export function readRequestPath(text: string): string {
  if (!text.startsWith("/")) throw new Mistake("expected a path such as /health");
  return text;
}
