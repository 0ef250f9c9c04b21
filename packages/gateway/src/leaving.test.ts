// What clients see of long answers and WebSockets when an instance stops, or the gateway itself.

import { once } from "node:events";
import { createServer } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { Frames } from "./frames.ts";
import { answering, app, client, gatewayFor, get, ok, type TestTarget, target } from "./test-parties.ts";

/** An app with WebSockets and streams of events, whose connections a test can break off. */
async function talking() {
  const connections: Socket[] = [];
  const websockets = new WebSocketServer({ noServer: true });
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
  });
  server.on("connection", (socket: Socket) => void connections.push(socket));
  server.on("upgrade", (request, socket: Duplex, head) => {
    websockets.handleUpgrade(request, socket, head, (ws) => ws.send("hello"));
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: { host: "127.0.0.1", port },
    websockets,
    /** Ends as a machine does: without a word. */
    stop: (a: TestTarget) => {
      a.stopped = true;
      for (const socket of connections) socket.destroy();
    },
    crash: () => {
      for (const socket of connections) socket.resetAndDestroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of connections) socket.destroy();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}

async function websocket(port: number): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { headers: { host: "a" } });
  await once(socket, "message");
  return socket;
}

async function closeCode(socket: WebSocket): Promise<number> {
  const [code] = (await once(socket, "close")) as [number];
  return code;
}

describe("a WebSocket", () => {
  test("is closed as going away when its instance is stopped, and as broken when it breaks", async () => {
    await using server = await talking();
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const broken = closeCode(await websocket(gateway.port));
    server.crash();
    expect(await broken).toBe(1006);
    const stopped = closeCode(await websocket(gateway.port));
    server.stop(a);
    expect(await stopped).toBe(1001);
    await expect.poll(() => a.open).toBe(0);
  });

  test("is closed as its app says, if the app does", async () => {
    await using server = await talking();
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const code = closeCode(await websocket(gateway.port));
    a.stopped = true;
    for (const ws of server.websockets.clients) ws.close(4321);
    expect(await code).toBe(4321);
  });

  test("is closed as going away when the gateway goes", async () => {
    await using server = await talking();
    await using gateway = await gatewayFor({ a: target(server.address) });
    const code = closeCode(await websocket(gateway.port));
    await gateway.gateway.close(60_000);
    expect(await code).toBe(1001);
  });

  test("is closed behind a whole frame only", async () => {
    const sockets: Socket[] = [];
    await using server = await app((socket) => {
      sockets.push(socket);
      const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
      socket.once("data", () => void socket.write(`${head}\x81\x05ab`, "latin1"));
    });
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const request = get("/", "Connection: Upgrade", "Upgrade: websocket");
    const [leaves, stops] = [client(gateway.port), client(gateway.port)];
    stops.send(request);
    await stops.until(/ab$/);
    a.stopped = true;
    sockets[0]?.destroy();
    // What is not whole cannot be ended well.
    expect((await stops.all()).slice(-4)).toBe("\x81\x05ab");
    leaves.send(request);
    await leaves.until(/ab$/);
    const closed = gateway.gateway.close(60_000);
    sockets[1]?.write("cde\x81\x01f", "latin1");
    expect((await leaves.all()).slice(-11)).toBe("\x81\x05abcde\x88\x02\x03\xe9");
    await closed;
  });
});

describe("a stream of events", () => {
  test("ends well when its instance is stopped", async () => {
    await using server = await talking();
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(get());
    await c.until(/data: 1\n\n\r\n$/);
    const http2 = connectHttp2(`http://127.0.0.1:${gateway.port}`);
    const stream = http2.request({ ":path": "/", ":authority": "a" });
    await once(stream.setEncoding("utf8"), "data");
    server.stop(a);
    await c.until(/\r\n0\r\n\r\n$/);
    await once(stream, "end");
    expect(stream.rstCode).toBe(0);
    http2.destroy();
    c.socket.destroy();
  });

  test("is cut off when its instance breaks", async () => {
    await using server = await talking();
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send(get());
    await c.until(/data: 1\n\n\r\n$/);
    server.crash();
    expect(await c.all()).not.toMatch(/\r\n0\r\n\r\n$/);
  });

  test("ends when the gateway goes, and so does its connection", async () => {
    await using server = await talking();
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send(get());
    await c.until(/data: 1\n\n\r\n$/);
    await gateway.gateway.close(60_000);
    expect(await c.all()).toMatch(/\r\n0\r\n\r\n$/);
  });
});

test("HTTP/2 clients are told that the gateway goes, and have their answers", async () => {
  const asked = Promise.withResolvers<Socket>();
  await using server = await app((socket) => {
    socket.once("data", () => asked.resolve(socket));
  });
  await using quick = await app(answering(() => ok("quick")));
  await using gateway = await gatewayFor({ a: target(server.address), b: target(quick.address) });
  const http2 = connectHttp2(`http://127.0.0.1:${gateway.port}`);
  const stream = http2.request({ ":path": "/", ":authority": "a" });
  stream.setEncoding("utf8");
  const app1 = await asked.promise;
  const goaway = once(http2, "goaway");
  const closed = gateway.gateway.close(60_000);
  expect((await goaway)[0]).toBe(0);
  app1.write(ok("slow"));
  expect((await stream.toArray()).join("")).toBe("slow");
  await closed;
});

test("frames end where they do, however they are cut", () => {
  const frame = (size: number, masked: boolean): Buffer => {
    const mask = masked ? 128 : 0;
    const length = Buffer.alloc(size < 126 ? 0 : size < 65_536 ? 2 : 8);
    if (length.length === 2) length.writeUInt16BE(size);
    else if (length.length === 8) length.writeBigUInt64BE(BigInt(size));
    const short = size < 126 ? size : size < 65_536 ? 126 : 127;
    const content = Buffer.alloc(size + (masked ? 4 : 0), 0x88);
    return Buffer.concat([Buffer.of(0x82, mask | short), length, content]);
  };
  const all = [0, 1, 125, 126, 300, 65_536].flatMap((n) => [frame(n, false), frame(n, true)]);
  const bytes = Buffer.concat(all);
  const ends = new Set(all.map((_, index) => Buffer.concat(all.slice(0, index + 1)).length));
  for (const step of [1, 2, 3, 7, 1000, 66_000]) {
    const frames = new Frames();
    const wrong: number[] = [];
    for (let at = 0; at < bytes.length; at += step) {
      const piece = bytes.subarray(at, at + step);
      const first = frames.take(piece);
      const expected = [...ends].find((end) => end > at && end <= at + piece.length);
      if (first !== (expected === undefined ? -1 : expected - at)) wrong.push(at);
      if (frames.between !== ends.has(at + piece.length)) wrong.push(at);
    }
    expect(wrong).toEqual([]);
    expect(frames.closed).toBe(false);
    frames.take(Buffer.of(0x88, 0));
    expect(frames.closed).toBe(true);
  }
});
