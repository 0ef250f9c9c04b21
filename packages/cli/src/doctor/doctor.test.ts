import { describe, expect, test } from "vitest";
import { testContext } from "../test-context.ts";
import { examine } from "./checks.ts";
import { runDoctor } from "./doctor.ts";
import type { Machine } from "./machine.ts";

const flags = "fpu sse4_2 xsave fsgsbase constant_tsc";
const healthyFiles: Readonly<Record<string, string>> = {
  "/dev/kvm": "",
  "/sys/module/kvm_amd": "",
  "/proc/cpuinfo": `processor\t: 0\nmodel name\t: Test CPU\nflags\t\t: ${flags}\nprocessor\t: 1\n`,
  "/proc/meminfo": "MemTotal:       8388608 kB\nMemAvailable:   4194304 kB\n",
  "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
  "/sys/kernel/mm/transparent_hugepage/shmem_enabled": "always [advise] never\n",
  "/proc/sys/kernel/osrelease": "6.1.0\n",
  "/spore/Cargo.toml": 'rust-version = "1.95"\n',
  "/spore/target/release/spore-monitor": "",
  "/spore/build/kernel.a": "",
};

function machine(
  changes: Readonly<Record<string, string | undefined>> = {},
  cargo = "cargo 1.95.0",
): Machine {
  const files = { ...healthyFiles, ...changes };
  return {
    read: (path) => files[path],
    exists: (path) => files[path] !== undefined,
    writable: (path) => files[path] !== undefined && files[path] !== "forbidden",
    executable: (path) => files[path] !== undefined,
    ask: (command) => (command === "uname" ? "Linux x86_64" : cargo || undefined),
    nodeVersion: "24.1.0",
  };
}

function finding(name: string, of: Machine) {
  return examine(of, "/spore").find((candidate) => candidate.name === name);
}

test("nothing to do on a machine that has everything", () => {
  for (const { status, fix } of examine(machine(), "/spore"))
    expect({ status, fix }).toEqual({ status: "ok", fix: "" });
});

describe("what is missing is named, with what to do", () => {
  test.each([
    ["kvm", machine({ "/dev/kvm": undefined }), "does not exist", "modprobe"],
    ["kvm", machine({ "/dev/kvm": "forbidden" }), "no permission", "usermod -aG kvm"],
    [
      "cpu",
      machine({ "/proc/cpuinfo": "processor : 0\nmodel name : Old\nflags : fpu\n" }),
      "without fsgsbase",
      "2013",
    ],
    [
      "memory",
      machine({ "/proc/meminfo": "MemTotal: 65536 kB\nMemAvailable: 65536 kB\n" }),
      "64 MiB",
      "free",
    ],
    ["rust", machine({ "/spore/build/kernel.a": undefined }, ""), "no cargo", "1.95"],
    ["rust", machine({}, "cargo 1.80.1 (376290515 2024-07-16)"), "1.80", "1.95"],
    ["monitor", machine({ "/spore/target/release/spore-monitor": undefined }), "not built", "launcher"],
    ["library OS", machine({ "/spore/build/kernel.a": undefined }), "not built", "launcher"],
  ])("%s", (name, of, found, fix) => {
    expect(finding(name, of)).toMatchObject({
      status: "fail",
      found: expect.stringContaining(found),
      fix: expect.stringContaining(fix),
    });
  });
});

test("what only costs speed is a warning", () => {
  const never = machine({ "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]" });
  expect(finding("huge pages", never)?.status).toBe("warn");
});

test("the table and the exit status say whether it will work", () => {
  const context = testContext();
  expect(runDoctor({ production: false, json: false }, context, machine({ "/dev/kvm": undefined }))).toBe(69);
  expect(context.output()).toMatch(/^fail {2}kvm {9}\/dev\/kvm does not exist\n {18}-> load kvm_intel/m);
});

describe("--production", () => {
  const hostile = {
    "/sys/kernel/mm/ksm/run": "1\n",
    "/proc/swaps": "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
    "/sys/devices/system/cpu/smt/active": "1\n",
    "/sys/devices/system/cpu/vulnerabilities/meltdown": "Vulnerable\n",
    "/proc/self/limits": "Max open files            1024                 4096                 files\n",
    "/proc/self/status": "Uid:\t0\t0\t0\t0\n",
    "/proc/sys/kernel/core_pattern": "core\n",
    "/proc/self/cgroup": "1:cpu:/\n",
  };
  const walled = {
    ...hostile,
    "/sys/kernel/mm/ksm/run": "0\n",
    "/proc/swaps": "Filename Type Size Used Priority\n",
    "/sys/devices/system/cpu/smt/active": "0\n",
    "/sys/devices/system/cpu/vulnerabilities/meltdown": "Mitigation: PTI\n",
    "/proc/self/limits": "Max open files            65536                65536                files\n",
    "/proc/self/status": "Uid:\t1000\t1000\t1000\t1000\n",
    "/proc/sys/kernel/core_pattern": "|/bin/false\n",
    "/proc/self/cgroup": "0::/user.slice/spore.service/daemon\n",
    "/sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
    "/sys/fs/cgroup/user.slice/spore.service/cgroup.controllers": "cpu memory\n",
    "/sys/fs/cgroup/user.slice/spore.service/cgroup.subtree_control": "cpu memory\n",
  };
  const found = (files: Readonly<Record<string, string>>) => {
    const context = testContext();
    runDoctor({ production: true, json: true }, context, machine(files));
    const { checks } = JSON.parse(context.output()) as { checks: { name: string; status: string }[] };
    return Object.fromEntries(checks.map(({ name, status }) => [name, status]));
  };
  const names = [
    "tenant limits",
    "user",
    "processor flaws",
    "shared cores",
    "merged pages",
    "swap",
    "core dumps",
  ];

  test.each(names)(
    "%s that lets tenants near each other is a warning, and none where it does not",
    (name) => {
      expect(found(hostile)[name]).toBe("warn");
      expect(found(walled)[name]).toBe("ok");
    },
  );

  test("too few open files are a warning", () => {
    expect(found(hostile)["open files"]).toBe("warn");
    expect(found(walled)["open files"]).toBe("ok");
  });
});

test("--json is one object", () => {
  const context = testContext();
  runDoctor({ production: false, json: true }, context, machine());
  expect(JSON.parse(context.output())).toMatchObject({
    checks: expect.arrayContaining([expect.objectContaining({ name: "kvm", status: "ok" })]),
  });
});
