/**
 * Certificates of the gateway: those that lie in the folder tls of its state,
 * `NAME.crt` and `NAME.key` for a host name (`_` stands for the star of a
 * wildcard); else the one it was given, or what the development authority signs.
 * New files are used from the next connection on.
 */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, type SecureContext } from "node:tls";
import { sporeError } from "@spore/errors";
import type { Certificates } from "@spore/gateway";
import type { Authority } from "./authority.ts";

/** Where the certificate and its key are. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

interface Kept {
  readonly context: SecureContext;
  readonly modified: number;
}

/** Certificates from files and an authority. Throws SPORE_CERTIFICATE if the usual one cannot be used. */
export function certificates(folder: string, usual: CertificateFiles | Authority): Certificates {
  const authority = "issue" in usual ? usual : null;
  const kept = new Map<string, Kept>();
  const load = (name: string): SecureContext | null => {
    const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
    const modified = statSync(files.cert, { throwIfNoEntry: false })?.mtimeMs;
    if (modified === undefined) return null;
    const known = kept.get(name);
    if (known?.modified === modified) return known.context;
    try {
      const context = createSecureContext(read(files));
      kept.set(name, { context, modified });
      return context;
    } catch {
      // Half written, perhaps: the usual one until it is whole.
      return known?.context ?? null;
    }
  };
  return {
    usual: "issue" in usual ? usual.issue(usual.domain) : checked(usual),
    // What a client says becomes a file name: it has to be a host name.
    find: (host) =>
      /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(host) && !host.includes("..")
        ? (load(host) ?? load(`_.${host.slice(host.indexOf(".") + 1)}`) ?? authority?.find(host) ?? null)
        : null,
  };
}

function read({ cert, key }: CertificateFiles): { readonly cert: string; readonly key: string } {
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}

function checked(files: CertificateFiles): { readonly cert: string; readonly key: string } {
  try {
    const found = read(files);
    createSecureContext(found);
    return found;
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_CERTIFICATE", { file: files.cert, problem }, { cause });
  }
}
