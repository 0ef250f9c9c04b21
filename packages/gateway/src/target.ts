/** What the gateway asks of whoever keeps the apps: where a request goes, and who answers it. */

import type { Trace } from "./trace.ts";

/** How the instance that answers came to life for this request. */
export type StartKind = "warm" | "snapshot" | "cold";

/** Where an instance listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * What became of an instance that takes connections before it runs. If it is gone, it
 * has read none of them; a `Refusal` says so to the client, else another may be tried.
 */
export type Started = "runs" | "gone" | Refusal;

/** The right to send one request to an instance, which stays awake until it is given back. */
export interface Lease {
  readonly address: Address;
  /** It does not run yet: connections to it wait until this settles. Null: it runs. */
  readonly started: Promise<Started> | null;
  readonly start: StartKind;
  /** Parts of the wait, in milliseconds, for `server-timing`; empty for a warm instance. */
  readonly phases: Readonly<Record<string, number>>;
  /** The request is over. */
  release(): void;
  /** An open connection on which nothing happens does not keep the instance awake. */
  rest(): void;
  /** Something happens on it again; an instance that is stopping by now closes it. */
  resume(): void;
  /** The instance was told to stop: what it breaks off has not failed. */
  leaving(): boolean;
  /** Nobody listens there: nothing of the request has reached the app. */
  unreachable(): void;
  /** The app has begun to answer. */
  answered(): void;
  /** It has not, for as long as anybody would wait: perhaps it hangs. Before `release`. */
  unanswered(): void;
}

/** Who waits for an instance, and may go away before there is one. */
export interface Caller {
  /** Set by whoever lets the caller wait; called when it goes away. */
  onGone: (() => void) | null;
}

/** Who answers requests of one host name. */
export interface Target {
  /** For metrics and logs. */
  readonly name: string;
  /** Milliseconds until the app must have begun to answer. */
  readonly requestTimeoutMs: number;
  /** Bytes that the body of a request may have; null: any number. */
  readonly bodyLimit: number | null;
  /** Milliseconds after which an open WebSocket or TCP connection without traffic rests; null: never. */
  readonly connectionIdleMs: number | null;
  /** An instance: at once if one is awake; rejects with a `Refusal` if none can be had. */
  acquire(caller: Caller): Lease | Promise<Lease>;
}

/** Finds targets. */
export interface Router {
  /** `host` is in lower case and without a port. */
  find(host: string, path: string): Target | null;
}

/** What is told of every request that was answered. */
export interface Answered {
  readonly target: string | null;
  readonly method: string;
  readonly status: number;
  readonly start: StartKind | null;
  /** From the first byte of the request to the first of the answer, in milliseconds. */
  readonly firstByteMs: number;
  /** Parts of that: `accept` (until its head was read), what the lease tells of, `first_byte` (the app's part). */
  readonly phases: Readonly<Record<string, number>>;
}

/** What is told of a request once nothing of it is left. */
export interface Finished extends Answered {
  readonly trace: Trace;
  readonly host: string;
  /** Without the query, which may hold what is nobody's business. */
  readonly path: string;
  readonly scheme: "http" | "https";
  readonly peer: string;
  /** Milliseconds since 1970. */
  readonly began: number;
  readonly ended: number;
  /** The answer came to its end. */
  readonly whole: boolean;
}

/** Why a request is not answered by the app. The body is one line of text. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  /** Seconds, for `retry-after`. */
  readonly retryAfter: number | null;

  constructor(status: number, code: string, message: string, retryAfter: number | null = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}
