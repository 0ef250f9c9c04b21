/**
 * Writes X.509 certificates (RFC 5280) for the development authority: version 3,
 * ECDSA with SHA-256, the few extensions that clients look at. Only writes: what
 * is read is read by node:crypto.
 */

import { createHash, type KeyObject, randomBytes, sign, X509Certificate } from "node:crypto";
import { isIP } from "node:net";

const DAY_MS = 86_400_000;
/** Not to be caught by clocks that differ. */
const EARLIER_MS = 3_600_000;

/** What a certificate says. */
export interface CertificateFields {
  /** Common name; null: none, the hosts say it all. */
  readonly subject: string | null;
  readonly days: number;
  readonly publicKey: KeyObject;
  /** Names and addresses of a host. */
  readonly hosts?: readonly string[];
  /** It may sign for hosts of this domain and of the loopback, and for no authority. */
  readonly authority?: { readonly domain: string };
  /** Certificate of whoever signs, PEM; null: itself. */
  readonly issuer: string | null;
  /** Key of whoever signs. */
  readonly key: KeyObject;
}

/** Signs a certificate; gives PEM. */
export function signCertificate(fields: CertificateFields): string {
  const { subject, days, publicKey, issuer, key } = fields;
  const own = nameOf(subject);
  const signer = issuer === null ? own : subjectOf(issuer);
  const now = Date.now();
  const info = publicKey.export({ type: "spki", format: "der" });
  const body = sequence(
    tagged(0xa0, integer(Buffer.of(2))),
    integer(serial()),
    sequence(ecdsaWithSha256),
    signer,
    sequence(time(new Date(now - EARLIER_MS)), time(new Date(now + days * DAY_MS))),
    own,
    info,
    tagged(0xa3, sequence(...extensionsOf(fields, info))),
  );
  const signature = sign("sha256", body, key);
  const whole = sequence(body, sequence(ecdsaWithSha256), bits(signature));
  const text = whole.toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
}

function extensionsOf({ hosts, authority, issuer }: CertificateFields, info: Buffer): Buffer[] {
  const keyId = createHash("sha1").update(info).digest();
  if (authority !== undefined) {
    const permitted = [
      sequence(tagged(0x82, Buffer.from(authority.domain, "latin1"))),
      sequence(tagged(0x87, Buffer.of(127, 0, 0, 0, 255, 0, 0, 0))),
      sequence(tagged(0x87, Buffer.concat([Buffer.alloc(15), Buffer.of(1), Buffer.alloc(16, 255)]))),
    ];
    return [
      extension(oids.basicConstraints, true, sequence(tagged(0x01, Buffer.of(255)), integer(Buffer.of(0)))),
      // keyCertSign
      extension(oids.keyUsage, true, tagged(0x03, Buffer.of(2, 0x04))),
      extension(oids.subjectKeyIdentifier, false, tagged(0x04, keyId)),
      extension(oids.nameConstraints, true, sequence(tagged(0xa0, Buffer.concat(permitted)))),
    ];
  }
  const names = (hosts ?? []).map((host) =>
    isIP(host) === 0 ? tagged(0x82, Buffer.from(host, "latin1")) : tagged(0x87, addressOf(host)),
  );
  const signer = issuer === null ? keyId : identifierOf(issuer);
  return [
    extension(oids.basicConstraints, true, sequence()),
    // digitalSignature
    extension(oids.keyUsage, true, tagged(0x03, Buffer.of(7, 0x80))),
    extension(oids.extendedKeyUsage, false, sequence(oids.serverAuth)),
    extension(oids.authorityKeyIdentifier, false, sequence(tagged(0x80, signer))),
    // Without a subject, the names stand here alone, so that they must be understood.
    extension(oids.subjectAltName, true, sequence(...names)),
  ];
}

/** The bytes of an object identifier whose numbers are below 16384. */
function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = rest.flatMap((number) => {
    const parts = [number & 127];
    for (let left = number >> 7; left > 0; left >>= 7) parts.unshift((left & 127) | 128);
    return parts;
  });
  return tagged(0x06, Buffer.of(first * 40 + second, ...bytes));
}

const oids = {
  commonName: oid("2.5.4.3"),
  basicConstraints: oid("2.5.29.19"),
  keyUsage: oid("2.5.29.15"),
  extendedKeyUsage: oid("2.5.29.37"),
  subjectKeyIdentifier: oid("2.5.29.14"),
  authorityKeyIdentifier: oid("2.5.29.35"),
  subjectAltName: oid("2.5.29.17"),
  nameConstraints: oid("2.5.29.30"),
  serverAuth: oid("1.3.6.1.5.5.7.3.1"),
} as const;
const ecdsaWithSha256 = oid("1.2.840.10045.4.3.2");

function nameOf(common: string | null): Buffer {
  if (common === null) return sequence();
  const pair = sequence(oids.commonName, tagged(0x0c, Buffer.from(common)));
  return sequence(tagged(0x31, pair));
}

/** The name of an authority, which has nothing but a common name. */
function subjectOf(pem: string): Buffer {
  return nameOf(new X509Certificate(pem).subject.replace(/^CN=/, ""));
}

function identifierOf(pem: string): Buffer {
  const info = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  return createHash("sha1").update(info).digest();
}

function extension(id: Buffer, critical: boolean, value: Buffer): Buffer {
  return sequence(id, ...(critical ? [tagged(0x01, Buffer.of(255))] : []), tagged(0x04, value));
}

/** UTCTime up to 2049, GeneralizedTime after. */
function time(date: Date): Buffer {
  const text = `${date.toISOString().replace(/[-:T]|\.\d+/g, "")}`;
  const early = date.getUTCFullYear() < 2050;
  return tagged(early ? 0x17 : 0x18, Buffer.from(early ? text.slice(2) : text, "latin1"));
}

function addressOf(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  const [before = "", after] = address.split("::");
  const words = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16));
  const start = words(before);
  const end = after === undefined ? [] : words(after);
  const all = [...start, ...Array<number>(8 - start.length - end.length).fill(0), ...end];
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** Positive, 16 bytes long. */
function serial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes);
}

function bits(bytes: Buffer): Buffer {
  return tagged(0x03, Buffer.concat([Buffer.of(0), bytes]));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

/** One value in DER; those here are shorter than 64 KiB. */
function tagged(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const head = length < 128 ? [tag, length] : [tag, 0x82, length >> 8, length & 255];
  if (length >= 128 && length < 256) return Buffer.concat([Buffer.of(tag, 0x81, length), value]);
  return Buffer.concat([Buffer.from(head), value]);
}
