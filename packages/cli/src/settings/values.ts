/** Readers of option texts. Flags and spore.config.ts share them. */

import { isIP } from "node:net";
import type { NodeMajor, Publish } from "@spore/image";
import { isDestination } from "@spore/image/destination";
import type { PiecesMode } from "@spore/needs";
import { Mistake } from "../command.ts";

/** Node releases that an image can carry. */
export const nodeMajors: readonly NodeMajor[] = [22, 24, 26];

const memoryUnits: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** "256M", "1G", "1048576" in bytes. */
export function readMemory(text: string): number {
  const match = /^(\d+)([KMG]?)(?:i?B)?$/i.exec(text.trim());
  const unit = memoryUnits[match?.[2]?.toUpperCase() ?? "?"];
  const bytes = Number(match?.[1]) * (unit ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes === 0) {
    throw new Mistake("expected an amount of memory such as 256M or 1G");
  }
  return bytes;
}

/** How pieces are chosen. */
export function readPieces(text: string): PiecesMode {
  if (text === "full" || text === "derived" || text === "recorded") return text;
  throw new Mistake("expected full, derived or recorded");
}

/** A number from 1 upwards. */
export function readCount(text: string): number {
  const count = Number(text);
  if (!/^\d{1,9}$/.test(text) || count === 0) throw new Mistake("expected a number from 1 upwards");
  return count;
}

/** "8080:80", "0.0.0.0:8080:80", "[::1]:8080:80", "5300:53/udp"; host port 0 stands for a free one. */
export function readPublish(text: string): Publish {
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(\d+):(\d+)(\/tcp|\/udp)?$/.exec(text);
  if (!match) throw new Mistake("expected [ADDR:]HOST:GUEST[/udp], for example 8080:80");
  const address = match[1] === undefined ? "127.0.0.1" : match[1].replace(/^\[|\]$/g, "");
  if (isIP(address) === 0) throw new Mistake(`${address || "an empty text"} is not an IP address`);
  const host = readPortNumber(match[2]);
  const guest = readPortNumber(match[3]);
  if (guest === 0) throw new Mistake("the guest's port cannot be 0");
  return { address, host, guest, ...(match[4] === "/udp" && { protocol: "udp" }) };
}

/** A TCP port other than 0. */
export function readPort(text: string): number {
  const port = readPortNumber(text);
  if (port === 0) throw new Mistake("expected a port from 1 to 65535");
  return port;
}

function readPortNumber(text: string | undefined): number {
  const port = text !== undefined && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65535)) throw new Mistake(`${text} is not a port (0 to 65535)`);
  return port;
}

/** "KEY=VALUE". */
export function readVariable(text: string): readonly [string, string] {
  const equals = text.indexOf("=");
  const name = text.slice(0, Math.max(equals, 0));
  if (!/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name)) throw new Mistake("expected KEY=VALUE");
  return [name, text.slice(equals + 1)];
}

/** "24" or "v24". */
export function readNode(text: string): NodeMajor {
  const match = /^v?(\d+)$/.exec(text.trim());
  const major = nodeMajors.find((known) => known === Number(match?.[1]));
  if (major === undefined) throw new Mistake(`expected one of ${nodeMajors.join(", ")}`);
  return major;
}

/** An absolute path of the guest. */
export function readGuestPath(text: string): string {
  if (!text.startsWith("/")) throw new Mistake("expected an absolute path of the guest");
  return text;
}

/** Where a program may connect to. */
export function readDestination(text: string): string {
  if (!isDestination(text)) {
    throw new Mistake("expected an address, a range or a name, such as 10.0.0.0/8:5432 or db.example.com");
  }
  return text;
}

/** Any text but the empty one. */
export function readText(text: string): string {
  if (text === "") throw new Mistake("must not be empty");
  return text;
}
