// Node.js 22, 24 and 26: the same probes in a machine and on Linux, and what they print compared.

import dgram from "node:dgram";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startNameServer } from "../support/name-server.ts";
import { type Ended, run, type StartOptions } from "../support/process.ts";
import { fixtures, nodeBinary, runTarget, startSpore } from "../support/spore.ts";

const project = join(fixtures, "node-probes");
const entry = join(project, "src/main.ts");

/** Answers what the fetch probe asks for. */
function answer(): Server {
  return createServer((request, response) => {
    const path = request.url ?? "";
    if (path === "/json") {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ asked: request.headers["x-asked-by"] }));
    } else if (path === "/echo") request.pipe(response);
    else if (path.startsWith("/number/")) response.end(path.slice("/number/".length));
    else if (path !== "/never") response.writeHead(404).end();
  });
}

const host = answer();
const datagrams = dgram.createSocket("udp4", (message, from) => {
  datagrams.send(message.toString().toUpperCase(), from.port, from.address);
});
let url = "";

beforeAll(async () => {
  host.listen(0, "127.0.0.1");
  datagrams.bind(0, "127.0.0.1");
  await Promise.all([once(host, "listening"), once(datagrams, "listening")]);
  url = `http://127.0.0.1:${(host.address() as AddressInfo).port}`;
});
afterAll(() => {
  host.close();
  host.closeAllConnections();
  datagrams.close();
});

/** What differs because of where the program stands, made equal. */
function placeless({ stdout, stderr, status }: Ended): Ended {
  const text = stderr
    .replaceAll(`file://${project}`, "/app")
    .replaceAll(project, "/app")
    // With source maps, which a bundle needs, Node writes frames a little differently.
    .replace(/ \[as \w+\]/g, "")
    .replace(/at (\/app\/\S+)/g, "at <anonymous> ($1)");
  return { stdout, stderr: text, status };
}

describe.each([22, 24, 26])("Node %i", (major) => {
  const inGuest = (words: readonly string[], options: StartOptions = {}): Promise<Ended> =>
    runTarget(["--node", String(major), project, "--", ...words], options);
  const onLinux = async (words: readonly string[], options: StartOptions = {}): Promise<Ended> =>
    run(await nodeBinary(major), [entry, ...words], options);

  beforeAll(async () => {
    // Fetches the release if need be, and builds the image that all probes share.
    await nodeBinary(major);
    expect(await inGuest([], { deadline: 240_000 })).toMatchObject({ status: 0 });
  });

  test.each([
    ["compress", "packs and unpacks as on Linux"],
    ["crypto", "digests, keys, ciphers and randomness"],
    ["files", "create, write, rename, link, and the errors"],
    ["lookup", "names to addresses"],
    ["memory", "process.memoryUsage() follows what is allocated"],
    ["sockets", "unix sockets, and TCP inside of the program"],
    ["streams", "100 MB through a file"],
    ["threads", "workers, Atomics.wait, an error and an endless loop in one"],
    ["wasm", "an access out of bounds traps"],
    ["watch", "fs.watch tells the same events"],
  ])("%s: %s", async (probe) => {
    const linux = await onLinux([probe]);
    expect(linux.status).toBe(0);
    expect(await inGuest([probe])).toEqual(linux);
  });

  test("fetch() to a server on the host", async () => {
    const linux = await onLinux(["fetch", url]);
    expect(linux).toMatchObject({ status: 0, stderr: "" });
    expect(await inGuest(["fetch", url])).toEqual(linux);
  });

  test("dgram between sockets of the program, and with a server on the host", async () => {
    const port = String(datagrams.address().port);
    const linux = await onLinux(["datagrams", port]);
    expect(linux.stdout).toContain("outside THREE");
    expect(await inGuest(["datagrams", port])).toEqual(linux);
  });

  test("questions to a DNS server on the host", async () => {
    const server = await startNameServer();
    try {
      const linux = await onLinux(["resolve", server.address]);
      expect(linux.stdout).toContain("ENOTFOUND");
      expect(await inGuest(["resolve", server.address])).toEqual(linux);
    } finally {
      server.close();
    }
  });

  test.each(["exception", "rejection"])("an uncaught %s: exit status, text and stack", async (probe) => {
    const linux = placeless(await onLinux([probe]));
    expect(linux.status).toBe(1);
    const guest = await inGuest([probe]);
    expect(guest.stderr).toContain(`/app/src/${probe}.ts:`);
    expect(placeless(guest)).toEqual(linux);
  });

  test("out of memory inside V8's limit: its message, and SIGABRT's status", async () => {
    const { stderr, status } = await runTarget([
      "--node",
      String(major),
      "-e",
      "NODE_OPTIONS=--max-old-space-size=64",
      project,
      "--",
      "heap",
    ]);
    expect(stderr).toContain("FATAL ERROR:");
    expect(stderr).toContain("JavaScript heap out of memory");
    expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^error\[SPORE_GUEST_CRASH\]: .*SIGABRT/);
    const linux = await onLinux(["heap"], { env: { NODE_OPTIONS: "--max-old-space-size=64" } });
    expect(status).toBe(linux.status);
  });

  test("process.on(): signals arrive by name, and process.exit() in one ends the program", async () => {
    await using guest = startSpore(["run", "--quiet", "--node", String(major), project, "--", "signals"]);
    await guest.says("stdout", /^ready$/m);
    for (const name of ["SIGUSR2", "SIGINT", "SIGHUP", "SIGTERM"] as const) {
      guest.signal(name);
      await guest.says("stdout", new RegExp(`^${name}`, "m"));
    }
    guest.signal("SIGTERM");
    const { stdout, stderr, status } = await guest.ended;
    expect({ stdout, stderr, status }).toEqual({
      stdout: "ready\nSIGUSR2 12\nSIGINT 2\nSIGHUP 1\nSIGTERM 15\nSIGTERM 15\n",
      stderr: "",
      status: 7,
    });
  });

  test("child_process fails at once, with the errno of a process limit", async () => {
    expect(await inGuest(["children"])).toEqual({
      stdout: [
        "spawnSync EAGAIN spawnSync /bin/true",
        "spawn EAGAIN spawn /bin/true undefined",
        "execFile EAGAIN spawn /bin/true",
        "fork EAGAIN spawn /usr/local/bin/node",
        "",
      ].join("\n"),
      stderr: "",
      status: 0,
    });
  });
});

test("without patches, Node observes the same", async () => {
  for (const probe of ["files", "sockets", "threads", "wasm"]) {
    const patched = await runTarget([project, "--", probe]);
    expect(patched.status).toBe(0);
    expect(await runTarget(["--no-patch", project, "--", probe])).toEqual(patched);
  }
});

test("a port that nobody serves refuses, on the host as inside", async () => {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  const source = `require("net").connect(${port}, "127.0.0.1").on("error", (e) => console.log(e.code, e.syscall, e.port))`;
  const { stdout } = await runTarget([await nodeBinary(24), "--", "-e", source]);
  expect(stdout).toBe(`ECONNREFUSED connect ${port}\n`);
});
