import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BodyReader, chunkHead, lastChunk } from "./body.ts";
import { bad, type Framing, type Header } from "./head.ts";

/** Reads a body that comes in pieces; what it says and what follows it. */
function read(framing: Framing, pieces: readonly string[]) {
  let text = "";
  let trailers: readonly Header[] | null = null;
  const sink = {
    data: (bytes: Buffer) => {
      text += bytes.toString("latin1");
    },
    end: (found: readonly Header[]) => {
      trailers = found;
    },
  };
  const reader = new BodyReader(framing, sink, bad);
  reader.begin();
  let rest = "";
  for (const piece of pieces) {
    if (reader.ended) rest += piece;
    else rest += reader.feed(Buffer.from(piece, "latin1"))?.toString("latin1") ?? "";
  }
  return { text, trailers, rest, ended: reader.ended };
}

const chunked: Framing = { kind: "chunked" };

describe("a body of known length", () => {
  test("ends where it says", () => {
    expect(read({ kind: "length", length: 5 }, ["ab", "cdeGET"])).toEqual({
      text: "abcde",
      trailers: [],
      rest: "GET",
      ended: true,
    });
  });

  test("of no bytes has ended before any come", () => {
    expect(read({ kind: "length", length: 0 }, []).ended).toBe(true);
  });
});

describe("a chunked body", () => {
  const message = "5;name=value\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 7\r\n\r\nGET /";

  test("is the same in whatever pieces it comes", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 60 }), (sizes) => {
        const pieces: string[] = [];
        let left = message;
        for (const size of sizes) {
          pieces.push(left.slice(0, size));
          left = left.slice(size);
        }
        pieces.push(left);
        const { text, trailers, rest } = read(
          chunked,
          pieces.filter((piece) => piece !== ""),
        );
        expect({ text, trailers, rest }).toEqual({
          text: "hello world",
          trailers: [["X-Sum", "7"]],
          rest: "GET /",
        });
      }),
    );
  });

  test("is what the writer of chunks writes", () => {
    const written = `${chunkHead(3)}abc\r\n${lastChunk([["x", "1"]])}`;
    expect(read(chunked, [written])).toMatchObject({ text: "abc", trailers: [["x", "1"]], ended: true });
  });

  test("has no trailers that change what it means", () => {
    const found = read(chunked, ["0\r\nContent-Length: 5\r\nHost: b\r\nX: 1\r\n\r\n"]);
    expect(found.trailers).toEqual([["X", "1"]]);
  });

  test.each([
    ["a line feed alone", "5\nhello\r\n0\r\n\r\n"],
    ["a line feed alone after an extension", "5;a\nhello\r\n0\r\n\r\n"],
    ["a size that is not hexadecimal", "0x5\r\nhello\r\n0\r\n\r\n"],
    ["a signed size", "+5\r\nhello\r\n0\r\n\r\n"],
    ["an empty size", "\r\nhello\r\n0\r\n\r\n"],
    ["a size with a space before", " 5\r\nhello\r\n0\r\n\r\n"],
    ["a size that is too large", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"],
    ["a chunk that is longer than it says", "3\r\nhello\r\n0\r\n\r\n"],
    ["a carriage return in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"],
    ["a trailer that is not one", "0\r\nx y: 1\r\n\r\n"],
    ["a line without end", "5;".padEnd(20_000, "a")],
  ])("with %s is refused", (_, text) => {
    expect(() => read(chunked, [text])).toThrow();
  });
});
