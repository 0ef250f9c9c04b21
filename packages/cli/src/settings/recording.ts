/** The recording that `--pieces recorded` goes by: where it is kept, and reading it. */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { sporeError } from "@spore/errors";
import type { Recording } from "@spore/needs";

/** All calls and files of the library OS take a hundredth of it. */
const LARGEST: number = 4 << 20;

/**
 * Where the recording of a target is kept: where `--recording` says, else in a project's folder or
 * beside the image that is written. undefined: a program of which no image is written has no such place.
 */
export function recordingPath(
  target: string,
  asked: string | undefined,
  output?: string,
): string | undefined {
  if (asked !== undefined) return asked;
  const isProject = statSync(target, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isProject) return join(target, "spore.recording.json");
  return output === undefined ? undefined : `${output}.recording.json`;
}

/** Reads a kept recording. Throws SPORE_RECORDING_MISSING and SPORE_RECORDING_INVALID. */
export async function keptRecording(target: string, path: string | undefined): Promise<Recording> {
  if (path === undefined) throw missing(target, "--recording FILE does not say where it is");
  const { readRecording } = await import("@spore/needs");
  const text = textOf(target, path);
  const recording = text === undefined ? undefined : readRecording(text);
  if (!recording) throw sporeError("SPORE_RECORDING_INVALID", { file: path });
  return recording;
}

/** The text of a file; undefined for what cannot be a recording: a device, a pipe, or far too much. */
function textOf(target: string, path: string): string | undefined {
  try {
    const stat = statSync(path);
    return stat.isFile() && stat.size <= LARGEST ? readFileSync(path, "utf8") : undefined;
  } catch (cause) {
    const problem = cause instanceof Error && "code" in cause ? `${path} (${cause.code})` : path;
    throw missing(target, `${problem} cannot be read`, cause);
  }
}

function missing(target: string, problem: string, cause?: unknown): Error {
  return sporeError("SPORE_RECORDING_MISSING", { target, problem }, { cause });
}
