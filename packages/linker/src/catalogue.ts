/**
 * Which pieces an archive offers.
 *
 * System calls are symbols `spore.call.NUMBER.NAME`, services are symbols
 * `spore.service.NAME`. What belongs to what is said by the text at the symbol
 * `spore.catalogue` (written by kernel/src/pieces.rs), one line each:
 *
 *     NAME needs PIECE ... for CALL ...      a service, and the calls that are of no use without it
 *     NAME needs PIECE ... groups CALL ...   a feature: calls of which an image has all or none
 *     NAME lists CALL ...                    a name for calls that are chosen one by one
 *
 * A service that it does not describe needs the one whose name its own begins with:
 * `file/proc/stat` needs `file/proc`.
 */

import type { Archive } from "@spore/elf";
import { LinkError } from "./error.ts";
import type { InputObject } from "./parse.ts";

/** A system call that the kernel can answer. */
export interface Call {
  readonly number: number;
  readonly name: string;
  readonly symbol: string;
}

/** A part of the kernel that is started at boot. */
export interface Service {
  readonly name: string;
  readonly symbol: string;
  /** Services, features and calls that it cannot work without. */
  readonly needs: readonly string[];
  /** System calls that are of no use without it. */
  readonly calls: readonly string[];
}

/** Calls that are one thing. */
export interface Feature {
  readonly name: string;
  /** Services, features and calls that it cannot work without. */
  readonly needs: readonly string[];
  readonly calls: readonly string[];
}

/** Calls that are listed together, each chosen by itself. */
export interface Group {
  readonly name: string;
  readonly calls: readonly string[];
}

/** Everything that can be chosen; calls by number, the others in the order of the text. */
export interface Catalogue {
  readonly calls: readonly Call[];
  readonly services: readonly Service[];
  readonly features: readonly Feature[];
  readonly groups: readonly Group[];
}

/** What a call is listed under: its feature, the service that it is of no use without, or its group. */
export function homeOf({ features, services, groups }: Catalogue, call: string): string | undefined {
  return [...features, ...services, ...groups].find(({ calls }) => calls.includes(call))?.name;
}

const SERVICE = "spore.service.";
const CATALOGUE = "spore.catalogue";
const CALL = /^spore\.call\.(\d{1,3})\.(\w+)$/;
const LONGEST_TEXT = 64 << 10;

/** Reads what the symbols and the text of an archive say. */
export function readCatalogue(archive: Archive, object: (member: number) => InputObject): Catalogue {
  const calls: Call[] = [];
  for (const symbol of archive.symbols.keys()) {
    const [, number, name] = CALL.exec(symbol) ?? [];
    if (number !== undefined && name !== undefined) calls.push({ number: Number(number), name, symbol });
  }
  calls.sort((a, b) => a.number - b.number);
  const twice = calls.find((call, index) => calls[index + 1]?.number === call.number);
  if (twice) throw new LinkError("bad-catalogue", `system call ${twice.number} is offered twice`);
  const names = new Set(calls.map(({ name }) => name));
  const lines = catalogueText(archive, object)
    .split("\n")
    .filter((line) => line !== "");
  const rows = lines.map((line) => parseRow(line, names));
  const described = rows
    .filter(({ kind }) => kind === "for")
    .map(({ name, needs, calls: own }) => {
      const symbol = `${SERVICE}${name}`;
      if (!archive.symbols.has(symbol)) {
        throw new LinkError("bad-catalogue", `the archive offers no service ${name}`);
      }
      return { name, symbol, needs, calls: own };
    });
  const features = rows
    .filter(({ kind }) => kind === "groups")
    .map(({ name, needs, calls: own }) => ({ name, needs, calls: own }));
  const groups = rows
    .filter(({ kind }) => kind === "lists")
    .map(({ name, calls: own }) => ({ name, calls: own }));
  const services = [...described, ...parts(archive, described)];
  const all = new Set([...names, ...[...services, ...features].map(({ name }) => name)]);
  for (const { name, needs } of [...services, ...features]) {
    const unknown = needs.find((need) => !all.has(need));
    if (unknown !== undefined) {
      throw new LinkError("bad-catalogue", `${name} needs ${unknown}, which nobody offers`);
    }
  }
  return { calls, services, features, groups };
}

/** The services that the text does not describe, by name: each part of another. */
function parts(archive: Archive, described: readonly Service[]): Service[] {
  const known = new Set(described.map(({ name }) => name));
  const names = [...archive.symbols.keys()]
    .filter((symbol) => symbol.startsWith(SERVICE))
    .map((symbol) => symbol.slice(SERVICE.length))
    .filter((name) => !known.has(name))
    .sort();
  for (const name of names) known.add(name);
  return names.map((name) => {
    let whole = name;
    do whole = whole.slice(0, Math.max(0, whole.lastIndexOf("/")));
    while (whole !== "" && !known.has(whole));
    if (whole === "") throw new LinkError("bad-catalogue", `nothing describes service ${name}`);
    return { name, symbol: `${SERVICE}${name}`, needs: [whole], calls: [] };
  });
}

interface Row {
  readonly name: string;
  readonly kind: string;
  readonly needs: readonly string[];
  readonly calls: readonly string[];
}

const ROW = /^([\w/]+) (?:needs((?: [\w/]+)*) (for|groups)|(lists))((?: \w+)*)$/;

function parseRow(line: string, known: ReadonlySet<string>): Row {
  const [, name, needs, kind, lists, calls] = ROW.exec(line) ?? [];
  const words = (text = ""): string[] => text.split(" ").filter((word) => word !== "");
  if (name === undefined) throw new LinkError("bad-catalogue", `"${line}" describes nothing`);
  const unknown = words(calls).find((call) => !known.has(call));
  if (unknown !== undefined) {
    throw new LinkError("bad-catalogue", `"${line}" names ${unknown}, which is no system call here`);
  }
  return { name, kind: kind ?? lists ?? "", needs: words(needs), calls: words(calls) };
}

/** The text: the bytes of the symbol. */
function catalogueText(archive: Archive, object: (member: number) => InputObject): string {
  const member = archive.symbols.get(CATALOGUE);
  if (member === undefined) {
    throw new LinkError("bad-catalogue", `this is no kernel archive: it has no symbol ${CATALOGUE}`);
  }
  const { file } = object(member);
  const { count, firstGlobal, sections, values, sizes } = file.symbols;
  for (let index = firstGlobal; index < count; index++) {
    if (file.symbolName(index) !== CATALOGUE) continue;
    const section = sections[index] ?? 0;
    const value = values[index] ?? 0;
    const size = sizes[index] ?? 0;
    if (section >= file.sections.count || size > LONGEST_TEXT) break;
    if (value + size > (file.sections.sizes[section] ?? 0)) break;
    return new TextDecoder().decode(file.bytes(section).subarray(value, value + size));
  }
  throw new LinkError("bad-catalogue", `the symbol ${CATALOGUE} holds no text`);
}
