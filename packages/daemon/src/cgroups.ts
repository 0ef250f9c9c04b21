/**
 * Limits of tenants that the kernel holds: one cgroup (version 2) each, with the
 * processes of its instances. Needs a cgroup of the daemon's own with the rights
 * to divide it, as systemd gives with Delegate= and DelegateSubgroup=; without, quotas of memory are
 * held by what an instance may have at most, and those of processor time are not.
 */

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What a tenant may have. */
export interface Limits {
  /** Percent of one processor. */
  readonly cpu: number | null;
  /** Bytes of all of its guests. */
  readonly memory: number | null;
}

/** Where the daemon itself stays: a cgroup with parts has no processes of its own. */
const OWN = "daemon";
const PERIOD_US = 100_000;
/** A monitor takes more than its guest: tables, rings, threads. */
const MONITOR_PART = 0.25;
const wanted = ["cpu", "memory"] as const;

/** The cgroups under the daemon's own. */
export class Cgroups {
  readonly #base: string;
  readonly #known = new Map<string, string>();

  private constructor(base: string) {
    this.#base = base;
  }

  /** Divides the daemon's cgroup; or says why that cannot be done. */
  static open(root: string = "/sys/fs/cgroup", self: string = "/proc/self/cgroup"): Cgroups | string {
    const path = /^0::(\/.*)$/m.exec(readFileSync(self, "utf8"))?.[1];
    if (path === undefined || !existsSync(join(root, "cgroup.controllers"))) {
      return "this host does not use cgroup version 2 alone";
    }
    // Only who was put aside may divide what is above: elsewhere a restart would find its own place taken.
    if (!path.endsWith(`/${OWN}`))
      return "systemd (254 or later) did not start the daemon with DelegateSubgroup=";
    const base = join(root, path.slice(0, -OWN.length - 1));
    try {
      const controllers = readFileSync(join(base, "cgroup.controllers"), "utf8").trim().split(" ");
      const missing = wanted.filter((name) => !controllers.includes(name));
      if (missing.length > 0) return `the daemon's cgroup has no ${missing.join(" and no ")} controller`;
      writeFileSync(join(base, "cgroup.subtree_control"), wanted.map((name) => `+${name}`).join(" "));
    } catch (thrown) {
      return `the daemon may not divide its cgroup (${(thrown as NodeJS.ErrnoException).code})`;
    }
    return new Cgroups(base);
  }

  /** Puts a process among those of a tenant. */
  place(tenant: string, pid: number, limits: Limits): void {
    this.limit(tenant, limits);
    try {
      writeFileSync(join(this.#folder(tenant), "cgroup.procs"), String(pid));
    } catch (thrown) {
      // It may have ended by now.
      if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
    }
  }

  /** Says what a tenant may have, from now on. */
  limit(tenant: string, limits: Limits): void {
    const { cpu, memory } = limits;
    const text = JSON.stringify([cpu, memory]);
    if (this.#known.get(tenant) === text) return;
    const folder = this.#folder(tenant);
    mkdirSync(folder, { recursive: true });
    const time = cpu === null ? "max" : String(Math.round((cpu / 100) * PERIOD_US));
    writeFileSync(join(folder, "cpu.max"), `${time} ${PERIOD_US}`);
    const bytes = memory === null ? "max" : String(Math.round(memory * (1 + MONITOR_PART)));
    writeFileSync(join(folder, "memory.max"), bytes);
    this.#known.set(tenant, text);
  }

  /** A tenant is gone; its processes are. */
  remove(tenant: string): void {
    this.#known.delete(tenant);
    try {
      rmdirSync(this.#folder(tenant));
    } catch {
      // One of them is still ending: an empty cgroup costs nothing.
    }
  }

  #folder(tenant: string): string {
    return join(this.#base, `tenant-${tenant}`);
  }
}
