/** On what was measured: without it a figure says nothing. */

import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";

/** What is printed beside every table. */
export interface Machine {
  /** KVM module that runs the guests. */
  readonly backend: string;
  readonly cpu: string;
  /** Processors that this process may use. */
  readonly processors: readonly number[];
  readonly kernel: string;
  /** Load of the last minute: figures of a busy machine are worth less. */
  readonly load: number;
}

/** Looks at this machine. */
export function thisMachine(): Machine {
  const modules = ["kvm_intel", "kvm_amd", "kvm_pvm"];
  return {
    backend: modules.find((name) => existsSync(`/sys/module/${name}`)) ?? "unknown",
    cpu: /^model name\s*: (.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "unknown",
    processors: allowed(readFileSync("/proc/self/status", "utf8")),
    kernel: release(),
    load: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}

/** The processors in `Cpus_allowed_list`, such as "0-3,8". */
export function allowed(status: string): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0";
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
