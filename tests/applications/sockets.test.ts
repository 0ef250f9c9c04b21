// Connections from a machine to servers of the host: bulk, half-close, resets, many at once; compared with Linux.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../support/process.ts";
import { fixtures, node, root, runTarget, serve } from "../support/spore.ts";

const project = join(fixtures, "node-sockets");
let last = "";
const servers: readonly Server[] = [
  createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)),
  createServer((socket) => {
    socket.on("data", () => socket.resetAndDestroy()).on("error", () => {});
  }),
  createServer((socket) => {
    let asked = false;
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (!asked) last = `${error.code}`;
    });
    socket.on("end", () => {
      if (!asked) last = "end";
    });
    socket.on("data", () => {
      asked = true;
      socket.write(last);
    });
  }),
];

beforeAll(async () => {
  for (const server of servers) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
});
afterAll(() => {
  for (const server of servers) server.close();
});

test("connections to the host behave as on Linux", { timeout: 120_000 }, async () => {
  const ports = servers.map((server) => String((server.address() as AddressInfo).port));
  const native = await run(node, [join(project, "src/main.ts"), ...ports]);
  expect(native).toMatchObject({ status: 0, stderr: "" });
  const guest = await runTarget([project, "--", ...ports]);
  expect(guest).toEqual(native);
});

describe("thousands of connections", () => {
  const hello = join(root, "examples/hello");

  /** Connects one after the other, until `count` are there or one has to wait. */
  async function connections(count: number, port: number): Promise<Socket[]> {
    const sockets: Socket[] = [];
    while (sockets.length < count) {
      const socket = connect(port, "127.0.0.1").on("error", () => {});
      sockets.push(socket);
      const waits = new Promise((resolve) => setTimeout(resolve, 5000, "waits"));
      if ((await Promise.race([once(socket, "connect"), waits])) === "waits") break;
    }
    return sockets;
  }

  async function answer(socket: Socket): Promise<string> {
    const data = once(socket, "data");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    return String(await data).split("\r\n")[0] ?? "";
  }

  test("that come in a burst are all served", async () => {
    await using server = await serve(8080, [hello]);
    const sockets = await connections(2000, server.port);
    const answers = await Promise.all(sockets.map(answer));
    expect(answers).toEqual(Array.from({ length: 2000 }, () => "HTTP/1.1 200 OK"));
    for (const socket of sockets) socket.destroy();
  });

  test("more than a machine can hold wait, and the next are served once there is room", async () => {
    await using server = await serve(8080, [hello]);
    const sockets = await connections(6000, server.port);
    expect(sockets.length).toBeGreaterThan(4000);
    for (const socket of sockets) socket.destroy();
    expect(await (await fetch(server.url)).text()).toBe("Hello from Spore\n");
  });
});
