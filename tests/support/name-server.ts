/** A DNS server for tests: every name has one address, except `missing.*`. */

import dgram from "node:dgram";
import { once } from "node:events";

/**
 * Starts one on 127.0.0.1, on a free UDP port unless one is given; gives `ADDRESS:PORT` and a way to
 * stop it. Every name has the given address.
 */
export async function startNameServer(
  options: { readonly port?: number; readonly address?: readonly number[] } = {},
): Promise<{ readonly address: string; close(): void }> {
  const socket = dgram.createSocket("udp4", (query, from) => {
    socket.send(answerTo(query, options.address), from.port, from.address);
  });
  socket.bind(options.port ?? 0, "127.0.0.1");
  await once(socket, "listening");
  return { address: `127.0.0.1:${socket.address().port}`, close: () => void socket.close() };
}

/** RFC 1035, section 4: the question back, and one A record for it, of 192.0.2.LENGTH by default. */
function answerTo(query: Buffer, address?: readonly number[]): Buffer {
  const headerLength = 12;
  const first = query[headerLength] ?? 0;
  const label = query.toString("latin1", headerLength + 1, headerLength + 1 + first);
  const nameEnd = query.indexOf(0, headerLength);
  const question = query.subarray(headerLength, nameEnd + 5);
  const known = label !== "missing";
  const header = Buffer.alloc(headerLength);
  query.copy(header, 0, 0, 2);
  // A response, recursion available; 3 is "no such name".
  header.writeUInt16BE(known ? 0x8180 : 0x8183, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(known ? 1 : 0, 6);
  // The name of the question, type A, class IN, 60 seconds, 4 bytes.
  const record = Buffer.from([
    0xc0,
    headerLength,
    0,
    1,
    0,
    1,
    0,
    0,
    0,
    60,
    0,
    4,
    ...(address ?? [192, 0, 2, first]),
  ]);
  return Buffer.concat([header, question, known ? record : Buffer.alloc(0)]);
}
