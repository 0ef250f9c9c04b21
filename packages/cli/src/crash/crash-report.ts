/** What `spore crash-report` does. */

import { readFileSync } from "node:fs";
import { sporeError } from "@spore/errors";
import type { Context } from "../command.ts";
import { type Crash, type KernelStop, parseReport } from "./crash.ts";
import { kernelReport } from "./kernel-report.ts";
import { crashReport } from "./report.ts";

/** Reads the crash from standard input and explains it on standard error. */
export function runCrashReport(context: Context): number {
  const crash = readCrash();
  for (const line of "problem" in crash ? kernelReport(crash) : crashReport(crash)) context.err(`${line}\n`);
  return 0;
}

function readCrash(): Crash | KernelStop {
  try {
    return parseReport(readFileSync(0, "utf8"));
  } catch (cause) {
    throw sporeError("SPORE_INTERNAL", { problem: "the crash description is not as expected" }, { cause });
  }
}
