/** Destinations that an image declares: addresses, ranges and names, each perhaps with a port. */

import { isIP } from "node:net";

/**
 * True for what the monitor understands (monitor/src/net/destination.rs): "10.0.0.1", "10.0.0.0/8",
 * "[fd00::/8]", "db.example.com", "*.example.com", each perhaps with ":PORT".
 */
export function isDestination(text: string): boolean {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text);
  if (!match) return false;
  const [, inBrackets, plain = "", port] = match;
  if (port !== undefined && !(Number(port) >= 1 && Number(port) <= 65_535)) return false;
  if (inBrackets !== undefined) return isNetwork(inBrackets, 6);
  return isNetwork(plain, 4) || isName(plain);
}

function isNetwork(text: string, family: 4 | 6): boolean {
  const [address = "", prefix, ...more] = text.split("/");
  if (more.length > 0 || isIP(address) !== family || address.includes("%")) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}

function isName(text: string): boolean {
  const plain = text.startsWith("*.") ? text.slice(2) : text;
  if (plain.length > 253 || /^[\d.]*$/.test(plain)) return false;
  return plain.split(".").every((label) => /^[A-Za-z0-9_-]{1,63}$/.test(label));
}
