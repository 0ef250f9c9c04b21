/** From what an app may use to what an archive offers of it: whole features, and all that they need. */

import type { Catalogue, Feature, Service } from "./catalogue.ts";
import { LinkError } from "./error.ts";
import { type Choice, everything } from "./select.ts";

/**
 * What an app may use. What the library OS does not have is passed over: the app lives
 * without it on this system, whatever is chosen.
 */
export interface Wishes {
  /** Whatever there is, whatever the lists below say. */
  readonly everything: boolean;
  /** System calls by name. */
  readonly calls: readonly string[];
  /** Services, and what they hold: `file/proc/cpuinfo`, `socket/*`. */
  readonly services: readonly string[];
  /** System calls, services and features that somebody asked for by name: these must exist. */
  readonly pieces: readonly string[];
  /** The same, to be left out, with all that cannot work without them, whoever asks for it. */
  readonly without: readonly string[];
  /** The same, to be there even so, with all that they need: a run has the last word on its image. */
  readonly back: readonly string[];
}

/** Calls and services by name. */
interface Picked {
  readonly calls: Set<string>;
  readonly services: Set<string>;
}

/** The part of the wishes that a catalogue fulfils. */
export function choose(catalogue: Catalogue, wishes: Wishes): Choice {
  const start = wishes.everything ? everything(catalogue) : wishes;
  const picked: Picked = {
    calls: new Set(start.calls),
    services: new Set(start.services.flatMap((name) => holding(catalogue, name))),
  };
  const out = removed(catalogue, wishes.without);
  const back: Picked = { calls: new Set(), services: new Set() };
  for (const piece of wishes.back) add(back, find(catalogue, piece));
  complete(catalogue, back);
  add(picked, back);
  for (const call of back.calls) out.calls.delete(call);
  for (const service of back.services) out.services.delete(service);
  for (const piece of wishes.pieces) {
    const named = find(catalogue, piece);
    if (isWithin(named, out)) {
      throw new LinkError(
        "piece-conflict",
        `${piece} is asked for, and left out with ${wishes.without.join(", ")}`,
      );
    }
    add(picked, named);
  }
  complete(catalogue, picked);
  return {
    calls: catalogue.calls
      .map(({ name }) => name)
      .filter((name) => picked.calls.has(name) && !out.calls.has(name)),
    services: catalogue.services
      .map(({ name }) => name)
      .filter((name) => picked.services.has(name) && !out.services.has(name)),
  };
}

/** Makes features whole, and adds what they and the services need. */
function complete(catalogue: Catalogue, picked: Picked): void {
  const done = new Set<Feature | Service>();
  const bring = (piece: Feature | Service): void => {
    done.add(piece);
    for (const need of piece.needs) add(picked, find(catalogue, need));
  };
  for (let before = -1; before < done.size; ) {
    before = done.size;
    for (const feature of catalogue.features) {
      if (done.has(feature) || !feature.calls.some((call) => picked.calls.has(call))) continue;
      for (const call of feature.calls) picked.calls.add(call);
      bring(feature);
    }
    for (const service of catalogue.services) {
      const isUsed =
        picked.services.has(service.name) || service.calls.some((call) => picked.calls.has(call));
      if (done.has(service) || !isUsed) continue;
      picked.services.add(service.name);
      bring(service);
    }
  }
}

/** What is left out, with everything that cannot work without it. */
function removed(catalogue: Catalogue, names: readonly string[]): Picked {
  const out: Picked = { calls: new Set(), services: new Set() };
  for (const name of names) add(out, find(catalogue, name));
  for (let before = -1; before < out.calls.size + out.services.size; ) {
    before = out.calls.size + out.services.size;
    for (const feature of catalogue.features) {
      if (feature.needs.some((need) => isWithin(find(catalogue, need), out))) {
        for (const call of feature.calls) out.calls.add(call);
      }
    }
    for (const { name, needs, calls } of catalogue.services) {
      if (needs.some((need) => isWithin(find(catalogue, need), out))) out.services.add(name);
      if (out.services.has(name)) for (const call of calls) out.calls.add(call);
    }
  }
  return out;
}

function add(to: Picked, { calls, services }: Picked): void {
  for (const call of calls) to.calls.add(call);
  for (const service of services) to.services.add(service);
}

function isWithin(some: Picked, all: Picked): boolean {
  return (
    [...some.calls].every((call) => all.calls.has(call)) &&
    [...some.services].every((service) => all.services.has(service))
  );
}

/** What a name stands for: a feature before a call of the same name. Throws unknown-piece. */
function find(catalogue: Catalogue, name: string): Picked {
  const feature = catalogue.features.find((each) => each.name === name);
  const calls = feature?.calls ?? (catalogue.calls.some((call) => call.name === name) ? [name] : []);
  const services = calls.length > 0 ? [] : servicesOf(catalogue, name);
  if (calls.length + services.length === 0) {
    throw new LinkError("unknown-piece", `the library OS has no piece ${name}`);
  }
  return { calls: new Set(calls), services: new Set(services) };
}

/** A service of that name, those that a star stands for, or the one that holds a file of that name. */
function servicesOf(catalogue: Catalogue, wanted: string): string[] {
  const names = catalogue.services.map(({ name }) => name);
  const isFolder = (name: string): boolean => names.some((other) => other.startsWith(`${name}/`));
  return holding(catalogue, wanted).filter(
    (name) => name === wanted || !wanted.startsWith(`${name}/`) || !isFolder(name),
  );
}

/** The services that may be meant: a service itself, what holds it, or with a star all below. */
function holding({ services }: Catalogue, wanted: string): string[] {
  const all = wanted.endsWith("/*") ? wanted.slice(0, -1) : undefined;
  return services
    .map(({ name }) => name)
    .filter(
      (name) =>
        name === wanted || wanted.startsWith(`${name}/`) || (all !== undefined && name.startsWith(all)),
    );
}
