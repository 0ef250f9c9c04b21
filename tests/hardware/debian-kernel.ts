/**
 * Debian's kernel with its KVM modules, unpacked from the package and kept in
 * build/hardware: nothing is installed, and the second time nothing is fetched.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A kernel on this host. */
export interface DebianKernel {
  /** Its compressed image, as QEMU takes it. */
  readonly image: string;
  /** Module files in the order in which they must be inserted. */
  readonly modules: readonly string[];
}

/** Modules of kvm-amd, dependencies first; a kernel may have some of them built in. */
const MODULES = ["irqbypass", "rng-core", "ccp", "kvm", "kvm-amd"];
const REQUIRED = new Set(["kvm", "kvm-amd"]);
const PACKAGE = "linux-image-amd64";

/** The kernel, from `cache` or from Debian's archive. */
export function debianKernel(cache: string): DebianKernel {
  const home = join(cache, "debian-kernel");
  if (!existsSync(home)) {
    mkdirSync(cache, { recursive: true });
    const work = mkdtempSync(join(cache, "unpacking-"));
    try {
      unpack(download(work), work);
      // Whole or not there: an interrupted download is never taken for a kernel.
      renameSync(work, home);
    } catch (error) {
      rmSync(work, { recursive: true, force: true });
      throw error;
    }
  }
  return kernelIn(home);
}

function kernelIn(home: string): DebianKernel {
  const names = readdirSync(home);
  const modules: string[] = [];
  for (const module of MODULES) {
    if (names.includes(`${module}.ko`)) modules.push(join(home, `${module}.ko`));
    else if (REQUIRED.has(module)) throw new Error(`${home} has no ${module}.ko: remove it and try again`);
  }
  return { image: join(home, "vmlinuz"), modules };
}

/** Fetches the package of the kernel that Debian recommends; gives its path. */
function download(folder: string): string {
  const first = fetchInto(folder);
  if (first !== null) return first;
  // A fresh container has no package lists, an old one lists what is gone; only root may fetch them.
  if (process.getuid?.() === 0) execFileSync("apt-get", ["update", "-qq"], { stdio: "inherit" });
  const second = fetchInto(folder);
  if (second !== null) return second;
  throw new Error(
    `${PACKAGE} cannot be downloaded: run "apt-get update" as root, on Debian and with a network`,
  );
}

/** One attempt; null if the package is unknown or not to be had. */
function fetchInto(folder: string): string | null {
  const name = currentPackage();
  if (name === null) return null;
  // apt complains when its own user cannot write here, and goes on as root.
  const { status } = spawnSync("apt-get", ["download", "-qq", name], { cwd: folder, stdio: "ignore" });
  if (status !== 0) return null;
  const file = readdirSync(folder).find((entry) => entry.endsWith(".deb"));
  return file === undefined ? null : join(folder, file);
}

/** Name of the package with the kernel itself, on which `linux-image-amd64` depends. */
function currentPackage(): string | null {
  try {
    const text = execFileSync("apt-cache", ["show", "--no-all-versions", PACKAGE], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return /^Depends: (linux-image-[^\s,]+)/m.exec(text)?.[1] ?? null;
  } catch {
    return null;
  }
}

/** Leaves `vmlinuz` and the modules in the folder, and removes the package. */
function unpack(file: string, folder: string): void {
  const archive = join(folder, "files.tar");
  execFileSync("sh", ["-c", 'dpkg-deb --fsys-tarfile "$1" >"$2"', "sh", file, archive]);
  rmSync(file);
  const all = execFileSync("tar", ["-tf", archive], { encoding: "utf8", maxBuffer: 1 << 26 }).split("\n");
  const take = (member: string, as: string): void => {
    const bytes = execFileSync("tar", ["-xOf", archive, member], { maxBuffer: 1 << 28 });
    writeFileSync(
      join(folder, as),
      member.endsWith(".xz") ? execFileSync("xz", ["-dc"], { input: bytes, maxBuffer: 1 << 28 }) : bytes,
    );
  };
  const image = all.find((member) => member.startsWith("./boot/vmlinuz-"));
  if (image === undefined) throw new Error(`${file} holds no kernel`);
  take(image, "vmlinuz");
  for (const module of MODULES) {
    const member = all.find((path) => path.endsWith(`/${module}.ko`) || path.endsWith(`/${module}.ko.xz`));
    if (member !== undefined) take(member, `${module}.ko`);
  }
  rmSync(archive);
}
