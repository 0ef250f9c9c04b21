/** Flags and spore.config.ts, brought together: flags win. */

import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import {
  type BuildOptions,
  type NodeMajor,
  type Publish,
  parseInclude,
  type RunOptions,
  targetKind,
} from "@spore/image";
import type { PiecesMode, Recording } from "@spore/needs";
import type { Watch } from "../launch-record.ts";
import { type Config, findConfig, loadConfig } from "./config-file.ts";
import { readEnvFile } from "./env-file.ts";
import { moduleTarget } from "./module-target.ts";
import { keptRecording, recordingPath } from "./recording.ts";

/** The flags that `run` and `build` share, as the parser gives them. */
export interface ImageFlags {
  readonly publish: readonly Publish[];
  readonly env: readonly (readonly [string, string])[];
  readonly "env-file": string | undefined;
  readonly memory: number | undefined;
  readonly include: readonly string[];
  readonly cwd: string | undefined;
  readonly node: NodeMajor | undefined;
  readonly pieces: PiecesMode | undefined;
  readonly recording: string | undefined;
  readonly piece: readonly string[];
  readonly without: readonly string[];
  readonly explain: boolean;
  readonly "no-patch": boolean;
}

/** What holds if no flag is given. */
export const noFlags: ImageFlags = {
  publish: [],
  env: [],
  "env-file": undefined,
  memory: undefined,
  include: [],
  cwd: undefined,
  node: undefined,
  explain: false,
  "no-patch": false,
  pieces: undefined,
  recording: undefined,
  piece: [],
  without: [],
};

/** What decides the files of an image, and what a run uses beside them. */
export interface Settings {
  /** Goes into the image whatever the command. */
  readonly contents: BuildOptions;
  /** `run` uses it now; `build` keeps it in the image. */
  readonly defaults: Pick<RunOptions, "args" | "env" | "cwd" | "memory" | "publish">;
  /** The configuration file that was used. */
  readonly configFile: string | undefined;
}

/** Brings together what the flags and the target's configuration file say. */
export async function resolveSettings(
  named: string,
  flags: ImageFlags,
  args: readonly string[] | undefined,
  cwd: string,
  watch: Watch | null = null,
): Promise<Settings> {
  const module = moduleTarget(resolve(cwd, named), watch);
  const target = module?.project ?? named;
  const path = resolve(cwd, target);
  const configFile = findConfig(path, watch);
  const written = configFile === undefined ? {} : await loadConfig(configFile, watch);
  const config = module === undefined ? written : { ...written, entry: module.entry };
  for (const file of envFiles(path, flags, config, cwd)) watch?.path(file);
  const recording = await recordingOf(target, path, flags, config, cwd, watch);
  return {
    contents: { ...contentsOf(target, path, flags, config, cwd), ...(recording && { recording }) },
    defaults: defaultsOf(path, flags, config, args, cwd),
    configFile,
  };
}

/** Files with variables; the later win. */
function envFiles(path: string, flags: ImageFlags, config: Config, cwd: string): string[] {
  return [
    ...(config.envFile === undefined ? [] : [resolve(path, config.envFile)]),
    ...(flags["env-file"] === undefined ? [] : [resolve(cwd, flags["env-file"])]),
  ];
}

function contentsOf(
  target: string,
  path: string,
  flags: ImageFlags,
  config: Config,
  cwd: string,
): BuildOptions {
  const fromConfig = (config.include ?? []).map((text) => parseInclude(text, path));
  const include = [...fromConfig, ...flags.include.map((text) => parseInclude(text, cwd))];
  const node = flags.node ?? config.node;
  const pieces = flags.pieces ?? config.pieces;
  return {
    target,
    base: cwd,
    ...(include.length > 0 && { include }),
    ...(config.entry !== undefined && { entry: config.entry }),
    ...(node !== undefined && { node }),
    ...((flags["no-patch"] || config.patch === false) && { patch: false }),
    ...(pieces !== undefined && { pieces }),
    ...(flags.piece.length > 0 && { more: flags.piece }),
    ...(flags.without.length > 0 && { without: flags.without }),
    ...policyOf(config),
  };
}

/** What the app used while it was recorded, if that decides. */
async function recordingOf(
  target: string,
  path: string,
  flags: ImageFlags,
  config: Config,
  cwd: string,
  watch: Watch | null,
): Promise<Recording | undefined> {
  if ((flags.pieces ?? config.pieces) !== "recorded" || targetKind(path, target) === "image")
    return undefined;
  const asked = flags.recording === undefined ? undefined : resolve(cwd, flags.recording);
  const place = recordingPath(path, asked);
  if (place !== undefined) watch?.path(place);
  return keptRecording(target, place);
}

/** What the image declares of itself, whatever runs it. */
function policyOf(config: Config): Pick<BuildOptions, "user" | "stopSignal" | "health" | "rights"> {
  const { user, stopSignal, health, ports, destinations, devices } = config;
  const rights = {
    ...(ports !== undefined && { ports }),
    ...(destinations !== undefined && { destinations }),
    ...(devices !== undefined && { devices }),
  };
  return {
    ...(user !== undefined && { user }),
    ...(stopSignal !== undefined && { stopSignal }),
    ...(health !== undefined && { health }),
    ...(Object.keys(rights).length > 0 && { rights }),
  };
}

function defaultsOf(
  path: string,
  flags: ImageFlags,
  config: Config,
  restArgs: readonly string[] | undefined,
  cwd: string,
): Settings["defaults"] {
  const env = {
    ...(config.envFile !== undefined && readEnvFile(resolve(path, config.envFile))),
    ...config.env,
    ...(flags["env-file"] !== undefined && readEnvFile(resolve(cwd, flags["env-file"]))),
    ...Object.fromEntries(flags.env),
  };
  const args = restArgs ?? config.args;
  const publish = flags.publish.length > 0 ? flags.publish : config.publish;
  checkOnce(publish ?? []);
  const guestCwd = flags.cwd ?? config.cwd;
  const memory = flags.memory ?? config.memory;
  return {
    ...(Object.keys(env).length > 0 && { env }),
    ...(args !== undefined && { args }),
    ...(publish !== undefined && { publish }),
    ...(guestCwd !== undefined && { cwd: guestCwd }),
    ...(memory !== undefined && { memory }),
  };
}

/** One port of the host leads to one of the guest. */
function checkOnce(publish: readonly Publish[]): void {
  const places = publish
    .filter(({ host }) => host !== 0)
    .map(
      ({ address, host, protocol }) => `${address}:${host}${protocol === undefined ? "" : `/${protocol}`}`,
    );
  const twice = places.find((place, index) => places.indexOf(place) < index);
  if (twice === undefined) return;
  throw sporeError("SPORE_USAGE", { problem: `${twice} is published twice`, command: "run" });
}
