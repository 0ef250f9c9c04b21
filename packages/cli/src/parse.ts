/** From words to an invocation, by a command's description. */

import { parseArgs } from "node:util";
import { type SporeError, sporeError } from "@spore/errors";
import { type Command, type Invocation, Mistake, type Options } from "./command.ts";
import { nearest } from "./suggest.ts";

/** What the words after a command's name ask for. */
export type Parsed =
  | { readonly help: true }
  | { readonly help: false; readonly invocation: Invocation<Options> };

/** Reads the words after the command's name. Throws SPORE_USAGE. */
export function parse(command: Command, words: readonly string[]): Parsed {
  const parsing = new Parsing(command);
  for (const token of tokensOf(command, words)) {
    if (token.kind === "option-terminator") break;
    if (token.kind === "positional") parsing.word(token.value);
    else if (token.name === "help" || token.name === "h") return { help: true };
    else parsing.option(token.name, token.rawName, token.value);
  }
  const end = words.indexOf("--");
  return { help: false, invocation: parsing.finish(end < 0 ? undefined : words.slice(end + 1)) };
}

function tokensOf(command: Command, words: readonly string[]) {
  const config = Object.entries(command.options).map(([name, option]) => [
    name,
    {
      type: option.kind === "flag" ? ("boolean" as const) : ("string" as const),
      multiple: true,
      ...(option.short === undefined ? {} : { short: option.short }),
    },
  ]);
  const parsed = parseArgs({
    args: [...words],
    options: { ...Object.fromEntries(config), help: { type: "boolean", short: "h" } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  return parsed.tokens;
}

class Parsing {
  readonly #command: Command;
  readonly #values = new Map<string, unknown>();
  readonly #lists = new Map<string, unknown[]>();
  readonly #words: string[] = [];

  constructor(command: Command) {
    this.#command = command;
  }

  word(text: string): void {
    const { arguments: expected, rest } = this.#command;
    if (this.#words.length >= expected.length) {
      const next = rest ? `put ${rest.name} of the program after \`--\`` : undefined;
      throw this.#usage(`unexpected word ${quote(text)}`, next);
    }
    this.#words.push(text);
  }

  option(name: string, rawName: string, text: string | undefined): void {
    const option = this.#command.options[name];
    if (option === undefined) throw this.#unknown(rawName);
    if (option.kind === "flag") {
      if (text !== undefined) throw this.#usage(`${rawName} takes no value`);
      this.#values.set(name, true);
      return;
    }
    if (text === undefined) throw this.#usage(`${rawName} needs a value: ${rawName} ${option.value}`);
    const result = this.#read(option.read, text, rawName);
    if (option.kind === "value") this.#values.set(name, result);
    else this.#lists.set(name, [...(this.#lists.get(name) ?? []), result]);
  }

  finish(rest: readonly string[] | undefined): Invocation<Options> {
    const missing = this.#command.arguments[this.#words.length];
    if (missing !== undefined && !missing.optional) throw this.#usage(`${missing.name} is missing`);
    if (rest !== undefined && !this.#command.rest) throw this.#usage("nothing may follow `--` here");
    const options = Object.entries(this.#command.options).map(([name, option]) => {
      if (option.kind === "list") return [name, this.#lists.get(name) ?? []];
      return [name, this.#values.get(name) ?? (option.kind === "flag" ? false : undefined)];
    });
    return { options: Object.fromEntries(options), words: this.#words, rest };
  }

  #read(read: (text: string) => unknown, text: string, rawName: string): unknown {
    try {
      return read(text);
    } catch (thrown) {
      if (thrown instanceof Mistake) throw this.#usage(`${rawName} ${quote(text)}: ${thrown.message}`);
      throw thrown;
    }
  }

  #unknown(rawName: string): SporeError {
    const known = Object.keys(this.#command.options);
    const near = rawName.startsWith("--") ? nearest(rawName.slice(2), known) : undefined;
    return this.#usage(`unknown option ${rawName}`, near && `did you mean --${near}?`);
  }

  #usage(problem: string, next?: string): SporeError {
    return sporeError("SPORE_USAGE", { problem, command: this.#command.name }, next ? { next } : {});
  }
}

function quote(text: string): string {
  return `"${text}"`;
}
