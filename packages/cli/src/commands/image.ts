/** `spore image`. */

import { type Command, command, flag, value } from "../command.ts";
import { readExportFormat } from "../image/export-format.ts";
import { readText } from "../settings/values.ts";

/** Looks into an image without running it. */
export const image: Command = command({
  name: "image",
  summary: "Look into an image without running it, copy files out of it, or write it as one bootable file.",
  about: [
    "ACTION is `ls` (a directory), `tree` (all below it), `cat` (a file), `cp` (a file or directory to the host), `inspect` (what the image says of itself) or `export` (one file with the memory that a machine boots from). IMAGE is an image, or whatever `spore build` takes, which is built first if it has changed. Paths are those of the guest; symbolic links lead where they lead there.",
    "`cp` writes a tree only once all of it has been looked at: a link that leads out of it, a device, or more bytes than the image can hold are refused, and nothing is written.",
  ],
  arguments: [
    { name: "ACTION", doc: "ls, tree, cat, cp, inspect or export." },
    { name: "IMAGE", doc: "The image." },
    { name: "PATH", doc: "Path in the image; / by default.", optional: true },
    { name: "TO", doc: "Where `cp` copies it to.", optional: true },
  ],
  options: {
    json: flag({ doc: "Print one JSON document (ls, tree, cp, inspect)." }),
    format: value({
      value: "elf|raw",
      doc: "What `export` writes, see docs/internals/image.md.",
      otherwise: "elf",
      read: readExportFormat,
    }),
    output: value({ short: "o", value: "FILE", doc: "File that `export` writes.", read: readText }),
  },
  examples: [
    { line: "spore image tree hello.spore /app", doc: "What the app brings along." },
    { line: "spore image cat hello.spore /etc/os-release", doc: "Print a file." },
    { line: "spore image cp hello.spore /app ./app", doc: "Copy a directory to the host." },
    { line: "spore image inspect --json hello.spore", doc: "Blobs, rights and defaults." },
    { line: "spore image export hello.spore -o hello.elf", doc: "One file that a hypervisor can load." },
  ],
  handle: async (invocation, context) => (await import("../image/image.ts")).runImage(invocation, context),
});
