// A machine that sleeps keeps who is connected to it, and goes on when one of them says something.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { freePort } from "../support/cloud.ts";
import { folder } from "../support/programs.ts";
import { fixtures, type Server, serve, spore } from "../support/spore.ts";

const place = folder();

/** KiB of memory that a process has to itself, and the host nowhere else. */
function ownKib(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Private_Dirty:\s+(\d+) kB$/m.exec(rollup)?.[1]);
}

async function ask(socket: Socket, command: string): Promise<string> {
  socket.write(`${command}\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  return answer.toString();
}

async function sleep(server: Server, orders: string): Promise<void> {
  const before = ownKib(server.pid);
  const { status, stderr } = await spore(["snapshot", "--orders", orders, "--sleep"]);
  expect(status, stderr).toBe(0);
  expect(ownKib(server.pid)).toBeLessThan(before / 2);
  expect(readdirSync(place).filter((name) => name.endsWith("asleep"))).toEqual([]);
}

test("redis: a client's connection, its selected database and its data", async () => {
  const orders = join(place, "redis.sock");
  const words = ["--orders", orders, "/usr/bin/redis-server", "--", "--save", "", "--protected-mode", "no"];
  await using server = await serve(6379, words);
  const socket = connect(server.port, "127.0.0.1");
  expect(await ask(socket, "select 3")).toBe("+OK\r\n");
  expect(await ask(socket, "set key value")).toBe("+OK\r\n");
  for (let round = 1; round <= 3; round++) {
    await sleep(server, orders);
    expect(await ask(socket, "get key")).toBe("$5\r\nvalue\r\n");
    expect(await ask(socket, "incr rounds")).toBe(`:${round}\r\n`);
  }
  // Somebody new wakes it as well.
  await sleep(server, orders);
  const another = connect(server.port, "127.0.0.1");
  expect(await ask(another, "dbsize")).toBe(":0\r\n");
  // So does the end of a connection: afterwards it is one less.
  await sleep(server, orders);
  socket.destroy();
  await server.says("stdout", /("event":"awake"[\s\S]*){5}/);
  await expect.poll(() => ask(another, "info clients")).toContain("connected_clients:1\r\n");
  // A signal too.
  await sleep(server, orders);
  server.signal("SIGTERM");
  expect((await server.ended).status).toBe(0);
  another.destroy();
});

test("Node.js: WebSockets, what they have counted, and timers", async () => {
  const orders = join(place, "node.sock");
  await using server = await serve(8080, ["--orders", orders, join(fixtures, "sleeper")]);
  const sockets = [1, 2].map(() => new WebSocket(server.url.replace("http", "ws")));
  await Promise.all(sockets.map((socket) => once(socket, "open")));
  const say = async (socket: WebSocket | undefined, text: string): Promise<unknown> => {
    socket?.send(text);
    const [data] = (await once(socket as WebSocket, "message")) as [Buffer];
    return JSON.parse(data.toString());
  };
  const secret = ((await say(sockets[0], "one")) as { secret: string }).secret;
  for (let round = 1; round <= 3; round++) {
    await sleep(server, orders);
    expect(await say(sockets[0], "again")).toMatchObject({ mine: round + 1, secret, clients: 2 });
    // Both wall clock and timers are right again.
    const { now, ticked } = (await say(sockets[1], "time")) as { now: number; ticked: boolean };
    expect(Math.abs(now - Date.now())).toBeLessThan(5_000);
    expect(ticked).toBe(true);
  }
  expect((await fetch(server.url)).status).toBe(426);
  for (const socket of sockets) socket.close();
});

test("a datagram wakes it", async () => {
  const orders = join(place, "datagrams.sock");
  const program = join(place, "echo.mjs");
  writeFileSync(
    program,
    `import { createSocket } from "node:dgram";
     import { createServer } from "node:http";
     let count = 0;
     const socket = createSocket("udp4", (_, { port, address }) => socket.send(String(++count), port, address));
     socket.bind(5300, () => createServer().listen(8080));`,
  );
  const port = await freePort();
  await using server = await serve(8080, ["--orders", orders, "-p", `${port}:5300/udp`, program]);
  const client = createSocket("udp4");
  for (let round = 1; round <= 3; round++) {
    client.send("hello", port, "127.0.0.1");
    expect(String((await once(client, "message"))[0])).toBe(String(round));
    await sleep(server, orders);
  }
  client.close();
});
