/** The programs whose use of the library OS makes the profiles of runtimes, and how they are run to record it. */

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildImage, type Image, launchPlan, parseInclude } from "@spore/image";
import { findMonitor, Instance, launchConfig } from "@spore/monitor-client";
import { makeRecording, type Recording } from "@spore/needs";
import { run } from "./process.ts";
import { compileGo } from "./programs.ts";
import { fixtures, root } from "./spore.ts";

/** One run of a runtime. */
export interface ProfiledRun {
  /** For people, and for `spore explain`. */
  readonly program: string;
  readonly image: Image;
  readonly args: readonly string[];
  /** Bytes; what the image says if absent. */
  readonly memory?: number;
}

/** The library OS counts only if it has the piece for it. */
const FULL = { pieces: "full" } as const;

/** The runtimes that have a profile. */
export const PROFILES = ["node-22", "node-24", "node-26", "python", "go", "bun"] as const;
export type ProfileName = (typeof PROFILES)[number];

/** The release of Bun that is profiled. */
const BUN_VERSION = "1.4.5";

/** Probes of tests/fixtures/node-probes that need nobody else. */
const PROBES = [
  "children",
  "compress",
  "crypto",
  "exception",
  "files",
  "lookup",
  "memory",
  "rejection",
  "sockets",
  "streams",
  "threads",
  "wasm",
  "watch",
];

/** What Python is asked to do, by name. */
const PYTHON: Readonly<Record<string, string>> = {
  threads:
    "import threading, time\nt = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(8)]\n[x.start() for x in t]; [x.join() for x in t]",
  files:
    "import os, tempfile, shutil, pathlib\nd = pathlib.Path(tempfile.mkdtemp())\n(d / 'a').write_text('x'); os.rename(d / 'a', d / 'b'); os.symlink('b', d / 'c'); os.link(d / 'b', d / 'e'); os.chmod(d / 'b', 0o600); os.utime(d / 'b'); print(os.listdir(d), os.stat(d / 'c').st_size, os.statvfs(d).f_bsize); os.truncate(d / 'b', 0); shutil.rmtree(d)",
  sockets:
    "import socket, select, threading\ns = socket.create_server(('127.0.0.1', 0)); threading.Thread(target=lambda: s.accept()[0].sendall(b'x')).start()\nc = socket.create_connection(s.getsockname()); print(select.select([c], [], [])[0][0].recv(1))\na, b = socket.socketpair(); a.sendmsg([b'y']); print(b.recvmsg(5)); e = select.epoll(); e.register(a); print(len(e.poll(0)))",
  system:
    "import os, time, resource, signal, subprocess, platform\nprint(os.getpid() > 0, os.uname().sysname, os.cpu_count(), resource.getrusage(0).ru_maxrss > 0)\nsignal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()\ntry: subprocess.run(['/bin/true'])\nexcept OSError as e: print(type(e).__name__)",
  asyncio:
    "import asyncio\nasync def main():\n  s = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)\n  r, w = await asyncio.open_connection(*s.sockets[0].getsockname()); print(await r.read()); w.close(); s.close()\nasyncio.run(main())",
};

/** The runs of a profile, their images built; `folder` is where a program may be compiled. */
export async function runsOf(name: ProfileName, folder: string): Promise<ProfiledRun[]> {
  if (name === "go") {
    const { image } = await buildImage({ target: compileGo(folder, "profile.go"), ...FULL });
    return ["threads", "files", "sockets", "system"].map((program) => ({ program, image, args: [program] }));
  }
  if (name === "bun") {
    const include = [parseInclude(join(fixtures, "bun"), root)];
    // Patched or not, it asks for the same; a hundred megabytes are patched for a while.
    const { image } = await buildImage({ target: await bunBinary(), include, patch: false, ...FULL });
    const script = join(fixtures, "bun/profile.ts");
    return ["files", "sockets", "threads", "system"].map((program) => {
      return { program, image, args: [script, program], memory: 2 ** 30 };
    });
  }
  if (name === "python") {
    const library = (await run("/usr/bin/python3", ["-c", "import os; print(os.__file__)"])).stdout.trim();
    const include = [parseInclude(join(library, ".."), root)];
    const { image } = await buildImage({ target: "/usr/bin/python3", include, ...FULL });
    return Object.entries(PYTHON).map(([program, source]) => ({ program, image, args: ["-c", source] }));
  }
  const node = Number(name.slice("node-".length)) as 22 | 24 | 26;
  const { image } = await buildImage({ target: join(fixtures, "node-probes"), node, ...FULL });
  return PROBES.map((program) => ({ program, image, args: [program] }));
}

/** Bun, fetched once into the cache of the tests. */
async function bunBinary(): Promise<string> {
  const home = join(root, "build/bun", BUN_VERSION);
  const binary = join(home, "node_modules/@oven/bun-linux-x64/bin/bun");
  if (existsSync(binary)) return binary;
  mkdirSync(home, { recursive: true });
  // A manifest of its own keeps npm from looking for a project further up.
  writeFileSync(join(home, "package.json"), "{}\n");
  const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", home];
  const words = ["install", ...options, `@oven/bun-linux-x64@${BUN_VERSION}`];
  const { status, stderr } = await run("npm", words, { deadline: 200_000 });
  if (status !== 0) throw new Error(`bun cannot be fetched: ${stderr}`);
  return binary;
}

/** Runs it with a library OS that counts. */
export async function recordRun({ program, image, args, memory }: ProfiledRun): Promise<Recording> {
  const plan = launchPlan(image, { args, ...(memory !== undefined && { memory }) });
  const config = launchConfig(
    { ...plan, publish: null },
    { events: "json", built: null, trace: false, record: true, gdb: null, reporter: null },
    { anyPort: true },
  );
  await using instance = Instance.start(findMonitor(root, process.env), config, { output: "ignore" });
  await instance.ended;
  const used = instance.events.find(({ event }) => event === "used");
  if (used?.event !== "used") throw new Error(`${program} did not tell what it used`);
  return makeRecording(program, used);
}
