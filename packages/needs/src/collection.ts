/** Gathers needs with their reasons, each once. */

import { callName } from "./calls.ts";
import type { NeededCall, NeededService, Needs, PiecesMode, Reason, SiteCount } from "./types.ts";

/** More reasons of one object for one thing tell nobody more. */
const MOST_PER_OBJECT = 3;

/** Calls by which somebody else comes to be: rt_sigaction, clone, fork, vfork, clone3. */
const OTHERS: readonly number[] = [13, 56, 57, 58, 435];
/** Calls that take a path, in the order of their numbers: open to execveat and the newest. */
const PATHS: readonly number[] = [
  ...[2, 4, 6, 21, 59, 76, 80, 82, 83, 84, 85, 86, 87, 88, 89, 90, 92, 94, 132, 133, 137, 155, 161, 165, 166],
  ...[188, 189, 191, 192, 194, 195, 197, 198, 235, 254, 257, 258, 259, 260, 261, 262, 263, 264, 265, 266],
  ...[267, 268, 269, 280, 301, 303, 316, 322, 332, 437, 439, 452],
];

/** Needs that grow. */
export class Collection {
  readonly #calls = new Map<number, Reason[]>();
  readonly #services = new Map<string, Reason[]>();
  readonly #everything: Reason[] = [];
  readonly #forOthers: [number: number, by: Reason][] = [];

  call(number: number, by: Reason): void {
    add(this.#calls, number, by);
  }

  /** A call that matters only if there is somebody else: threads, or handlers of signals. */
  callForOthers(number: number, by: Reason): void {
    this.#forOthers.push([number, by]);
  }

  /** Decides on those: to be called when all else is known. */
  settle(): void {
    const isAlone = this.#everything.length === 0 && !OTHERS.some((number) => this.#calls.has(number));
    if (!isAlone) for (const [number, by] of this.#forOthers) this.call(number, by);
    // Without a call that takes a path, the name of a file leads nowhere.
    if (this.#everything.length === 0 && !PATHS.some((number) => this.#calls.has(number))) {
      for (const name of this.#services.keys()) if (name.startsWith("file/")) this.#services.delete(name);
    }
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
