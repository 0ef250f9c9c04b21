/** Completion for shells, printed from the descriptions of the commands. */

import type { Command, Flag, List, Value } from "./command.ts";

/** Shells that there is a script for. */
export const shells = ["bash", "zsh", "fish"] as const;

/** One of them. */
export type Shell = (typeof shells)[number];

/** The script that a shell reads. */
export function completion(shell: Shell, commands: readonly Command[]): string {
  const shown = commands.filter(({ hidden }) => !hidden);
  return { bash, zsh, fish }[shell](shown);
}

type Option = Flag | Value<unknown> | List<unknown>;

/** A word that stands for a file; others are names that only the daemon knows, or numbers. */
const file = /^(FILE|DIR|PATH|TARGET|IMAGE|SOCKET|TO)$|^HOSTPATH/;

const helpOption: Readonly<Record<string, Option>> = {
  help: { kind: "flag", short: "h", doc: "Show this page." },
};

function optionsOf(command: Command): readonly (readonly [string, Option])[] {
  return Object.entries({ ...command.options, ...helpOption });
}

/** What may stand at a place: words, files, or nothing that is known. */
function kindOf(word: {
  readonly choices?: readonly string[];
  readonly name: string;
}): readonly string[] | "file" | "other" {
  if (word.choices !== undefined) return word.choices;
  return file.test(word.name) ? "file" : "other";
}

function kindOfValue(option: Value<unknown> | List<unknown>): readonly string[] | "file" | "other" {
  return kindOf({ name: option.value, ...(option.choices !== undefined && { choices: option.choices }) });
}

/** What the words of a command are; those of a program after them are files. */
function kindOfWords({ arguments: words, rest }: Command): readonly string[] | "file" | "other" {
  const kinds = words.map(kindOf);
  if (rest !== undefined || kinds.includes("file")) return "file";
  return kinds.find((kind) => Array.isArray(kind)) ?? "other";
}

function bash(commands: readonly Command[]): string {
  const cases = commands.flatMap((command) => {
    const options = optionsOf(command);
    const spellings = options.flatMap(([name, { short }]) =>
      short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`],
    );
    const values = options.flatMap(([name, option]) => {
      if (option.kind === "flag") return [];
      const kind = kindOfValue(option);
      const spelled = option.short === undefined ? `--${name}` : `--${name}|-${option.short}`;
      if (kind === "file") return [`        ${spelled}) _spore_files; return ;;`];
      return [
        `        ${spelled}) ${Array.isArray(kind) ? `_spore_words "${kind.join(" ")}"` : ":"}; return ;;`,
      ];
    });
    const words = kindOfWords(command);
    const then =
      words === "file" ? "_spore_files" : words === "other" ? ":" : `_spore_words "${words.join(" ")}"`;
    return [
      `    ${command.name})`,
      ...(values.length > 0 ? ["      case $previous in", ...values, "      esac"] : []),
      `      if [[ $current == -* ]]; then _spore_words "${spellings.join(" ")}"; else ${then}; fi ;;`,
    ];
  });
  return lines(
    '# Completion of spore for bash: eval "$(spore completion bash)"',
    '_spore_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }',
    '_spore_files() { mapfile -t COMPREPLY < <(compgen -f -- "$current"); }',
    "_spore() {",
    `  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}`,
    "  COMPREPLY=()",
    "  if ((COMP_CWORD == 1)); then",
    `    _spore_words "${commands.map(({ name }) => name).join(" ")} --help --version"`,
    "    return",
    "  fi",
    `  case \${COMP_WORDS[1]} in`,
    ...cases,
    "  esac",
    "}",
    "complete -o filenames -F _spore spore ./spore",
  );
}

function zsh(commands: readonly Command[]): string {
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const plain = (text: string): string => text.replace(/[[\]:\\]/g, "\\$&");
  const action = (kind: readonly string[] | "file" | "other"): string =>
    kind === "file" ? "_files" : kind === "other" ? " " : `(${kind.join(" ")})`;
  const spec = ([name, option]: readonly [string, Option]): string => {
    const { short } = option;
    const repeat = option.kind === "list" ? "*" : short === undefined ? "" : `(-${short} --${name})`;
    const value = option.kind === "flag" ? "" : `:${plain(option.value)}:${action(kindOfValue(option))}`;
    const tail = `[${plain(option.doc)}]${value}`;
    return short === undefined
      ? quote(`${repeat}--${name}${tail}`)
      : `${repeat === "" ? "" : quote(repeat)}{-${short},--${name}}${quote(tail)}`;
  };
  const cases = commands.flatMap((command) => [
    `    ${command.name})`,
    "      _arguments -s \\",
    ...optionsOf(command).map((option) => `        ${spec(option)} \\`),
    `        ${quote(`*:${plain(command.arguments[0]?.name ?? "word")}:${action(kindOfWords(command))}`)} ;;`,
  ]);
  return lines(
    "#compdef spore",
    '# Completion of spore for zsh: eval "$(spore completion zsh)", after compinit',
    "_spore() {",
    "  local -a commands",
    "  commands=(",
    ...commands.map(({ name, summary }) => `    ${quote(`${name}:${summary.replaceAll(":", "\\:")}`)}`),
    "  )",
    "  if (( CURRENT == 2 )); then",
    "    _describe command commands",
    "    return",
    "  fi",
    "  local command=$words[2]",
    "  shift words",
    "  (( CURRENT -= 1 ))",
    "  case $command in",
    ...cases,
    "  esac",
    "}",
    'if [ "$funcstack[1]" = _spore ]; then _spore "$@"; else compdef _spore spore ./spore; fi',
  );
}

function fish(commands: readonly Command[]): string {
  const quote = (text: string): string => `'${text.replace(/['\\]/g, "\\$&")}'`;
  const of = (name: string): string => `complete -c spore -n ${quote(`__fish_seen_subcommand_from ${name}`)}`;
  const rows = commands.flatMap((command) => {
    const words = kindOfWords(command);
    const own =
      words === "file"
        ? []
        : [`${of(command.name)} -f${words === "other" ? "" : ` -a ${quote(words.join(" "))}`}`];
    const options = optionsOf(command).map(([name, option]) => {
      const short = option.short === undefined ? "" : ` -s ${option.short}`;
      const doc = ` -d ${quote(option.doc)}`;
      if (option.kind === "flag") return `${of(command.name)} -l ${name}${short}${doc}`;
      const kind = kindOfValue(option);
      const value = kind === "file" ? " -r -F" : kind === "other" ? " -x" : ` -x -a ${quote(kind.join(" "))}`;
      return `${of(command.name)} -l ${name}${short}${value}${doc}`;
    });
    return [...own, ...options];
  });
  return lines(
    "# Completion of spore for fish: spore completion fish | source",
    "complete -c spore -n __fish_use_subcommand -f",
    ...commands.map(
      ({ name, summary }) => `complete -c spore -n __fish_use_subcommand -a ${name} -d ${quote(summary)}`,
    ),
    ...rows,
  );
}

function lines(...all: readonly string[]): string {
  return `${all.join("\n")}\n`;
}
