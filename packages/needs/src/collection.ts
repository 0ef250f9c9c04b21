/** Gathers needs with their reasons, each once. */

import { callName } from "./calls.ts";
import type { NeededCall, NeededService, Needs, PiecesMode, Reason, SiteCount } from "./types.ts";

/** More reasons of one object for one thing tell nobody more. */
const MOST_PER_OBJECT = 3;

/** Needs that grow. */
export class Collection {
  readonly #calls = new Map<number, Reason[]>();
  readonly #services = new Map<string, Reason[]>();
  readonly #everything: Reason[] = [];

  call(number: number, by: Reason): void {
    add(this.#calls, number, by);
  }

  service(name: string, by: Reason): void {
    add(this.#services, name, by);
  }

  /** A reason why nothing can be ruled out. */
  unknown(by: Reason): void {
    this.#everything.push(by);
  }

  calls(): NeededCall[] {
    return [...this.#calls]
      .sort(([a], [b]) => a - b)
      .map(([number, by]) => ({ number, name: callName(number), by }));
  }

  needs(mode: PiecesMode, sites: readonly SiteCount[]): Needs {
    const services: NeededService[] = [...this.#services]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, by]) => ({ name, by }));
    return { version: 1, mode, calls: this.calls(), services, everything: this.#everything, sites };
  }
}

function add<K>(map: Map<K, Reason[]>, key: K, by: Reason): void {
  const known = map.get(key);
  if (!known) {
    map.set(key, [by]);
    return;
  }
  const sameObject = known.filter((each) => objectOf(each) === objectOf(by));
  if (sameObject.length < MOST_PER_OBJECT) known.push(by);
}

function objectOf(reason: Reason): string {
  return "object" in reason ? reason.object : reason.kind;
}
