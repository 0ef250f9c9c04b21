/** What a machine with tenants that do not know each other needs besides: limits and walls of the host. */

import { type Check, type Finding, ok, warn } from "./checks.ts";
import type { Machine } from "./machine.ts";

/** All of them, in the order of the table; `daemon` is the process of the one that runs. */
export const productionChecks = (daemon: string): readonly Check[] => [
  (machine) => tenantLimits(machine, daemon),
  user,
  flaws,
  sharedCores,
  mergedPages,
  swap,
  coreDumps,
  openFiles,
];

const unit =
  "let systemd (254 or later) start the daemon: `spore up --print-unit` prints a unit that asks for it";

/** The same questions as packages/daemon/src/cgroups.ts asks. */
function tenantLimits(machine: Machine, daemon: string): Finding {
  const name = "tenant limits";
  const path = /^0::(\/.*)$/m.exec(machine.read(`/proc/${daemon}/cgroup`) ?? "")?.[1];
  const root = "/sys/fs/cgroup";
  if (path === undefined || !machine.exists(`${root}/cgroup.controllers`)) {
    const fix = "start the kernel with systemd.unified_cgroup_hierarchy=1";
    return warn(name, "no cgroup version 2: quotas of processor time are not held", fix);
  }
  if (!path.endsWith("/daemon")) {
    return warn(name, "no daemon that systemd has started: quotas of processor time are not held", unit);
  }
  const base = `${root}${path.replace(/\/daemon$/, "")}`;
  const controllers = (machine.read(`${base}/cgroup.controllers`) ?? "").trim().split(" ");
  const missing = ["cpu", "memory"].filter((controller) => !controllers.includes(controller));
  if (missing.length > 0) {
    return warn(name, `this cgroup has no ${missing.join(" and no ")} controller`, unit);
  }
  if (!machine.writable(`${base}/cgroup.subtree_control`)) {
    return warn(name, "this cgroup may not be divided: quotas of processor time are not held", unit);
  }
  return ok(name, "cgroup version 2 with cpu and memory");
}

function user(machine: Machine): Finding {
  const id = /^Uid:\s+(\d+)/m.exec(machine.read("/proc/self/status") ?? "")?.[1];
  if (id === "0") {
    const fix = "run the daemon as a user of its own, in the group of /dev/kvm: monitors have its rights";
    return warn("user", "root", fix);
  }
  return ok("user", `not root (${id ?? "unknown"})`);
}

const known = [
  "gather_data_sampling",
  "itlb_multihit",
  "l1tf",
  "mds",
  "meltdown",
  "mmio_stale_data",
  "reg_file_data_sampling",
  "retbleed",
  "spec_rstack_overflow",
  "spec_store_bypass",
  "spectre_v1",
  "spectre_v2",
  "srbds",
  "tsx_async_abort",
];

function flaws(machine: Machine): Finding {
  const open = known.filter((flaw) =>
    machine.read(`/sys/devices/system/cpu/vulnerabilities/${flaw}`)?.startsWith("Vulnerable"),
  );
  if (open.length === 0) return ok("processor flaws", "none that the kernel leaves open");
  const fix = "update kernel and microcode, and start the kernel without mitigations=off";
  return warn("processor flaws", `open: ${open.join(", ")}`, fix);
}

function sharedCores(machine: Machine): Finding {
  if (machine.read("/sys/devices/system/cpu/smt/active")?.trim() !== "1") {
    return ok("shared cores", "no simultaneous multithreading");
  }
  const fix = "start the kernel with nosmt: two tenants on one core can time each other";
  return warn("shared cores", "simultaneous multithreading is on", fix);
}

function mergedPages(machine: Machine): Finding {
  if ((machine.read("/sys/kernel/mm/ksm/run")?.trim() ?? "0") === "0") {
    return ok("merged pages", "the kernel merges none");
  }
  const fix = "`echo 0 | sudo tee /sys/kernel/mm/ksm/run`: merged pages tell tenants of each other";
  return warn("merged pages", "the kernel merges equal pages", fix);
}

function swap(machine: Machine): Finding {
  const areas = (machine.read("/proc/swaps") ?? "").trim().split("\n").slice(1);
  // Compressed memory is no disk.
  const disks = areas
    .map((line) => line.split(/\s+/)[0] ?? "")
    .filter((area) => !area.startsWith("/dev/zram"));
  if (disks.length === 0) return ok("swap", "no guest memory goes to a disk");
  return warn("swap", disks.join(", "), "switch it off or encrypt it: guest memory holds secrets");
}

function coreDumps(machine: Machine): Finding {
  const pattern = machine.read("/proc/sys/kernel/core_pattern")?.trim() ?? "";
  const limit = /^Max core file size\s+(\S+)/m.exec(machine.read("/proc/self/limits") ?? "")?.[1];
  if (limit === "0" || pattern === "" || /^\|\s*\/bin\/(false|true)/.test(pattern)) {
    return ok("core dumps", "none are kept");
  }
  const fix = "`LimitCORE=0` in the unit: a dump of a monitor holds its guest's memory";
  return warn("core dumps", `kept (${pattern})`, fix);
}

function openFiles(machine: Machine): Finding {
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(machine.read("/proc/self/limits") ?? "")?.[1] ?? "0";
  if (limit === "unlimited" || Number(limit) >= 65_536) return ok("open files", `up to ${limit}`);
  return warn("open files", `up to ${limit}`, "`LimitNOFILE=65536` in the unit");
}
