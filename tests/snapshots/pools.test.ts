// Connections to the outside end with the machine that was frozen: what pools of real
// clients, connected to real servers, hear of that, and that they connect again.
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { freePort, startDatabase } from "../support/database.ts";
import { start } from "../support/process.ts";
import { folder } from "../support/programs.ts";
import { fixtures, type Server, serve, spore } from "../support/spore.ts";

const place = folder();

interface Use {
  readonly answer: number;
  readonly backend: number;
  readonly uses: number;
  readonly connection: number;
  readonly echo: string;
}

async function ask<T>(server: Server, path: string): Promise<T> {
  return (await (await fetch(new URL(path, server.url))).json()) as T;
}

/** Answers every request with the number of its connection, and WebSocket messages with themselves. */
async function startHttp(): Promise<{ readonly port: number; close(): void }> {
  const numbers = new Map<object, number>();
  const server = createServer((request, response) => response.end(String(numbers.get(request.socket))));
  server.keepAliveTimeout = 600_000;
  server.on("connection", (socket) => numbers.set(socket, numbers.size + 1));
  new WebSocketServer({ server }).on("connection", (socket) =>
    socket.on("error", () => {}).on("message", (data) => socket.send(String(data))),
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { port: (server.address() as { port: number }).port, close };
}

test("pg, ioredis, undici and a WebSocket client hear at once that connections are gone, and connect again", async () => {
  await using database = await startDatabase(place);
  const redisPort = await freePort();
  await using redis = start(
    "redis-server",
    ["--port", String(redisPort), "--save", "", "--bind", "127.0.0.1"],
    {
      deadline: 600_000,
    },
  );
  await redis.says("stdout", /Ready to accept connections/);
  const http = await startHttp();
  const file = join(place, "pools.snap");
  const env = [`POSTGRES=${database.port}`, `REDIS=${redisPort}`, `HTTP=${http.port}`];
  const taken = await spore([
    ...["snapshot", join(fixtures, "pools"), "-o", file, "--warm", "/use"],
    ...env.flatMap((variable) => ["-e", variable]),
  ]);
  expect(taken.status, taken.stderr).toBe(0);
  const backends = new Set<number>();
  for (const uses of [2, 3]) {
    await using server = await serve(8080, [file]);
    // The first request comes after everything that the app hears by itself. What ws says of
    // a connection that is reset is the close alone.
    expect((await ask<string[]>(server, "/")).sort()).toEqual([
      "http ECONNRESET",
      "pg ECONNRESET",
      "redis closed",
      "redis error ECONNRESET",
      "websocket closed 1006",
    ]);
    const used = await ask<Use>(server, "/use");
    expect(used).toMatchObject({ answer: 42, uses, echo: "hello" });
    backends.add(used.backend);
  }
  // Each clone has a session of its own at the database.
  expect(backends.size).toBe(2);
  http.close();
});
