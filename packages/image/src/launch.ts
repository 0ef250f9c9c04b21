/** From an image and the options of one run to what the monitor boots. */

import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { constants } from "node:os";
import { sporeError } from "@spore/errors";
import type { GuestConfig, GuestRights } from "@spore/monitor-client";
import { PRELOAD_PATH } from "./guest-paths.ts";
import { alignUp, FREE_GPA, HUGE, LAYERS_GPA, MAX_RAM, MIN_RAM } from "./memory-map.ts";
import { kernelFile } from "./packed-kernel.ts";
import { defaultStore, type Store, storeAt } from "./store.ts";
import type { Image, LaunchFile, ProgramLayout, Rights, RunOptions } from "./types.ts";

/**
 * The part of the monitor's launch configuration that follows from image and
 * run options. The caller adds stdio, events, policy, tracing and debugging.
 */
export type LaunchPlan = GuestConfig;

/** Memory above the program's own regions without which nothing useful runs. */
const ROOM = 8 << 20;
/** What every program finds unless image or run say otherwise. */
const BASE_ENV: Readonly<Record<string, string>> = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
};

/** Combines an image with the options of one run. Reads /etc/resolv.conf of the host. */
export function launchPlan(
  image: Image,
  options: RunOptions = {},
  store: Store = storeAt(defaultStore()),
): LaunchPlan {
  const { program, defaults } = image;
  const hostname = options.hostname ?? "spore";
  const env = { ...BASE_ENV, ...defaults.env, ...options.env };
  const publish = options.publish ?? defaults.publish;
  const files = mergeFiles(networkFiles(hostname), options.files ?? []);
  return {
    version: 1,
    memory: checkedMemory(options.memory ?? defaults.memory, program),
    kernel: { ...kernelFile(image.kernel, store), memoryLength: image.kernel.memoryLength },
    layers: placeLayers(image),
    shared: program.shared.map((region) => ({ ...region, va: hex(region.va) })),
    private: program.private.map((region) => ({
      va: hex(region.va),
      gpa: hex(region.gpa),
      length: region.length,
      parts: region.parts.map((part) => ({ ...part })),
    })),
    program: programConfig(program),
    argv: [...defaults.argv, ...(options.args ?? defaults.args)],
    env: Object.entries(env).map(([key, value]) => `${key}=${value}`),
    cwd: options.cwd ?? defaults.cwd,
    hostname,
    files,
    publish: publish ? publish.map((port) => ({ ...port })) : null,
    rights: rightsOf(image.rights, files),
    user: image.user,
    stopSignal: constants.signals[image.stopSignal],
  };
}

/** The plan for a machine that nobody can freeze: Node.js starts without what only a restore needs. */
export function neverFrozen(plan: LaunchPlan): LaunchPlan {
  const at = plan.argv.indexOf(PRELOAD_PATH);
  return plan.argv[at - 1] === "--require" ? { ...plan, argv: plan.argv.toSpliced(at - 1, 2) } : plan;
}

/** What the image declares; the name servers are those that the guest is told of. */
function rightsOf({ devices, ports, destinations }: Rights, files: readonly LaunchFile[]): GuestRights {
  const settings = files.find(({ path }) => path === "/etc/resolv.conf")?.data ?? "";
  const servers = [...settings.matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)].map(([, server = ""]) => server);
  return {
    console: devices.includes("console"),
    network: devices.includes("network"),
    ports,
    destinations,
    // Without one, the C library asks the machine itself.
    resolvers: servers.length === 0 ? ["127.0.0.1"] : servers.filter((server) => isIP(server) !== 0),
  };
}

/** Bytes of memory that the image's program takes before anything else. */
function checkedMemory(wanted: number, program: ProgramLayout): number {
  const memory = alignUp(wanted, HUGE);
  const end = program.private.reduce(
    (highest, region) => Math.max(highest, region.gpa + region.length),
    FREE_GPA,
  );
  const needed = Math.max(MIN_RAM, end + ROOM);
  if (memory < needed) {
    throw sporeError("SPORE_MEMORY_TOO_SMALL", { memory: mebibytes(wanted), needed: mebibytes(needed) });
  }
  if (memory > MAX_RAM) {
    throw sporeError("SPORE_MEMORY_UNAVAILABLE", {
      memory: mebibytes(wanted),
      problem: `a guest has at most ${mebibytes(MAX_RAM)}`,
    });
  }
  return memory;
}

function placeLayers(image: Image): LaunchPlan["layers"] {
  let gpa = LAYERS_GPA;
  return image.layers.map((layer) => {
    const placed = { path: layer.path, offset: layer.offset, length: layer.length, gpa: hex(gpa) };
    gpa += alignUp(layer.length, HUGE);
    return placed;
  });
}

function programConfig(program: ProgramLayout): LaunchPlan["program"] {
  return {
    path: program.path,
    startRip: hex(program.startRip),
    entry: hex(program.entry),
    phdr: hex(program.phdr),
    phnum: program.phnum,
    interpBase: hex(program.interpBase),
    brkStart: hex(program.brkStart),
    vmas: program.mappings.map((mapping) => ({
      ...mapping,
      start: hex(mapping.start),
      end: hex(mapping.end),
    })),
  };
}

/** Names and resolver settings: the host's resolver, the guest's own name. */
function networkFiles(hostname: string): LaunchFile[] {
  const hosts = `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 ${hostname}\n`;
  const files = [
    { path: "/etc/hosts", mode: 0o644, data: hosts },
    { path: "/etc/hostname", mode: 0o644, data: `${hostname}\n` },
  ];
  try {
    files.push({ path: "/etc/resolv.conf", mode: 0o644, data: readFileSync("/etc/resolv.conf", "utf8") });
  } catch {
    // A host without resolver settings: the guest then asks 127.0.0.1, as the host would.
  }
  return files;
}

function mergeFiles(files: readonly LaunchFile[], over: readonly LaunchFile[]): LaunchFile[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  for (const file of over) byPath.set(file.path, file);
  return [...byPath.values()];
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
