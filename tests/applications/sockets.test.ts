// Connections from a machine to servers of the host: bulk, half-close, resets, many at once; compared with Linux.

import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../support/process.ts";
import { fixtures, node, runTarget } from "../support/spore.ts";

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
