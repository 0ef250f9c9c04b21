/** From what an app may use to what an archive offers of it. */

import type { Catalogue } from "./catalogue.ts";
import { LinkError } from "./error.ts";
import type { Choice } from "./select.ts";

/**
 * What an app may use. What the library OS does not have is passed over: the app lives
 * without it on this system, whatever is chosen.
 */
export interface Wishes {
  /** System calls by name. */
  readonly calls: readonly string[];
  /** Services, and what they hold: `file/proc/cpuinfo`, `socket/*`. */
  readonly services: readonly string[];
  /** System calls, services and features that somebody asked for by name: these must exist. */
  readonly pieces: readonly string[];
}

/** The part of the wishes that a catalogue fulfils. */
export function choose(catalogue: Catalogue, wishes: Wishes): Choice {
  const calls = new Set(wishes.calls);
  const services = new Set(wishes.services.flatMap((name) => matching(catalogue, name)));
  for (const piece of wishes.pieces) {
    const found = matching(catalogue, piece);
    const feature = catalogue.features.find(({ name }) => name === piece);
    const named = feature?.calls ?? catalogue.calls.map(({ name }) => name).filter((name) => name === piece);
    if (named.length + found.length === 0) {
      throw new LinkError("unknown-piece", `the library OS has no piece ${piece}`);
    }
    for (const call of named) calls.add(call);
    for (const service of found) services.add(service);
  }
  return {
    calls: catalogue.calls.map(({ name }) => name).filter((name) => calls.has(name)),
    services: catalogue.services.map(({ name }) => name).filter((name) => services.has(name)),
  };
}

/** The services that a name means: itself, what holds it, or with a star all below. */
function matching({ services }: Catalogue, wanted: string): string[] {
  const all = wanted.endsWith("/*") ? wanted.slice(0, -1) : undefined;
  return services
    .map(({ name }) => name)
    .filter(
      (name) =>
        name === wanted || wanted.startsWith(`${name}/`) || (all !== undefined && name.startsWith(all)),
    );
}
