// The examples, each in a machine, used as their clients would use them.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, get, request as httpRequest, type IncomingMessage } from "node:http";
import net from "node:net";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { run, start } from "../support/process.ts";
import { root, serve, startSpore } from "../support/spore.ts";

const example = (name: string): string => join(root, "examples", name);

describe("hello", () => {
  test("answers curl, says where, and serves until Ctrl-C", async () => {
    await using server = await serve(8080, [example("hello")]);
    const { stdout, status } = await run("curl", ["-sS", "-i", `${server.url}/`]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^HTTP\/1\.1 200 OK\r\n(.*\r\n)*\r\nHello from Spore\n$/);
    expect(await (await fetch(`${server.url}/json`)).json()).toMatchObject({ hello: "Spore" });
    expect((await fetch(`${server.url}/none`)).status).toBe(404);
    server.signal("SIGINT");
    expect(await server.ended).toMatchObject({ stderr: "listening on port 8080\n", status: 130 });
  });

  test("through the launcher, as the README has it: one line with the address", async () => {
    // A free port of the host; two tests must not want the same.
    await using server = start(join(root, "spore"), ["run", "-p", "0:8080", example("hello")], {
      deadline: 300_000,
    });
    const [url] = await server.says("stderr", /^http:\/\/127\.0\.0\.1:\d+$/m);
    expect(await (await fetch(url)).text()).toBe("Hello from Spore\n");
    server.signal("SIGINT");
    expect((await server.ended).status).toBe(130);
  });

  test("without --publish, a listener is at the same port of 127.0.0.1", async () => {
    const free = net.createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as net.AddressInfo;
    free.close();
    await once(free, "close");
    await using server = startSpore(["run", "--json", "-e", `PORT=${port}`, example("hello")]);
    await server.says("stdout", /"event":"listening"/);
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("Hello from Spore\n");
  });

  test("speaks HTTP to a plain socket: pipelining, a half-closed client, garbage", async () => {
    await using server = await serve(8080, [example("hello")]);
    const talk = (bytes: string): Promise<string> => {
      const socket = net.connect(server.port, "127.0.0.1");
      socket.end(bytes);
      return text(socket);
    };
    const requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5);
    expect((await talk(requests)).match(/Hello from Spore\n/g)).toHaveLength(5);
    expect(await talk("nonsense\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    // A client that goes away at once does not disturb the next.
    net.connect(server.port, "127.0.0.1").on("connect", function (this: net.Socket) {
      this.resetAndDestroy();
    });
    expect(await (await fetch(server.url)).text()).toBe("Hello from Spore\n");
  });
});

describe("fastify", () => {
  test("JSON, and a body of 10 MB that comes back whole", async () => {
    await using server = await serve(8080, [example("fastify")]);
    expect(await (await fetch(server.url)).json()).toEqual({ hello: "Spore" });
    const body = JSON.stringify({ text: "0123456789abcdef".repeat(650_000) });
    expect(body.length).toBeGreaterThan(10_000_000);
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${server.url}/echo`, { method: "POST", headers, body });
    expect(answer.status).toBe(200);
    const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    expect(digest(Buffer.from(await answer.arrayBuffer()))).toBe(digest(Buffer.from(body)));
    const broken = await fetch(`${server.url}/echo`, { method: "POST", headers, body: "{" });
    expect([broken.status, broken.headers.get("content-type")]).toEqual([
      400,
      "application/json; charset=utf-8",
    ]);
    // Refused by its announced length. Sending the body would race with the server's close, on Linux too.
    const announced = { ...headers, "content-length": 10 * 1024 * 1024 + 1 };
    const large = httpRequest(`${server.url}/echo`, { method: "POST", headers: announced });
    large.on("error", () => {});
    large.flushHeaders();
    const [refusal] = (await once(large, "response")) as [IncomingMessage];
    large.destroy();
    expect(refusal.statusCode).toBe(413);
  });

  test.each([[], ["--no-patch"]])(
    "1,000 requests over 50 connections that stay open %s",
    async (...flags) => {
      await using server = await serve(8080, [...flags, example("fastify")]);
      const agent = new Agent({ keepAlive: true, maxSockets: 50 });
      const sockets = new Set<unknown>();
      const ask = (number: number): Promise<unknown> =>
        new Promise((resolve, reject) => {
          const options = { agent, method: "POST", headers: { "content-type": "application/json" } };
          const request = httpRequest(`${server.url}/echo`, options, (response) => {
            sockets.add(response.socket);
            text(response).then((body) => resolve(JSON.parse(body)), reject);
          });
          request.on("error", reject);
          request.end(JSON.stringify({ number }));
        });
      const answers = await Promise.all(Array.from({ length: 1000 }, (_, number) => ask(number)));
      expect(answers).toEqual(Array.from({ length: 1000 }, (_, number) => ({ number })));
      expect(sockets.size).toBe(50);
      agent.destroy();
    },
  );

  test("SIGTERM: what is in flight is answered, nothing new is accepted, then it ends with 0", async () => {
    await using server = await serve(8080, [example("fastify")]);
    const slow = new Promise<string>((resolve, reject) => {
      get(`${server.url}/slow`, (response) => text(response).then(resolve, reject)).on("error", reject);
    });
    // The request after it, on its own connection, is answered: so the slow one has arrived.
    await (await fetch(server.url)).text();
    server.signal("SIGTERM");
    expect(await slow).toBe('{"done":true}');
    expect(await server.ended).toMatchObject({ stderr: "listening\nclosed\n", status: 0 });
    await expect(fetch(server.url)).rejects.toThrow();
  });
});

test("websocket: messages to all, binary and long ones, a clean close", async () => {
  await using server = await serve(8080, [example("websocket")]);
  const connect = async (): Promise<WebSocket> => {
    const socket = new WebSocket(server.url.replace("http", "ws"));
    const [welcome] = (await once(socket, "message")) as [Buffer];
    expect(welcome.toString()).toBe("welcome");
    return socket;
  };
  const clients = await Promise.all(Array.from({ length: 20 }, connect));
  const everyone = async (message: string | Buffer): Promise<Buffer[]> => {
    const received = clients.map((client) => once(client, "message") as Promise<[Buffer]>);
    clients[0]?.send(message);
    return (await Promise.all(received)).map(([data]) => data);
  };
  for (const data of await everyone("to all")) expect(data.toString()).toBe("to all");
  const long = Buffer.alloc(2_000_000, "binary ");
  for (const data of await everyone(long)) expect(data.equals(long)).toBe(true);
  const pong = clients.map((client) => once(client, "pong"));
  for (const client of clients) client.ping();
  await Promise.all(pong);
  const closed = clients.map((client) => once(client, "close"));
  for (const client of clients) client.close(1000);
  expect((await Promise.all(closed)).map(([code]) => code)).toEqual(clients.map(() => 1000));
});

test("sse: events arrive one by one while the answer goes on", async () => {
  await using server = await serve(8080, [example("sse")]);
  const response = await fetch(server.url);
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  const ticks = [1, 2, 3, 4, 5].map((count) => `id: ${count}\nevent: tick\ndata: {"count":${count}}\n\n`);
  let stream = "";
  let arrivals = 0;
  // The answer never ends: what arrives was not held back.
  while (stream.length < ticks.join("").length) {
    stream += (await reader?.read())?.value ?? "";
    arrivals += 1;
  }
  expect(stream.slice(0, ticks.join("").length)).toBe(ticks.join(""));
  expect(arrivals).toBeGreaterThan(1);
  await reader?.cancel();
  const again = await fetch(server.url);
  expect(again.status).toBe(200);
  await again.body?.cancel();
});

test("many connections at once, each opened and closed", async () => {
  await using server = await serve(8080, [example("hello")]);
  const once = async (): Promise<string> => {
    const socket = net.connect(server.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    return (await buffer(socket)).toString().split("\n").at(-2) ?? "";
  };
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(Array.from({ length: 200 }, once));
    expect(new Set(answers)).toEqual(new Set(["Hello from Spore"]));
  }
});
