/**
 * A PC with AMD's virtualisation and nested paging, emulated by QEMU: hardware
 * KVM on any machine. Boots a kernel with an initramfs and gives its console.
 */

import { spawn } from "node:child_process";

/** What is booted. */
export interface Boot {
  readonly kernel: string;
  readonly initramfs: string;
  /** Stops the machine after this time. */
  readonly limitMs: number;
  /** Sees the console as it grows. */
  readonly onConsole?: (chunk: string) => void;
}

/** How a machine ended. */
export interface Ended {
  /** Everything it wrote on its serial port, lines ended by "\n". */
  readonly console: string;
  /** What QEMU itself complained about. */
  readonly complaints: string;
  /** It had to be stopped. */
  readonly timedOut: boolean;
}

/** Runs a machine until it powers off. */
export function runMachine({ kernel, initramfs, limitMs, onConsole }: Boot): Promise<Ended> {
  const args = [
    ["-M", "q35", "-accel", "tcg", "-cpu", "EPYC,+svm,+npt,+fsgsbase", "-smp", "2", "-m", "2048"],
    ["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"],
    ["-kernel", kernel, "-initrd", initramfs],
    // The machine ends instead of waiting when its kernel panics.
    ["-append", "console=ttyS0 quiet panic=-1"],
  ].flat();
  const machine = spawn("qemu-system-x86_64", args, { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  let complaints = "";
  let timedOut = false;
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const limit = setTimeout(() => {
    timedOut = true;
    machine.kill("SIGKILL");
  }, limitMs);
  machine.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
    onConsole?.(chunk);
  });
  machine.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    complaints += chunk;
  });
  machine.on("error", (cause) => {
    clearTimeout(limit);
    reject(new Error("qemu-system-x86_64 cannot be started: install qemu-system-x86", { cause }));
  });
  machine.on("close", () => {
    clearTimeout(limit);
    resolve({ console: text.replaceAll("\r", ""), complaints, timedOut });
  });
  return promise;
}
