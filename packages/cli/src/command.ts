/**
 * Commands as data. One description gives the parser, `--help`, the reference
 * page and the types that a handler sees.
 */

/** Reads the text of an option or argument; throws a `Mistake` that says what is wrong with it. */
export type Read<T> = (text: string) => T;

/** The text of an option or argument is not what it should be. */
export class Mistake extends Error {}

/** An option without a value: `--json`. */
export interface Flag {
  readonly kind: "flag";
  readonly short?: string;
  readonly doc: string;
}

/** An option with a value: `--memory 256M`. */
export interface Value<T> {
  readonly kind: "value";
  readonly short?: string;
  /** Name of the value in the help. */
  readonly value: string;
  readonly doc: string;
  /** What it may be, if that is a list; for completion. */
  readonly choices?: readonly string[];
  /** What holds without the option, for the help. */
  readonly otherwise?: string;
  readonly read: Read<T>;
}

/** An option that may be given more than once. */
export interface List<T> extends Omit<Value<T>, "kind"> {
  readonly kind: "list";
}

/** The options of a command by long name. */
export type Options = Readonly<Record<string, Flag | Value<unknown> | List<unknown>>>;

/** What the parser makes of options. */
export type OptionValues<O extends Options> = {
  readonly [K in keyof O]: O[K] extends Flag
    ? boolean
    : O[K] extends List<infer T>
      ? readonly T[]
      : O[K] extends Value<infer T>
        ? T | undefined
        : never;
};

/** A word that is not an option. */
export interface Argument {
  readonly name: string;
  readonly doc: string;
  /** What it may be, if that is a list; for completion. */
  readonly choices?: readonly string[];
  readonly optional?: true;
}

/** A command line of `commandName`, shown in the help. */
export interface Example {
  readonly line: string;
  readonly doc: string;
}

/** What a handler may touch; tests give their own. */
export interface Context {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Writes to standard output, as it is. */
  readonly out: (text: string | Uint8Array) => void;
  /** Writes to standard error, as it is. */
  readonly err: (text: string) => void;
}

/** What a handler gets. */
export interface Invocation<O extends Options> {
  readonly options: OptionValues<O>;
  /** The words before `--`, one for each argument that was given. */
  readonly words: readonly string[];
  /** What stands after `--`; undefined without `--`. */
  readonly rest: readonly string[] | undefined;
}

/** How a command is described. */
export interface CommandSpec<O extends Options> {
  readonly name: string;
  readonly summary: string;
  /** Paragraphs of the help, after the summary. */
  readonly about?: readonly string[];
  readonly arguments: readonly Argument[];
  /** What `-- ARG...` is for; absent if the command takes none. */
  readonly rest?: { readonly name: string; readonly doc: string };
  readonly options: O;
  readonly examples: readonly Example[];
  /** Not listed; for other programs to call. */
  readonly hidden?: true;
  /** Does the work; the result is the exit status. */
  readonly handle: (invocation: Invocation<O>, context: Context) => Promise<number> | number;
}

/** A command whose option types are known to its handler alone. */
export interface Command extends Omit<CommandSpec<Options>, "handle"> {
  readonly handle: (invocation: Invocation<Options>, context: Context) => Promise<number> | number;
}

/** Describes a command; the handler sees the types of the options beside it. */
export function command<O extends Options>(spec: CommandSpec<O>): Command {
  // The parser makes the values from `spec.options`, so they have the handler's types.
  return { ...spec, handle: (invocation, context) => spec.handle(invocation as Invocation<O>, context) };
}

/** Describes an option without a value. */
export function flag(option: Omit<Flag, "kind">): Flag {
  return { kind: "flag", ...option };
}

/** Describes an option with a value. */
export function value<T>(option: Omit<Value<T>, "kind">): Value<T> {
  return { kind: "value", ...option };
}

/** Describes an option that may be repeated. */
export function list<T>(option: Omit<List<T>, "kind">): List<T> {
  return { kind: "list", ...option };
}
