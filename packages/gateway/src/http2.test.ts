import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from "node:http2";
import { request } from "node:https";
import { connect as connectTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answering, app, gatewayFor, ok, target } from "./test-parties.ts";

let usual: { readonly cert: string; readonly key: string };
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "spore-tls-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const name = ["-subj", "/CN=a", "-addext", "subjectAltName=DNS:a,DNS:localhost"];
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      "-keyout",
      key,
      "-out",
      cert,
      ...name,
    ],
    { stdio: "ignore" },
  );
  usual = { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What came of a stream. */
interface Got {
  readonly headers: Record<string, unknown>;
  readonly interim: Record<string, unknown>[];
  readonly trailers: Record<string, unknown>;
  readonly text: string;
}

function got(stream: ClientHttp2Stream): Promise<Got> {
  return new Promise((resolve, reject) => {
    let [headers, trailers, text] = [{}, {}, ""];
    const interim: Record<string, unknown>[] = [];
    stream.setEncoding("utf8");
    stream.on("headers", (found) => void interim.push(found));
    stream.on("response", (found) => {
      headers = found;
    });
    stream.on("trailers", (found) => {
      trailers = found;
    });
    stream.on("data", (part: string) => {
      text += part;
    });
    stream.on("end", () => resolve({ headers, interim, trailers, text }));
    stream.on("error", reject);
  });
}

async function session(port: number, use: (client: ClientHttp2Session) => Promise<void>): Promise<void> {
  const client = connect(`https://localhost:${port}`, { ca: usual.cert, servername: "a" });
  try {
    await use(client);
  } finally {
    client.destroy();
  }
}

const to = (path: string, more: OutgoingHttpHeaders = {}): OutgoingHttpHeaders => ({
  ":path": path,
  ":authority": "a",
  ...more,
});

describe("a client that speaks HTTP/2", () => {
  test("gets the app's answer; the app hears HTTP/1.1 and that it was TLS", async () => {
    let seen = "";
    const say = (text: string): string => {
      seen = text;
      return ok("hello", "X-Mine: 1", "Set-Cookie: a=1", "Set-Cookie: b=2", "Connection: keep-alive");
    };
    await using server = await app(answering(say));
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const port = await gateway.gateway.listenTls({ host: "127.0.0.1", port: 0 }, { usual, find: () => null });
    await session(port, async (client) => {
      const { headers, text } = await got(client.request(to("/x?y=1", { "x-one": "1" })));
      expect(text).toBe("hello");
      expect(headers).toMatchObject({
        ":status": 200,
        "x-mine": "1",
        "set-cookie": ["a=1", "b=2"],
        "x-spore-start": "warm",
      });
      expect(headers).not.toHaveProperty("connection");
    });
    expect(seen).toMatch(/^GET \/x\?y=1 HTTP\/1\.1\r\nhost: a\r\n/);
    expect(seen).toContain("x-one: 1\r\n");
    expect(seen).toContain("x-forwarded-proto: https\r\n");
    expect(a.open).toBe(0);
  });

  test("streams both ways, with hints before and trailers behind", async () => {
    await using server = await app((socket) => {
      let got = "";
      socket.setEncoding("latin1").on("data", (text: string) => {
        got += text;
        if (!got.includes("0\r\n\r\n")) return;
        const body = got.slice(got.indexOf("\r\n\r\n") + 4);
        socket.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body.replace("0\r\n\r\n", "")}`);
        socket.write("0\r\nX-Sum: 7\r\n\r\n");
      });
    });
    await using gateway = await gatewayFor({ a: target(server.address) });
    const port = await gateway.gateway.listenTls({ host: "127.0.0.1", port: 0 }, { usual, find: () => null });
    await session(port, async (client) => {
      const stream = client.request(to("/", { ":method": "POST" }));
      stream.write("first ");
      stream.end("second");
      const answer = await got(stream);
      expect(answer.text).toBe("first second");
      expect(answer.interim).toEqual([expect.objectContaining({ ":status": 103, link: "</a.css>" })]);
      expect(answer.trailers).toMatchObject({ "x-sum": "7" });
    });
  });

  test("has many requests under way at once, and an app hears of each that is given up", async () => {
    const closed = Promise.withResolvers<void>();
    await using server = await app((socket) => {
      answering((text) => (text.startsWith("GET /slow") ? "" : ok(text.split(" ")[1] ?? "")))(socket);
      socket.on("close", () => closed.resolve());
    });
    const a = target(server.address);
    await using gateway = await gatewayFor({ a });
    const port = await gateway.gateway.listenTls({ host: "127.0.0.1", port: 0 }, { usual, find: () => null });
    await session(port, async (client) => {
      const slow = client.request(to("/slow"));
      slow.on("error", () => {});
      const paths = Array.from({ length: 20 }, (_, index) => `/${index}`);
      const answers = await Promise.all(paths.map((path) => got(client.request(to(path)))));
      expect(answers.map(({ text }) => text)).toEqual(paths);
      slow.close();
      await closed.promise;
    });
    await expect.poll(() => a.open).toBe(0);
  });

  test.each([
    ["for a host that nobody has", { ":authority": "nobody" }, 404],
    ["with a path that is none", { ":path": "/a#b" }, 400],
    ["with two hosts", { host: "b" }, 400],
  ])("%s is told so", async (_, headers, status) => {
    await using gateway = await gatewayFor({ a: target({ host: "127.0.0.1", port: 1 }) });
    const port = await gateway.gateway.listenTls({ host: "127.0.0.1", port: 0 }, { usual, find: () => null });
    await session(port, async (client) => {
      const answer = await got(client.request(to("/", headers)));
      expect(answer.headers[":status"]).toBe(status);
    });
  });
});

test("a client that speaks HTTP/2 without TLS is answered in it, however its first bytes are cut", async () => {
  let seen = "";
  const say = (text: string): string => {
    seen = text;
    return ok("hello");
  };
  await using server = await app(answering(say));
  const a = target(server.address);
  await using gateway = await gatewayFor({ a });
  const socket = connectTcp(gateway.port, "127.0.0.1");
  const client = connect("http://a", { createConnection: () => inPieces(socket) });
  expect((await got(client.request(to("/")))).text).toBe("hello");
  expect(seen).toContain("x-forwarded-proto: http\r\n");
  client.destroy();
  await expect.poll(() => a.open).toBe(0);
});

/** A connection whose first bytes leave one at a time. */
function inPieces(socket: Socket): Duplex {
  let first = true;
  const pieces = new Duplex({
    read: () => {},
    write: (bytes: Buffer, _, done) => {
      if (first) for (const byte of bytes) socket.write(Buffer.of(byte));
      else socket.write(bytes);
      first = false;
      done();
    },
    final: (done) => void socket.end(done),
  });
  socket.setNoDelay(true);
  socket.on("data", (bytes: Buffer) => void pieces.push(bytes));
  socket.on("close", () => void pieces.push(null));
  socket.on("error", () => {});
  return pieces;
}

test("trailers of a request cannot say what its body is, nor be without end", async () => {
  let seen = "";
  const ended = Promise.withResolvers<void>();
  await using server = await app((socket) => {
    socket.setEncoding("latin1").on("data", (text: string) => {
      seen += text;
      if (seen.endsWith("0\r\nx-sum: 1\r\n\r\n")) socket.write(ok("whole"));
    });
    socket.on("close", () => ended.resolve());
  });
  const a = target(server.address);
  await using gateway = await gatewayFor({ a });
  const send = (client: ClientHttp2Session, trailers: OutgoingHttpHeaders): Promise<Got> => {
    const stream = client.request(to("/", { ":method": "POST" }), { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.end("body");
    return got(stream);
  };
  const client = connect(`http://localhost:${gateway.port}`);
  const answer = await send(client, { "x-sum": "1", "content-type": "x", authorization: "me" });
  expect(answer.text).toBe("whole");
  expect(seen).not.toMatch(/authorization|content-type/);
  seen = "";
  await expect(send(client, { "x-long": "x".repeat(40_000) })).rejects.toThrow();
  await ended.promise;
  expect(a.open).toBe(0);
  client.destroy();
});

test("headers that are too long are refused, and the connection goes on", async () => {
  await using server = await app(answering(() => ok("short")));
  await using gateway = await gatewayFor({ a: target(server.address) });
  const port = await gateway.gateway.listenTls({ host: "127.0.0.1", port: 0 }, { usual, find: () => null });
  const client = connect(`https://localhost:${port}`, {
    ca: usual.cert,
    servername: "a",
  });
  const long = client.request(to("/", { "x-long": "x".repeat(40_000) }));
  const status = await got(long).then(
    ({ headers }) => headers[":status"],
    (error: Error) => error.message,
  );
  expect(status).toBe(431);
  expect((await got(client.request(to("/")))).text).toBe("short");
  client.destroy();
});

test("a client that does not know HTTP/2 speaks HTTP/1.1 over TLS", async () => {
  await using server = await app(answering(() => ok("old")));
  await using gateway = await gatewayFor({ a: target(server.address) });
  const port = await gateway.gateway.listenTls({ host: "127.0.0.1", port: 0 }, { usual, find: () => null });
  const text = await new Promise<string>((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port,
      ca: usual.cert,
      servername: "a",
      headers: { host: "a" },
      agent: false,
    };
    const asked = request(options, (answer) => {
      answer.setEncoding("utf8").on("data", resolve);
    });
    asked.on("error", reject).end();
  });
  expect(text).toBe("old");
});
