/**
 * Pass 2, select: from what was chosen to the object file that brings it in: the table of
 * system calls, the list of services, the names left out.
 */

import { type Call, type Catalogue, homeOf, type Service } from "./catalogue.ts";
import { LinkError } from "./error.ts";
import { type Pointers, writeTables } from "./tables.ts";

/** What an image asks for, by name. Services that the calls bring along need not be named. */
export interface Choice {
  readonly calls: readonly string[];
  readonly services: readonly string[];
}

/** What was selected. */
export interface Selection {
  /** By number. */
  readonly calls: readonly Call[];
  /** Each after those that it needs: the order in which they are started. */
  readonly services: readonly Service[];
  /** The generated relocatable object. */
  readonly object: Uint8Array;
}

/** The handler of numbers that are not in the table. */
export const MISSING = "spore.missing";

/** Everything that an archive offers. */
export function everything(catalogue: Catalogue): Choice {
  return {
    calls: catalogue.calls.map(({ name }) => name),
    services: catalogue.services.map(({ name }) => name),
  };
}

/** Completes a choice and generates its tables. */
export function select(catalogue: Catalogue, choice: Choice): Selection {
  const wanted = new Set(choice.calls);
  const calls = catalogue.calls.filter(({ name }) => wanted.delete(name));
  const [unknown] = wanted;
  if (unknown !== undefined) {
    throw new LinkError("unknown-piece", `the library OS has no system call ${unknown}`);
  }
  const services = inOrder(catalogue.services, [...choice.services, ...broughtBy(catalogue, calls)]);
  const chosen = new Set(calls);
  const leftOut = catalogue.calls.filter((call) => !chosen.has(call));
  const byNumber = new Map(calls.map(({ number, symbol }) => [number, symbol]));
  const length = (calls.at(-1)?.number ?? -1) + 1;
  const pointers: Pointers[] = [
    {
      name: "spore_calls",
      symbols: Array.from({ length }, (_, number) => byNumber.get(number) ?? MISSING),
    },
    { name: "spore_services", symbols: services.map(({ symbol }) => symbol) },
  ];
  const isFeature = new Set(catalogue.features.map(({ name }) => name));
  const text = leftOut
    .map(({ number, name }) => {
      const home = homeOf(catalogue, name) ?? name;
      return `${number} ${name}${isFeature.has(home) && home !== name ? ` ${home}` : ""}\n`;
    })
    .join("");
  return { calls, services, object: writeTables(pointers, [{ name: "spore_left_out", text }]) };
}

function broughtBy(catalogue: Catalogue, calls: readonly Call[]): string[] {
  const names = new Set(calls.map(({ name }) => name));
  return catalogue.services
    .filter((service) => service.calls.some((call) => names.has(call)))
    .map(({ name }) => name);
}

/** The chosen services and all that they need, each after those. */
function inOrder(services: readonly Service[], chosen: readonly string[]): readonly Service[] {
  const byName = new Map(services.map((service) => [service.name, service]));
  const result = new Set<Service>();
  const path: string[] = [];
  const visit = (name: string): void => {
    const service = byName.get(name);
    if (!service) throw new LinkError("unknown-piece", `the library OS has no service ${name}`);
    if (result.has(service)) return;
    if (path.includes(name)) {
      throw new LinkError("needs-cycle", `services need each other: ${[...path, name].join(" -> ")}`);
    }
    path.push(name);
    for (const need of service.needs) if (byName.has(need)) visit(need);
    path.pop();
    result.add(service);
  };
  // In the order of the catalogue, whatever the order of the choice: same choice, same bytes.
  const wanted = new Set(chosen);
  for (const { name } of services) if (wanted.delete(name)) visit(name);
  for (const name of wanted) visit(name);
  return [...result];
}
