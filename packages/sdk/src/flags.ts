/**
 * Feature flags, evaluated in the app: all of them are fetched once and kept up to
 * date, so that asking for one is a look into a map. Where no daemon answers (a
 * test, another platform), every flag has the value that the app says.
 */

import { onRestore } from "./lifecycle.ts";

/** What a flag may be. */
export type FlagValue = boolean | number | string;

/** How flags are kept up to date. */
export interface FlagsOptions {
  /** Where OpenFeature's remote evaluation (OFREP) answers; the daemon that runs this app if absent. */
  url?: string;
  /** Headers, such as an `authorization` for another daemon. */
  headers?: Record<string, string>;
  /** Milliseconds from one look for changes to the next; 2000 if absent. */
  everyMs?: number;
}

/** The flags of this app. */
export interface FeatureFlags extends Disposable {
  /** The value of a flag; `otherwise` if there is none, or one of another type. */
  get<T extends FlagValue>(
    key: string,
    otherwise: T,
  ): T extends boolean ? boolean : T extends number ? number : string;
  /** Calls `handler` after values have changed. Gives a function that takes it back. */
  onChange(handler: () => void): () => void;
  /** Looks for changes now. False if nobody answered: the values stay. */
  refresh(): Promise<boolean>;
  /** Looks for changes no more. */
  close(): void;
}

interface Evaluations {
  readonly flags: readonly { readonly key: string; readonly value?: FlagValue }[];
}

/** Fetches the flags and keeps them up to date; never fails. */
export async function openFlags(options: FlagsOptions = {}): Promise<FeatureFlags> {
  const { url = "http://spore.internal", headers = {}, everyMs = 2000 } = options;
  const handlers = new Set<() => void>();
  let values = new Map<string, FlagValue>();
  let tag: string | null = null;
  const ask = async (): Promise<void> => {
    const answer = await fetch(`${url}/ofrep/v1/evaluate/flags`, {
      method: "POST",
      headers: {
        ...headers,
        "content-type": "application/json",
        ...(tag !== null && { "if-none-match": tag }),
      },
      body: "{}",
    });
    if (answer.status === 304) return;
    if (!answer.ok) throw new Error(`flags: status ${answer.status}`);
    const { flags } = (await answer.json()) as Evaluations;
    tag = answer.headers.get("etag");
    values = new Map(flags.flatMap(({ key, value }) => (value === undefined ? [] : [[key, value] as const])));
    for (const handler of handlers) handler();
  };
  const refresh = async (): Promise<boolean> => {
    // A connection that was kept may have ended with a machine that this one goes on from.
    for (let left = 2; left > 0; left -= 1) {
      try {
        await ask();
        return true;
      } catch {
        // Nobody answers: what is known goes on to hold.
      }
    }
    return false;
  };
  const forget = onRestore(() => void refresh());
  const timer: { unref?: () => void } | number = setInterval(() => void refresh(), everyMs);
  // Looking for changes keeps no program running.
  if (typeof timer === "object") timer.unref?.();
  await refresh();
  const close = (): void => {
    clearInterval(timer as Parameters<typeof clearInterval>[0]);
    forget();
  };
  return {
    get: (key, otherwise) => {
      const value = values.get(key);
      return (typeof value === typeof otherwise ? value : otherwise) as never;
    },
    onChange: (handler) => {
      handlers.add(handler);
      return () => void handlers.delete(handler);
    },
    refresh,
    close,
    [Symbol.dispose]: close,
  };
}
