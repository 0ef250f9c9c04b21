/** docs/reference/pieces.md, from what the archive of the library OS says of its pieces. */

import type { Catalogue } from "@spore/linker";

/** The page. */
export function piecesReference({ features, services, groups }: Catalogue): string {
  const code = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(" ");
  const row = (...cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [
    "# Pieces",
    "",
    "What the library OS is made of, and what needs what. Generated from `kernel/src/pieces.rs`; a test keeps the two together.",
    "",
    "`--piece NAME` adds a piece with all that it needs, `--without NAME` leaves one out with all that needs it: a feature, a",
    "service or a [system call](syscalls.md). `spore explain IMAGE` says which an image has, and who asked for each.",
    "",
    "## Features",
    "",
    "System calls that are one thing: an image has all of them or none.",
    "",
    row("feature", "needs", "system calls"),
    row("---", "---", "---"),
    ...features.map(({ name, needs, calls }) => row(`\`${name}\``, code(needs), code(calls))),
    "",
    "## Services",
    "",
    "What is started when the machine boots. A service comes with the system calls that are of no use without it; `NAME/*` stands",
    "for all whose names begin so.",
    "",
    row("service", "needs", "comes with"),
    row("---", "---", "---"),
    ...services.map(({ name, needs, calls }) => row(`\`${name}\``, code(needs), code(calls))),
    "",
    "## Other system calls",
    "",
    "Each is chosen by itself; `spore explain` lists them under these names.",
    "",
    row("group", "system calls"),
    row("---", "---"),
    ...groups.map(({ name, calls }) => row(name, code(calls))),
    "",
  ].join("\n");
}
