// Connections from a machine to servers of the host: bulk, half-close, resets, many at once; compared with Linux.

import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Running, run } from "../support/process.ts";
import { folder } from "../support/programs.ts";
import { fixtures, node, root, runTarget, serve, spore, startSpore } from "../support/spore.ts";

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

describe("a datagram port that is published", () => {
  const program = join(fixtures, "node-datagrams");

  /** A client's socket. */
  async function client(): Promise<DatagramSocket> {
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    return socket;
  }
  /** The answer from `port` to `text`, and the port that it came from. */
  async function ask(socket: DatagramSocket, port: number, text: string): Promise<[string, number]> {
    const answer = once(socket, "message");
    socket.send(text, port, "127.0.0.1");
    const [data, from] = await answer;
    return [`${data}`, from.port];
  }
  /** Starts the program with its datagram port on a free one of the host. */
  async function started(...words: string[]): Promise<Running & { port: number }> {
    const running = startSpore(["run", "--json", ...words, program]);
    const [, port] = await running.says(
      "stdout",
      /"event":"bound","guestPort":5300,"url":"udp:\/\/127.0.0.1:(\d+)"/,
    );
    return Object.assign(running, { port: Number(port) });
  }

  test("answers each sender from the port that was asked, next to a stream port of the same number", async () => {
    await using server = await started("-p", "0:5300/udp", "-p", "0:5300");
    const [one, two, third] = [await client(), await client(), await client()];
    const { port } = server;
    const own = one.address().port;
    expect(await ask(one, port, "hello")).toEqual([`5 bytes from ${own}: hello`, port]);
    expect(await ask(one, port, "x".repeat(60_000))).toEqual([
      `60000 bytes from ${own}: ${"x".repeat(20)}`,
      port,
    ]);
    const both = await Promise.all([ask(one, port, "at once"), ask(two, port, "at once")]);
    expect(both.map(([text]) => text)).toEqual([
      `7 bytes from ${own}: at once`,
      `7 bytes from ${two.address().port}: at once`,
    ]);
    // Who has not asked is reached as by any program, from another port.
    const reached = once(third, "message");
    one.send(`reach ${third.address().port}`, port, "127.0.0.1");
    const [data, from] = await reached;
    expect([`${data}`, from.port === port]).toEqual(["from inside", false]);
    const [, stream = ""] = await server.says("stdout", /"event":"listening".*"url":"http:\/\/([^"]*)"/);
    const socket = connect(Number(stream.split(":")[1]), "127.0.0.1");
    expect(`${await once(socket, "data")}`).toBe("tcp too\n");
    socket.destroy();
    for (const socket of [one, two, third]) socket.close();
  });

  test("hears its peer alone while it is connected", async () => {
    await using server = await started("-p", "0:5300/udp");
    const [one, two] = [await client(), await client()];
    expect(await ask(one, server.port, "connect")).toEqual(["connected", server.port]);
    two.send("lost", server.port, "127.0.0.1");
    expect(await ask(one, server.port, "disconnect")).toEqual(["disconnected", server.port]);
    // Had the datagram from before been heard, its answer would come first.
    expect(await ask(two, server.port, "hello")).toEqual([
      `5 bytes from ${two.address().port}: hello`,
      server.port,
    ]);
    for (const socket of [one, two]) socket.close();
  });

  test("goes on with a program that was frozen", async () => {
    const snapshot = join(folder(), "datagrams.snap");
    const taken = await spore(["snapshot", program, "-o", snapshot, "--ready", "5300"]);
    expect(taken).toMatchObject({ status: 0 });
    await using restored = startSpore(["run", "--json", snapshot, "-p", "0:5300/udp"]);
    const [, port] = await restored.says("stdout", /"event":"bound".*127.0.0.1:(\d+)"/);
    const one = await client();
    const own = one.address().port;
    expect(await ask(one, Number(port), "hello")).toEqual([`5 bytes from ${own}: hello`, Number(port)]);
    one.close();
  });

  test("that is taken is refused before the program runs", async () => {
    const other = await client();
    const taken = `127.0.0.1:${other.address().port}`;
    expect(await spore(["run", "-p", `${taken}:5300/udp`, program])).toMatchObject({
      status: 69,
      stderr: expect.stringContaining(`error[SPORE_PORT_TAKEN]: ${taken} is already in use`),
    });
    other.close();
  });
});
