/** `spore build --record`: runs the app while a command exercises it, and keeps what it used. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { sporeError } from "@spore/errors";
import { type Image, launchPlan, type RunOptions } from "@spore/image";
import { checkKvm, findMonitor, Instance, launchConfig } from "@spore/monitor-client";
import { makeRecording, type Recording } from "@spore/needs";
import { root } from "./checkout.ts";
import type { Context } from "./command.ts";

/** Runs an image, then the command with SPORE_URL and PORT in its environment, then stops the app. */
export async function record(
  image: Image,
  options: RunOptions,
  command: string,
  context: Context,
): Promise<Recording> {
  checkKvm();
  const config = launchConfig(
    { ...launchPlan(image, options), publish: null },
    { events: "json", built: null, trace: false, record: true, gdb: null, reporter: null },
    { anyPort: true },
  );
  await using instance = Instance.start(findMonitor(root, context.env), config);
  const listening = await instance.event("listening");
  // A program that serves nobody has done what it does.
  if (listening !== null) {
    const { port } = new URL(listening.url);
    const status = await exercise(command, { SPORE_URL: listening.url, PORT: port }, context);
    if (status !== 0) throw failed(`the command ended with status ${status}`);
    instance.signal("SIGTERM");
  }
  await instance.ended;
  const used = instance.events.find(({ event }) => event === "used");
  if (used?.event !== "used") throw failed("the library OS told nothing of what was used");
  return makeRecording(command, used);
}

/** Writes a recording where later builds find it. */
export function keepRecording(recording: Recording, path: string): void {
  try {
    writeFileSync(path, `${JSON.stringify(recording, null, 2)}\n`);
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_OUTPUT_WRITE", { file: path, problem }, { cause });
  }
}

async function exercise(
  command: string,
  variables: Readonly<Record<string, string>>,
  context: Context,
): Promise<number> {
  const env = { ...context.env, ...variables };
  const child = spawn("/bin/sh", ["-c", command], { cwd: context.cwd, env, stdio: ["ignore", 2, 2] });
  const [code] = await once(child, "exit");
  return typeof code === "number" ? code : 128;
}

function failed(problem: string): Error {
  return sporeError("SPORE_RECORD_FAILED", { problem });
}
