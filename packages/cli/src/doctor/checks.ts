/** What Spore needs of a machine, one check each. */

import { join } from "node:path";
import type { Machine } from "./machine.ts";

/** What one check found. */
export interface Finding {
  readonly name: string;
  /** `warn`: works, but not as well as it could. `fail`: does not work. */
  readonly status: "ok" | "warn" | "fail";
  readonly found: string;
  /** What to do about it; empty if nothing. */
  readonly fix: string;
}

/** Looks at one thing. */
export type Check = (machine: Machine, root: string) => Finding;

const backends: Readonly<Record<string, string>> = {
  kvm_intel: "Intel VT-x, hardware",
  kvm_amd: "AMD-V, hardware",
  kvm_pvm: "PVM, software shadow paging",
};

/** All checks, in the order of the table. */
export const checks: readonly Check[] = [
  platform,
  kvm,
  backend,
  cpu,
  memory,
  hugePages,
  node,
  rust,
  monitor,
  kernel,
];

/** All findings about a machine. */
export function examine(machine: Machine, root: string): readonly Finding[] {
  return checks.map((check) => check(machine, root));
}

/** What a check found: ok. */
export function ok(name: string, found: string): Finding {
  return { name, status: "ok", found, fix: "" };
}

/** What a check found: warn. */
export function warn(name: string, found: string, fix: string): Finding {
  return { name, status: "warn", found, fix };
}

/** What a check found: fail. */
export function fail(name: string, found: string, fix: string): Finding {
  return { name, status: "fail", found, fix };
}

function platform(machine: Machine): Finding {
  const system = machine.ask("uname", "-sm") ?? "unknown";
  if (system === "Linux x86_64") {
    return ok("system", `Linux ${machine.read("/proc/sys/kernel/osrelease")?.trim() ?? ""} on x86-64`);
  }
  return fail("system", system, "use a Linux machine with an x86-64 processor");
}

function kvm(machine: Machine): Finding {
  const device = "/dev/kvm";
  if (!machine.exists(device)) {
    const fix =
      "load kvm_intel or kvm_amd (`sudo modprobe`), switch virtualisation on in the firmware; in a virtual machine, switch nested virtualisation on";
    return fail("kvm", `${device} does not exist`, fix);
  }
  if (!machine.writable(device)) {
    const fix = 'add yourself to its group (`sudo usermod -aG kvm "$USER"`) and log in again';
    return fail("kvm", `no permission for ${device}`, fix);
  }
  return ok("kvm", `${device} may be opened`);
}

function backend(machine: Machine): Finding {
  const found = Object.keys(backends).find((module) => machine.exists(`/sys/module/${module}`));
  if (found === undefined) {
    return warn("backend", "unknown KVM module", "tell us which one it is if something does not work");
  }
  return ok("backend", `${found} (${backends[found]})`);
}

/** Instructions that the library OS uses without asking. */
const neededFlags = ["fsgsbase", "xsave", "sse4_2", "constant_tsc"];

function cpu(machine: Machine): Finding {
  const info = machine.read("/proc/cpuinfo") ?? "";
  const model = /^model name\s*:\s*(.*)$/m.exec(info)?.[1] ?? "unknown";
  const count = info.match(/^processor\s*:/gm)?.length ?? 0;
  const flags = new Set((/^flags\s*:\s*(.*)$/m.exec(info)?.[1] ?? "").split(" "));
  const missing = neededFlags.filter((name) => !flags.has(name));
  const found = `${model}, ${count} ${count === 1 ? "core" : "cores"}`;
  if (missing.length > 0) {
    return fail("cpu", `${found}, without ${missing.join(", ")}`, "use a processor from 2013 or later");
  }
  if (count < 2) {
    return warn("cpu", found, "give it two cores: network input and output then run beside the program");
  }
  return ok("cpu", found);
}

function memory(machine: Machine): Finding {
  const info = machine.read("/proc/meminfo") ?? "";
  const mebibytes = (name: string): number =>
    Math.floor(Number(new RegExp(`^${name}:\\s*(\\d+) kB`, "m").exec(info)?.[1] ?? 0) / 1024);
  const available = mebibytes("MemAvailable");
  const found = `${available} MiB of ${mebibytes("MemTotal")} MiB available`;
  if (available < 128) return fail("memory", found, "free memory: a Node program takes about 128 MiB");
  if (available < 1024) return warn("memory", found, "give runs a --memory that fits");
  return ok("memory", found);
}

function hugePages(machine: Machine): Finding {
  const directory = "/sys/kernel/mm/transparent_hugepage";
  const chosen = (name: string): string =>
    /\[(\w+)\]/.exec(machine.read(`${directory}/${name}`) ?? "")?.[1] ?? "unknown";
  const [enabled, shared] = [chosen("enabled"), chosen("shmem_enabled")];
  const reserved = machine.read("/proc/sys/vm/nr_hugepages")?.trim() ?? "0";
  const found = `transparent: ${enabled}, shared memory: ${shared}, reserved: ${reserved}`;
  if (enabled === "never" || enabled === "unknown") {
    return warn("huge pages", found, `\`echo madvise | sudo tee ${directory}/enabled\` makes memory faster`);
  }
  return ok("huge pages", found);
}

function node(machine: Machine): Finding {
  const major = Number.parseInt(machine.nodeVersion, 10);
  const found = `Node.js ${machine.nodeVersion}`;
  if (major < 24)
    return fail("node", found, "start Spore through the `spore` launcher, which uses Node.js 24");
  return ok("node", found);
}

function rust(machine: Machine, root: string): Finding {
  const wanted = /^rust-version\s*=\s*"([\d.]+)"/m.exec(machine.read(join(root, "Cargo.toml")) ?? "")?.[1];
  if (wanted === undefined) return ok("rust", "not needed: this is no checkout");
  const found = machine.ask("cargo", "--version");
  const fix = `install Rust ${wanted} or later from https://rustup.rs`;
  const built = machine.executable(join(root, monitorPath)) && machine.exists(join(root, kernelPath));
  if (found === undefined) {
    return built ? warn("rust", "no cargo; what it builds is there", fix) : fail("rust", "no cargo", fix);
  }
  const version = /(\d+)\.(\d+)/.exec(found);
  const [major, minor] = wanted.split(".").map(Number);
  const older = Number(version?.[1]) !== major || Number(version?.[2]) < (minor ?? 0);
  return older ? fail("rust", found, fix) : ok("rust", found);
}

const monitorPath = "target/release/spore-monitor";
const kernelPath = "build/kernel.a";

function monitor(machine: Machine, root: string): Finding {
  return built(machine.executable(join(root, monitorPath)), "monitor", monitorPath);
}

function kernel(machine: Machine, root: string): Finding {
  return built(machine.exists(join(root, kernelPath)), "library OS", kernelPath);
}

function built(there: boolean, name: string, path: string): Finding {
  if (there) return ok(name, path);
  return fail(
    name,
    `${path} is not built`,
    "start any program through the `spore` launcher: it builds what is missing",
  );
}
