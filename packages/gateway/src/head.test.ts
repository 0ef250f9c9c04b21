import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hostOf, parseRequest, parseResponse } from "./head.ts";
import { Refusal } from "./target.ts";

const request = (...lines: string[]) =>
  parseRequest(["GET / HTTP/1.1", "Host: a.localhost", ...lines].join("\r\n"));

describe("a request", () => {
  test("has its parts", () => {
    const head = parseRequest(
      "POST /a?b=1 HTTP/1.1\r\nhOsT: A.localhost:8080\r\nX-One: 1\r\nContent-Length: 5",
    );
    expect(head).toMatchObject({
      method: "POST",
      path: "/a?b=1",
      host: "a.localhost",
      authority: "A.localhost:8080",
      framing: { kind: "length", length: 5 },
      keepAlive: true,
    });
    expect(head.headers).toEqual([
      ["X-One", "1"],
      ["Content-Length", "5"],
    ]);
  });

  test("loses what belongs to the connection, and what Connection names", () => {
    const { headers } = request(
      "Connection: close, X-Hop, Cookie",
      "X-Hop: 1",
      "Cookie: a=b",
      "Keep-Alive: x",
      "TE: trailers, deflate",
    );
    expect(headers).toEqual([
      ["Cookie", "a=b"],
      ["te", "trailers"],
    ]);
  });

  test("in absolute form goes where its target says", () => {
    const head = parseRequest("GET http://b.localhost:80/x HTTP/1.1\r\nHost: a.localhost");
    expect(head).toMatchObject({ host: "b.localhost", path: "/x" });
  });

  test("of HTTP/1.0 needs no host and ends its connection", () => {
    expect(parseRequest("GET / HTTP/1.0")).toMatchObject({ host: "", keepAlive: false });
  });

  test("may ask for another protocol, but not for HTTP/2", () => {
    expect(request("Connection: Upgrade", "Upgrade: websocket").upgrade).toBe("websocket");
    expect(request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x")).toMatchObject(
      {
        upgrade: null,
        headers: [],
      },
    );
  });
});

/** What two servers could read in two ways. */
const smuggled: readonly (readonly [string, string])[] = [
  ["both lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked"],
  ["two lengths", "Content-Length: 4\r\nContent-Length: 5"],
  ["the same length twice", "Content-Length: 4\r\nContent-Length: 4"],
  ["a list of lengths", "Content-Length: 4, 4"],
  ["a signed length", "Content-Length: +4"],
  ["a negative length", "Content-Length: -1"],
  ["a hexadecimal length", "Content-Length: 0x4"],
  ["a length with a space inside", "Content-Length: 1 0"],
  ["a length that is too large", "Content-Length: 99999999999999999999"],
  ["an empty length", "Content-Length: "],
  ["two encodings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"],
  ["chunked twice", "Transfer-Encoding: chunked, chunked"],
  ["chunked and something else", "Transfer-Encoding: chunked, identity"],
  ["a misspelt encoding", "Transfer-Encoding: xchunked"],
  ["an encoding with a tab inside", "Transfer-Encoding: chun\tked"],
  ["an encoding in quotes", 'Transfer-Encoding: "chunked"'],
  ["a vertical tab before the value", "Transfer-Encoding:\x0bchunked"],
  ["a space before the colon", "Transfer-Encoding : chunked"],
  ["a tab before the colon", "Content-Length\t: 4"],
  ["a space before the name", " Content-Length: 4"],
  ["a folded value", "X: a\r\n Content-Length: 4"],
  ["a line feed alone", "X: a\nContent-Length: 4"],
  ["a carriage return alone", "X: a\rContent-Length: 4"],
  ["a NUL", "X: a\0b"],
  ["a control character", "X: a\x01b"],
  ["a name with a NUL", "Content-Length\0: 4"],
  ["no colon", "Content-Length 4"],
  ["an empty name", ": 4"],
  ["a name that is not a token", "Content(Length): 4"],
  ["a second host", "Host: b.localhost"],
  ["an upgrade with a body", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4"],
];

describe("what could hide a request is refused", () => {
  test.each(smuggled)("%s", (_, lines) => {
    expect(() => request(lines)).toThrow(Refusal);
  });

  test.each([
    ["no host", "GET / HTTP/1.1"],
    ["a space in the target", "GET /a b HTTP/1.1\r\nHost: a"],
    ["two spaces", "GET  / HTTP/1.1\r\nHost: a"],
    ["a tab", "GET\t/ HTTP/1.1\r\nHost: a"],
    ["another version", "GET / HTTP/1.2\r\nHost: a"],
    ["version 2", "PRI * HTTP/2.0\r\nHost: a"],
    ["no version", "GET /\r\nHost: a"],
    ["a lower-case version", "GET / http/1.1\r\nHost: a"],
    ["a target that is a name", "GET a HTTP/1.1\r\nHost: a"],
    ["a fragment", "GET /#x HTTP/1.1\r\nHost: a"],
    ["a star that is not for OPTIONS", "GET * HTTP/1.1\r\nHost: a"],
    ["CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a"],
    ["a host with a path", "GET / HTTP/1.1\r\nHost: a/b"],
    ["a host with a user", "GET / HTTP/1.1\r\nHost: u@a"],
    ["a host with a comma", "GET / HTTP/1.1\r\nHost: a,b"],
    ["an absolute target with a user", "GET http://u@a/ HTTP/1.1\r\nHost: a"],
    ["chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked"],
    ["a byte beyond ASCII in the target", "GET /\xe9 HTTP/1.1\r\nHost: a"],
  ])("%s", (_, text) => {
    expect(() => parseRequest(text)).toThrow(Refusal);
  });

  test("whatever comes, nothing but a Refusal is thrown", () => {
    const line = fc.string({ unit: "binary-ascii", maxLength: 40 });
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
        try {
          const head = parseRequest(lines.join("\r\n"));
          // What is passed on holds nothing that ends a line.
          for (const [name, value] of head.headers) expect(`${name}${value}`).not.toMatch(/[\r\n\0]/);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(Refusal);
        }
      }),
    );
  });
});

describe("a response", () => {
  test("has its parts", () => {
    const head = parseResponse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nKeep-Alive: timeout=5, max=9", "GET");
    expect(head).toMatchObject({ status: 200, keepAlive: true, keepAliveTimeout: 5 });
    expect(head.framing).toEqual({ kind: "length", length: 3 });
  });

  test.each([
    ["HEAD", 200],
    ["GET", 204],
    ["GET", 304],
    ["GET", 103],
  ])("to %s with status %d has no body", (method, status) => {
    const head = parseResponse(`HTTP/1.1 ${status} X\r\nContent-Length: 3`, method);
    expect(head.framing).toEqual({ kind: "none" });
  });

  test("without a length ends with its connection", () => {
    const head = parseResponse("HTTP/1.1 200 OK", "GET");
    expect(head).toMatchObject({ framing: { kind: "close" }, keepAlive: false });
  });

  test.each([
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
    "HTTP/1.1 20 OK",
    "HTTP/1.1 200 OK\r\nX: a\nY: b",
    "ICY 200 OK",
  ])("that is ambiguous is the app's fault: %j", (text) => {
    expect(() => parseResponse(text, "GET")).toThrow(expect.objectContaining({ status: 502 }));
  });
});

test.each([
  ["A.localhost:80", "a.localhost"],
  ["a.localhost.", "a.localhost"],
  ["[::1]:8080", "[::1]"],
  ["127.0.0.1", "127.0.0.1"],
  ["", ""],
])("the host of %j is %j", (authority, host) => {
  expect(hostOf(authority)).toBe(host);
});
