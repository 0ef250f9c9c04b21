/** What a handler of a route is given, and what handlers are. */

import type { Readable } from "node:stream";
import type { Calls } from "@spore/api";
import type { Identity, Scope } from "../cloud/tenants.ts";

/** Carries out what a call changes, together with the record that it was carried out. Gives what `effect` gives. */
export type Commit = <T>(effect: () => T) => T;

/** A call that was checked. */
export interface Checked<K extends keyof Calls> {
  readonly params: Calls[K]["params"];
  readonly query: Calls[K]["query"];
  readonly body: Calls[K]["body"] extends "bytes" ? Readable : Calls[K]["body"];
  readonly who: Identity;
  /** Whose things may be seen; null: an operator sees all. */
  readonly sees: Scope | null;
  /** Every handler of an idempotent route calls it once, for its answer. */
  readonly commit: Commit;
}

/** Sends the events of a stream. */
export interface Stream<T> {
  /** False: the client reads too slowly, and is cut off. */
  send(id: number, data: T): boolean;
  /** Called when the client goes away. */
  onClose(then: () => void): void;
}

/** Handlers of all routes; the compiler sees that none is missing. */
export type Handlers = {
  readonly [K in keyof Calls as K extends `follow${string}` ? never : K]: (
    call: Checked<K>,
  ) => Calls[K]["result"] | Promise<Calls[K]["result"]>;
};

/** Handlers of the routes that answer with events. */
export type Streams = {
  readonly [K in keyof Calls as K extends `follow${string}` ? K : never]: (
    call: Omit<Checked<K>, "commit">,
    stream: Stream<Calls[K]["result"]>,
  ) => void;
};
