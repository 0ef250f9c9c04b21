/**
 * The development authority: signs a certificate for every host name under the
 * daemon's domain, when somebody first asks for it. It is made once, and can sign
 * for that domain and this machine's loopback alone: whoever trusts it trusts it
 * with nothing else.
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, type SecureContext } from "node:tls";
import { sporeError } from "@spore/errors";
import { signCertificate } from "./x509.ts";

const DAY_MS = 86_400_000;
/** Browsers refuse certificates of hosts that hold for much longer than a year. */
const HOST_DAYS = 90;
const AUTHORITY_DAYS = 3650;
/** Hosts whose certificates are kept: what a client says must not fill the memory. */
const KEPT = 500;

interface Kept {
  readonly context: SecureContext;
  readonly until: number;
}

/** A development authority. */
export class Authority {
  /** The certificate that clients have to trust, PEM. */
  readonly certificate: string;
  readonly domain: string;
  readonly #key: KeyObject;
  /** One key for all hosts: it never leaves this process. */
  readonly #hosts: KeyObject = newKey();
  readonly #kept = new Map<string, Kept>();

  private constructor(domain: string, certificate: string, key: KeyObject) {
    this.domain = domain;
    this.certificate = certificate;
    this.#key = key;
  }

  /** The authority for `domain` in `folder`, made if there is none. Throws SPORE_CERTIFICATE. */
  static open(folder: string, domain: string): Authority {
    const file = join(folder, `authority-${domain}.pem`);
    try {
      const text = readFileSync(file, "utf8");
      const key = createPrivateKey(text);
      const known = new X509Certificate(text);
      if (!known.checkPrivateKey(key)) throw new Error("certificate and key do not belong together");
      const soon = Date.now() + HOST_DAYS * DAY_MS;
      if (known.validToDate.getTime() > soon) return new Authority(domain, known.toString(), key);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "ENOENT") {
        const problem = cause instanceof Error ? cause.message : String(cause);
        const next = "remove it: `spore up` makes a new one, which clients have to be told to trust";
        throw sporeError("SPORE_CERTIFICATE", { file, problem }, { cause, next });
      }
    }
    return Authority.#make(folder, file, domain);
  }

  static #make(folder: string, file: string, domain: string): Authority {
    const key = newKey();
    const certificate = signCertificate({
      subject: `Spore development authority for ${domain}`,
      days: AUTHORITY_DAYS,
      publicKey: createPublicKey(key),
      authority: { domain },
      issuer: null,
      key,
    });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // One file, so that certificate and key can never be of two authorities.
    const secret = key.export({ type: "pkcs8", format: "pem" });
    writeFileSync(`${file}.new`, `${certificate}${secret}`, { mode: 0o600, flush: true });
    renameSync(`${file}.new`, file);
    return new Authority(domain, certificate, key);
  }

  /** What a host is certified with; null if it is not one of the domain. */
  find(host: string): SecureContext | null {
    if (host !== this.domain && !host.endsWith(`.${this.domain}`)) return null;
    const known = this.#kept.get(host);
    if (known !== undefined && known.until > Date.now()) return known.context;
    const oldest = this.#kept.size >= KEPT ? this.#kept.keys().next().value : undefined;
    if (oldest !== undefined) this.#kept.delete(oldest);
    const context = createSecureContext(this.issue(host));
    this.#kept.set(host, { context, until: Date.now() + (HOST_DAYS * DAY_MS) / 2 });
    return context;
  }

  /** Signs a certificate for a host. */
  issue(host: string): { readonly cert: string; readonly key: string } {
    const cert = signCertificate({
      subject: null,
      days: HOST_DAYS,
      publicKey: createPublicKey(this.#hosts),
      hosts: host === this.domain ? [host, "127.0.0.1", "::1"] : [host],
      issuer: this.certificate,
      key: this.#key,
    });
    const key = this.#hosts.export({ type: "pkcs8", format: "pem" }).toString();
    return { cert: `${cert}${this.certificate}`, key };
  }
}

function newKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}
