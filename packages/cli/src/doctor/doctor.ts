/** What `spore doctor` does. */

import { join } from "node:path";
import { daemonHome } from "@spore/api";
import { registry } from "@spore/errors";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import { examine, type Finding } from "./checks.ts";
import { type Machine, thisMachine } from "./machine.ts";
import { productionChecks } from "./production.ts";

/** Carries out `spore doctor`. */
export function runDoctor(
  { production, json }: { readonly production: boolean; readonly json: boolean },
  context: Context,
  machine: Machine = thisMachine,
): number {
  const daemon = machine.read(join(daemonHome(context.env), "daemon.pid"))?.trim() ?? "self";
  const findings = [
    ...examine(machine, root),
    ...(production ? productionChecks(daemon).map((check) => check(machine, root)) : []),
  ];
  const healthy = findings.every(({ status }) => status !== "fail");
  context.out(json ? `${JSON.stringify({ ok: healthy, checks: findings })}\n` : table(findings));
  return healthy ? 0 : registry.SPORE_KVM_MISSING.exit;
}

/** The findings as a table, each fix below its line. */
function table(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.flatMap(({ name, status, found, fix }) => [
    `${status.padEnd(4)}  ${name.padEnd(width)}  ${found}`,
    ...(fix === "" ? [] : [`${" ".repeat(width + 8)}-> ${fix}`]),
  ]);
  return `${lines.join("\n")}\n`;
}
