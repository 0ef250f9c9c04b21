import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { Refusal, type StartKind } from "./target.ts";
import { answering, app, client, gatewayFor, get, ok, type TestTarget, target } from "./test-parties.ts";

/** A promise and what settles it. */
function gate<T>() {
  return Promise.withResolvers<T>();
}

describe("a request", () => {
  test("reaches the app and its answer the client, with where it came from and how it was started", async () => {
    let seen = "";
    const say = (request: string): string => {
      seen = request;
      return ok("hello", "X-Mine: 1");
    };
    await using server = await app(answering(say));
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(
      get(
        "/x?y=1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Proto: https",
        "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      ),
    );
    const answer = await c.until(/hello$/);
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).toContain("X-Mine: 1\r\n");
    expect(answer).toContain("x-spore-start: warm\r\n");
    expect(seen).toMatch(/^GET \/x\?y=1 HTTP\/1\.1\r\nhost: a\r\n/);
    expect(seen).toContain("x-forwarded-for: 10.0.0.1, 127.0.0.1\r\n");
    expect(seen).toContain("x-forwarded-proto: http\r\n");
    expect(seen).toContain("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n");
    expect(seen).not.toContain("https");
    expect(a.open).toBe(0);
    expect(gateway.answered).toEqual([
      expect.objectContaining({ status: 200, start: "warm", target: "test" }),
    ]);
  });

  test("for a host that nobody has is not found, and the connection goes on", async () => {
    await using server = await app(answering(() => ok("a")));
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n");
    await c.until(/404 Not Found[\s\S]*SPORE_NO_APP: no app answers for nobody\n$/);
    c.send(get());
    await c.until(/200 OK[\s\S]*a$/);
  });

  test("follows another on the same connection, even if both come at once", async () => {
    let count = 0;
    const say = (): string => {
      count += 1;
      return ok(`<${count}>`);
    };
    await using server = await app(answering(say));
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send(get().repeat(5));
    const answers = await c.until(/<5>$/);
    expect(answers.match(/<\d>/g)).toEqual(["<1>", "<2>", "<3>", "<4>", "<5>"]);
    expect(server.connections).toHaveLength(1);
  });

  test("may come a byte at a time", async () => {
    await using server = await app(answering(() => ok("slow")));
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    for (const byte of get()) {
      c.send(byte);
      await new Promise(setImmediate);
    }
    await c.until(/slow$/);
  });

  test("of HTTP/1.0 gets an answer that ends with the connection", async () => {
    const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    await using server = await app(answering(() => answer));
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    const all = await c.all();
    expect(all).toMatch(/connection: close\r\n\r\nabc$/);
    expect(all).not.toMatch(/chunked/i);
  });

  test.each([
    ["two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"],
    [
      "a length and chunks",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ["a line feed alone", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"],
    ["TLS instead of HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
  ])("with %s is refused before the app sees a byte, and the connection ends", async (_, text) => {
    await using server = await app(() => {});
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(text + get());
    const all = await c.all();
    expect(all).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(all.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(a.granted).toBe(0);
  });

  test("with headers beyond the limit is refused", async () => {
    await using gateway = await gatewayFor({});
    const c = client(gateway.port);
    c.send(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(70_000)}`);
    expect(await c.all()).toMatch(/^HTTP\/1\.1 431 /);
  });
});

describe("a body", () => {
  test("is passed on as it comes, in both directions", async () => {
    await using server = await app((socket) => {
      // What comes goes back, chunk by chunk.
      let head = true;
      socket.on("data", (bytes: Buffer) => {
        if (!head) {
          socket.write(bytes);
          return;
        }
        head = false;
        const body = bytes.subarray(bytes.indexOf("\r\n\r\n") + 4);
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        socket.write(body);
      });
    });
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    await c.until(/\r\n\r\n5\r\nfirst\r\n$/);
    c.send("6\r\nsecond\r\n");
    await c.until(/6\r\nsecond\r\n$/);
    c.send("0\r\nX-Sum: 11\r\n\r\n");
    await c.until(/0\r\nX-Sum: 11\r\n\r\n$/);
  });

  test("with a chunk that lies breaks off what the app has of it", async () => {
    const closed = gate<void>();
    await using server = await app((socket) => void socket.resume().on("close", () => closed.resolve()));
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    );
    expect(await c.all()).toMatch(/^HTTP\/1\.1 400 /);
    await closed.promise;
    expect(a.open).toBe(0);
  });

  test("without end ends with the app's connection", async () => {
    await using server = await app((socket) => {
      socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\nuntil the end"));
    });
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send(get());
    await c.until(/transfer-encoding: chunked[\s\S]*d\r\nuntil the end\r\n0\r\n\r\n$/);
  });

  test("that the app does not finish is not taken for whole", async () => {
    await using server = await app((socket) => {
      socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all"));
    });
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(get());
    expect(await c.all()).toMatch(/not all$/);
    expect(a.open).toBe(0);
  });

  test("that nobody reads stops the app: memory does not grow", async () => {
    const piece = Buffer.alloc(64 << 10, "x");
    const total = 64 << 20;
    let written = 0;
    await using server = await app((socket) => {
      const pump = (): void => {
        while (written < total) {
          written += piece.length;
          if (!socket.write(piece)) return;
        }
        socket.end();
      };
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
        socket.on("drain", pump);
        pump();
      });
    });
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.socket.pause();
    c.send(get("/", "Connection: close"));
    let before = -1;
    // It stands still once every buffer on the way is full.
    while (before !== written || written === 0) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(written).toBeLessThan(total / 2);
    let read = 0;
    c.socket.on("data", (text: string) => {
      read += text.length;
    });
    c.socket.resume();
    await c.all();
    expect(read).toBeGreaterThan(total);
  });
});

test("a client that does not get on with its request is told so and cut off", async () => {
  await using server = await app(answering(() => ok("x")));
  const a = target(server.address);
  await using gateway = await gatewayFor({ a }, null, { headMs: 50 });
  const c = client(gateway.port);
  c.send("GET / HTTP/1.1\r\nHost: a\r\n");
  expect(await c.all()).toMatch(/^HTTP\/1\.1 408 [\s\S]*SPORE_REQUEST_INVALID: the request took too long\n$/);
  expect(a.granted).toBe(0);
});

test("a client that takes nothing of its answer is cut off, and its instance let go", async () => {
  await using server = await app((socket) => {
    socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 << 20}\r\n\r\n`);
      socket.write(Buffer.alloc(64 << 20, "x"));
    });
  });
  const a = target(server.address);
  await using gateway = await gatewayFor({ a }, null, { stalledMs: 100 });
  const slow = client(gateway.port);
  slow.socket.pause();
  slow.send(get());
  await expect.poll(() => [a.answers, a.open]).toEqual([1, 0]);
  expect(server.connections.every((socket) => socket.destroyed)).toBe(true);
});

describe("a target that sleeps", () => {
  test("is waited for: nothing is lost, and the answer says how it woke", async () => {
    const woken = gate<StartKind>();
    await using server = await app(answering((request) => ok(request.startsWith("POST") ? "posted" : "got")));
    let waiting = 0;
    const a = target(server.address, () => {
      waiting += 1;
      return woken.promise;
    });
    await using gateway = await gatewayFor({ a });
    const clients = [client(gateway.port), client(gateway.port), client(gateway.port)];
    for (const c of clients) c.send(get());
    await expect.poll(() => waiting).toBe(3);
    woken.resolve("snapshot");
    for (const c of clients) {
      expect(await c.until(/got$/)).toMatch(
        /x-spore-start: snapshot\r\nserver-timing: spore-accept;dur=[\d.]+, spore-wait;dur=1\.50, spore-first_byte;dur=[\d.]+\r\n/,
      );
    }
    expect(a.open).toBe(0);
  });

  test("gets the whole of a body that came while it slept", async () => {
    const woken = gate<StartKind>();
    const body = gate<string>();
    await using server = await app((socket) => {
      let got = "";
      socket.setEncoding("latin1").on("data", (text: string) => {
        got += text;
        if (!got.endsWith("END")) return;
        body.resolve(got.slice(got.indexOf("\r\n\r\n") + 4));
        socket.write(ok("thanks"));
      });
    });
    await using gateway = await gatewayFor({ a: target(server.address, () => woken.promise) });
    const c = client(gateway.port);
    const sent = `${"y".repeat(600_000)}END`;
    c.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${sent.length}\r\n\r\n${sent}`);
    setImmediate(() => woken.resolve("cold"));
    await c.until(/thanks$/);
    expect(await body.promise).toBe(sent);
  });

  test("is not waited for by a client that went away", async () => {
    const gone = gate<void>();
    const asked = gate<void>();
    await using gateway = await gatewayFor({
      a: target({ host: "127.0.0.1", port: 1 }, (caller) => {
        caller.onGone = () => gone.resolve();
        asked.resolve();
        return new Promise(() => {});
      }),
    });
    const c = client(gateway.port);
    c.send(get());
    await asked.promise;
    c.socket.destroy();
    await gone.promise;
  });

  test("that cannot wake is refused with its reason and when to come again", async () => {
    const refusal = new Refusal(503, "SPORE_OVERLOADED", "too many", 7);
    await using gateway = await gatewayFor({
      a: target({ host: "127.0.0.1", port: 1 }, () => Promise.reject(refusal)),
    });
    const c = client(gateway.port);
    c.send(get());
    expect(await c.until(/too many\n$/)).toMatch(/^HTTP\/1\.1 503 [\s\S]*retry-after: 7\r\n/);
  });

  test("that is gone when it is connected to is replaced by another, unseen", async () => {
    await using dead = await app(() => {});
    const { address } = dead;
    await dead[Symbol.asyncDispose]();
    await using server = await app(answering(() => ok("alive")));
    const first = target(address);
    const second = target(server.address);
    const a = target(server.address);
    let asked = 0;
    a.acquire = (caller) => {
      asked += 1;
      return (asked === 1 ? first : second).acquire(caller);
    };
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
    await c.until(/alive$/);
    expect([first.unreachable, first.open, second.open]).toEqual([1, 0, 0]);
  });
});

describe("a body that is larger than the app takes", () => {
  test("is refused before the app hears of it, if it says how long it is", async () => {
    let heard = 0;
    await using server = await app(() => {
      heard += 1;
    });
    await using gateway = await gatewayFor({ a: { ...target(server.address), bodyLimit: 10 } });
    const c = client(gateway.port);
    c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    expect(await c.all()).toMatch(/^HTTP\/1\.1 413 /);
    expect(heard).toBe(0);
  });

  test("is cut off where it is too long, and the app's part of it ends with its connection", async () => {
    const ended = Promise.withResolvers<void>();
    await using server = await app((socket) => void socket.resume().on("close", () => ended.resolve()));
    const a = { ...target(server.address), bodyLimit: 10 };
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n",
    );
    expect(await c.all()).toMatch(/^HTTP\/1\.1 413 /);
    await ended.promise;
  });
});

describe("an app", () => {
  test("cannot say how it was started, or that the gateway refused", async () => {
    await using server = await app(
      answering(() => ok("", "X-Spore-Start: cold", "x-spore-error: SPORE_QUOTA")),
    );
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send(get());
    const answer = await c.until(/\r\n\r\n/);
    expect(answer.match(/x-spore-start: (\w+)/gi)).toEqual(["x-spore-start: warm"]);
    expect(answer).not.toMatch(/x-spore-error/i);
    c.socket.destroy();
  });

  test("that closes an idle connection just as the next request comes loses nothing", async () => {
    let requests = 0;
    await using server = await app(
      answering(() => {
        requests += 1;
        return ok(`<${requests}>`);
      }),
    );
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    for (let round = 1; round <= 20; round += 1) {
      c.send(get());
      await c.until(new RegExp(`<${round}>$`));
      // Long enough to count as idle.
      await new Promise((resolve) => setTimeout(resolve, 25));
      // Both leave in one turn: the end first, then the request.
      for (const socket of server.connections) socket.destroy();
    }
    expect(requests).toBe(20);
  });

  test("that ends the connection instead of answering is asked once, and the client is told", async () => {
    let requests = 0;
    await using server = await app((socket) => {
      socket.on("data", () => {
        requests += 1;
        socket.destroy();
      });
    });
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(get());
    expect(await c.until(/\n$/)).toMatch(/^HTTP\/1\.1 502 [\s\S]*SPORE_APP_ANSWER/);
    expect(requests).toBe(1);
    expect(a.open).toBe(0);
  });

  test("that does not answer in time gives 504", async () => {
    await using server = await app(() => {});
    const a = target(server.address, undefined, 20);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(get());
    expect(await c.until(/\n$/)).toMatch(/^HTTP\/1\.1 504 [\s\S]*SPORE_APP_TIMEOUT/);
    expect([a.open, a.answers, a.unanswered]).toEqual([0, 0, 1]);
  });

  test.each([
    ["no HTTP", "hello\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"],
  ])("that answers with %s gives 502", async (_, answer) => {
    await using server = await app(answering(() => answer));
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send(get());
    expect(await c.until(/\n$/)).toMatch(/^HTTP\/1\.1 502 /);
  });

  test("that says more than it was asked for cannot answer the next request with it", async () => {
    await using server = await app(
      answering(() => `${ok("one")}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`),
    );
    await using gateway = await gatewayFor({ a: target(server.address) });
    const [first, second] = [client(gateway.port), client(gateway.port)];
    first.send(get());
    await first.until(/one/);
    second.send(get());
    expect(await second.until(/one$/)).not.toContain("poison");
  });

  test("sends early hints before its answer", async () => {
    const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    await using server = await app(answering(() => hints + ok("late")));
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send(get());
    expect(await c.until(/late$/)).toMatch(
      /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a.css>\r\n\r\nHTTP\/1\.1 200 OK/,
    );
  });

  test("hears of 100-continue and says it", async () => {
    await using server = await app((socket) => {
      let got = "";
      socket.setEncoding("latin1").on("data", (text: string) => {
        const before = got;
        got += text;
        if (before === "") socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        if (got.endsWith("body")) socket.write(ok("done"));
      });
    });
    await using gateway = await gatewayFor({ a: target(server.address) });
    const c = client(gateway.port);
    c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    await c.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    c.send("body");
    await c.until(/done$/);
  });

  test("hears that the client of a stream went away", async () => {
    const closed = gate<void>();
    await using server = await app((socket) => {
      socket.on("data", () =>
        socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"),
      );
      socket.on("close", () => closed.resolve());
    });
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(get());
    await c.until(/data: 1\n\n/);
    c.socket.destroy();
    await closed.promise;
    expect(a.open).toBe(0);
  });
});

describe("a connection that changes its protocol", () => {
  test("carries bytes both ways and holds its instance until it ends", async () => {
    const sockets: Socket[] = [];
    await using server = await app((socket) => {
      sockets.push(socket);
      let head = true;
      socket.on("data", (bytes: Buffer) => {
        if (head)
          socket.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly",
          );
        else socket.write(`<${bytes.toString("latin1")}>`);
        head = false;
      });
    });
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const c = client(gateway.port);
    c.send(get("/ws", "Connection: Upgrade", "Upgrade: websocket"));
    await c.until(/^HTTP\/1\.1 101 [\s\S]*upgrade: websocket\r\n\r\nearly$/);
    c.send("ping");
    await c.until(/<ping>$/);
    expect(a.open).toBe(1);
    const closed = new Promise<void>((resolve) => void sockets[0]?.on("close", () => resolve()));
    c.socket.end();
    await closed;
    await c.all();
    await expect.poll(() => a.open).toBe(0);
  });
});

describe("a TCP service", () => {
  /** Answers every piece of text with the same in brackets. */
  const echo = (socket: Socket): void => {
    socket.on("data", (bytes: Buffer) => void socket.write(`<${bytes.toString("latin1")}>`));
    socket.on("end", () => socket.end("bye"));
  };

  test("is waited for like any other, and gets what the client said meanwhile", async () => {
    const woken = gate<StartKind>();
    await using server = await app(echo);
    const a = target(server.address, () => woken.promise);
    await using gateway = await gatewayFor({});
    const service = await gateway.gateway.listenTcp({ host: "127.0.0.1", port: 0 }, a);
    const c = client(service.port);
    c.send("early");
    setImmediate(() => woken.resolve("cold"));
    await c.until(/^<early>$/);
    c.socket.end();
    await c.until(/bye$/);
    await expect.poll(() => a.open).toBe(0);
    service.close();
  });

  test("that is gone when it is connected to is replaced, and one that cannot wake ends the connection", async () => {
    await using dead = await app(() => {});
    const { address } = dead;
    await dead[Symbol.asyncDispose]();
    await using server = await app(echo);
    const [first, second] = [target(address), target(server.address)];
    const a = target(address);
    let asked = 0;
    a.acquire = (caller) => {
      asked += 1;
      if (asked > 2) throw new Refusal(503, "SPORE_OVERLOADED", "no");
      return (asked === 1 ? first : second).acquire(caller);
    };
    await using gateway = await gatewayFor({});
    const service = await gateway.gateway.listenTcp({ host: "127.0.0.1", port: 0 }, a);
    const c = client(service.port);
    c.send("x");
    await c.until(/^<x>$/);
    expect(first.unreachable).toBe(1);
    expect(await client(service.port).all()).toBe("");
    c.socket.destroy();
  });

  test("does not keep its instance awake while nothing is said, and does again with the next word", async () => {
    await using server = await app(echo);
    const a = target(server.address);
    await using gateway = await gatewayFor({});
    const service = await gateway.gateway.listenTcp({ host: "127.0.0.1", port: 0 }, a);
    const c = client(service.port);
    c.send("x");
    await c.until(/^<x>$/);
    await expect.poll(() => a.resting).toBe(1);
    c.send("y");
    await c.until(/<y>$/);
    expect(a.resting).toBe(0);
    c.socket.destroy();
  });

  test("keeps it awake as long as it is open, if that is the policy", async () => {
    await using server = await app(echo);
    const [always, usual] = [{ ...target(server.address), connectionIdleMs: null }, target(server.address)];
    await using gateway = await gatewayFor({});
    const listen = (a: TestTarget) => gateway.gateway.listenTcp({ host: "127.0.0.1", port: 0 }, a);
    const clients = [client((await listen(always)).port), client((await listen(usual)).port)];
    for (const c of clients) {
      c.send("x");
      await c.until(/^<x>$/);
    }
    await expect.poll(() => usual.resting).toBe(1);
    expect(always.resting).toBe(0);
    for (const c of clients) c.socket.destroy();
  });
});

test("a gateway that closes lets answers end and says so to its clients", async () => {
  const finish = gate<void>();
  const asked = gate<void>();
  await using server = await app((socket) => {
    socket.on("data", () => {
      asked.resolve();
      void finish.promise.then(() => socket.write(ok("finished")));
    });
  });
  const gateway = await gatewayFor({ a: target(server.address) });
  const [busy, idle] = [client(gateway.port), client(gateway.port)];
  busy.send(get());
  await asked.promise;
  const closed = gateway.gateway.close(5000);
  await idle.all();
  finish.resolve();
  expect(await busy.all()).toMatch(/connection: close\r\n[\s\S]*finished$/);
  await closed;
});
