/**
 * Apps that reach each other by name. `NAME.internal` has an address that follows
 * from the name, in every guest (monitor/src/net/internal.rs); a connection to it
 * comes out here, with the word of its monitor on whose it is. Apps of one tenant
 * reach each other; those of others are not there.
 */

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Gateway } from "@spore/gateway";
import type { Events } from "../events.ts";
import { type AppRecord, releaseKey, type Store } from "../store/types.ts";
import type { InternalFlags } from "./internal-flags.ts";
import type { CloudRouter } from "./router.ts";

/** Where a monitor connects, and what it says there. */
export interface InternalGrant {
  readonly socket: string;
  readonly token: string;
}

/** 240.0.0.0/5. */
const BASE = 0xf0000000;
const ADDRESSES = 0x08000000;
/** Longest path of a Unix socket. */
const SOCKET_PATH = 107;
/** What a monitor says first is one short line, and comes at once. */
const HELLO_LIMIT = 200;
const HELLO_MS = 5000;
const HTTP = 80;
/** Grants that are remembered. */
const KNOWN = 5000;
/** Connections that the instances of one app may have to others. */
const CONNECTIONS = 1000;
const hello = /^([a-z][a-z0-9-]{0,41})\.([A-Za-z0-9_-]{43}) (\d{1,3}(?:\.\d{1,3}){3}) (\d{1,5})$/;

/** The address of an app: the FNV-1a hash of its name. */
export function internalAddress(app: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(app)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  const number = BASE + 1 + (hash % (ADDRESSES - 2));
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join(".");
}

/** What it is made of. */
export interface InternalParts {
  readonly store: Store;
  readonly events: Events;
  readonly router: CloudRouter;
  readonly gateway: Gateway;
  /** Answers an app that asks for its own flags. */
  readonly flags: InternalFlags;
}

/** Under this name, the daemon itself answers. */
const OWN_NAME = "spore";

/** The secret with which grants are signed; instances outlive the daemon, so it is kept. */
export class Grants {
  readonly #key: Buffer;
  readonly socket: string;
  /** By app. */
  readonly #known = new Map<string, InternalGrant>();

  constructor(home: string) {
    this.socket = join(home, "internal.sock");
    const file = join(home, "internal.key");
    try {
      this.#key = readFileSync(file);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
      this.#key = randomBytes(32);
      writeFileSync(file, this.#key, { mode: 0o600, flag: "wx", flush: true });
    }
  }

  /** For the instances of an app; null: no socket can have such a long name. */
  of(app: string): InternalGrant | null {
    if (this.socket.length > SOCKET_PATH) return null;
    const known = this.#known.get(app);
    if (known !== undefined) return known;
    const grant = { socket: this.socket, token: `${app}.${this.#signature(app).toString("base64url")}` };
    if (this.#known.size >= KNOWN) this.#known.clear();
    this.#known.set(app, grant);
    return grant;
  }

  /** Tells texts apart without telling what is in them: who has the store alone cannot even guess. */
  fingerprint(text: string): string {
    // No name of an app begins like this.
    return this.#signature(`\0${text}`).toString("base64url");
  }

  /** Whether a signature is that of an app. */
  holds(app: string, signature: string): boolean {
    const given = Buffer.from(signature, "base64url");
    const own = this.#signature(app);
    return given.length === own.length && timingSafeEqual(given, own);
  }

  #signature(text: string): Buffer {
    return createHmac("sha256", this.#key).update(text).digest();
  }
}

/** Takes the connections. */
export class InternalNetwork {
  readonly #parts: InternalParts;
  readonly #grants: Grants;
  readonly #server: Server;
  /** Connections by app. */
  readonly #open = new Map<string, number>();
  /** Apps by address; null: to be looked up again. */
  #apps: Map<string, string[]> | null = null;

  constructor(parts: InternalParts, grants: Grants) {
    this.#parts = parts;
    this.#grants = grants;
    this.#server = createServer({ pauseOnConnect: false, allowHalfOpen: true }, (socket) =>
      this.#greet(socket),
    );
    parts.events.follow(({ kind }) => {
      if (kind === "app.created" || kind === "app.removed") this.#apps = null;
    });
  }

  /** Listens where grants lead. */
  async listen(): Promise<void> {
    const { socket } = this.#grants;
    if (socket.length > SOCKET_PATH) return;
    // The store's lock says that no other daemon lives here: what is left is a dead one's.
    rmSync(socket, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ path: socket, backlog: 1024 }, resolve);
    });
  }

  close(): void {
    this.#server.close();
  }

  /** Waits for the line that a monitor says first. */
  #greet(socket: Socket): void {
    let ahead: Buffer = Buffer.alloc(0);
    const timer = setTimeout(() => socket.destroy(), HELLO_MS);
    socket.on("error", () => {});
    const take = (bytes: Buffer): void => {
      ahead = Buffer.concat([ahead, bytes]);
      const end = ahead.indexOf(10);
      if (end < 0 && ahead.length < HELLO_LIMIT) return;
      clearTimeout(timer);
      socket.off("data", take).off("close", gone);
      socket.pause();
      this.#route(socket, ahead.toString("latin1", 0, Math.max(end, 0)), ahead.subarray(end + 1));
    };
    const gone = (): void => clearTimeout(timer);
    socket.on("data", take).once("close", gone);
  }

  #route(socket: Socket, line: string, rest: Buffer): void {
    const [, from = "", signature = "", address = "", port = ""] = hello.exec(line) ?? [];
    const caller = from === "" ? null : this.#parts.store.get("apps", from);
    if (caller === null || !this.#grants.holds(from, signature)) {
      socket.destroy();
      return;
    }
    if (!this.#admit(from, socket)) {
      socket.destroy();
      return;
    }
    if (rest.length > 0) socket.unshift(rest);
    const target = this.#find(address, caller.tenant);
    const { router, gateway, flags } = this.#parts;
    if (address === internalAddress(OWN_NAME)) {
      flags.serve(socket, from);
    } else if (Number(port) === HTTP) {
      const find = () => (target === null ? null : router.app(target.name));
      gateway.serve(socket, { find }, internalAddress(from));
    } else if (target !== null && this.#speaksTcp(target, Number(port))) {
      gateway.carry(socket, router.live(target.name));
    } else {
      socket.destroy();
    }
  }

  /** One app must not take the descriptors of all. */
  #admit(app: string, socket: Socket): boolean {
    const open = this.#open.get(app) ?? 0;
    if (open >= CONNECTIONS) return false;
    this.#open.set(app, open + 1);
    socket.once("close", () => {
      const left = (this.#open.get(app) ?? 1) - 1;
      if (left === 0) this.#open.delete(app);
      else this.#open.set(app, left);
    });
    return true;
  }

  /** The tenant's app at an address. */
  #find(address: string, tenant: string): AppRecord | null {
    const { store } = this.#parts;
    if (this.#apps === null) {
      this.#apps = new Map();
      for (const { name } of store.list("apps")) {
        const at = internalAddress(name);
        this.#apps.set(at, [...(this.#apps.get(at) ?? []), name]);
      }
    }
    for (const name of this.#apps.get(address) ?? []) {
      const app = store.get("apps", name);
      if (app?.tenant === tenant) return app;
    }
    return null;
  }

  /** Services that do not speak HTTP are reached at the port that they listen on. */
  #speaksTcp({ name, live, settings }: AppRecord, port: number): boolean {
    if (settings.tcp === null || live === null) return false;
    return (
      port === settings.tcp || port === this.#parts.store.get("releases", releaseKey(name, live))?.config.port
    );
  }
}
