/** Pass 1, parse: the archive, its objects as they are asked for, and the pieces it offers. */

import { type Archive, parseArchive, RelocatableObject } from "@spore/elf";
import { type Catalogue, readCatalogue } from "./catalogue.ts";

/** One object file of the input. */
export interface InputObject {
  readonly name: string;
  readonly file: RelocatableObject;
}

/** The parsed archive. */
export interface Input {
  readonly archive: Archive;
  /** The object of a member; parsed once. */
  readonly object: (member: number) => InputObject;
  readonly catalogue: Catalogue;
}

/** Reads an archive. Throws ElfError for damage, LinkError if it is no kernel. */
export function parse(bytes: Uint8Array): Input {
  const archive = parseArchive(bytes);
  const objects: (InputObject | undefined)[] = [];
  const object = (index: number): InputObject => {
    const known = objects[index];
    if (known) return known;
    const member = archive.members[index];
    if (!member) throw new Error(`the archive has no member ${index}`);
    const parsed = { name: member.name, file: new RelocatableObject(member.bytes) };
    objects[index] = parsed;
    return parsed;
  };
  const catalogue = readCatalogue(archive, object);
  return { archive, object, catalogue };
}
