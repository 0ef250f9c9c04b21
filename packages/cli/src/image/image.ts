/** What `spore image` does. */

import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import type { Image } from "@spore/image";
import { copyOut, type ImageView, type ViewEntry, viewImage } from "@spore/image/inside";
import type { Context } from "../command.ts";
import { imageOf } from "../settings/image-of.ts";
import { describeImage, line, treeLines } from "./describe.ts";
import type { ExportFormat } from "./export-format.ts";

/** The words and options of the command. */
interface ImageInvocation {
  readonly options: {
    readonly json: boolean;
    readonly format: ExportFormat | undefined;
    readonly output: string | undefined;
  };
  readonly words: readonly string[];
}

const actions: Readonly<Record<string, { readonly words: number }>> = {
  ls: { words: 3 },
  tree: { words: 3 },
  cat: { words: 3 },
  cp: { words: 4 },
  inspect: { words: 2 },
  export: { words: 2 },
};

/** Carries out `spore image`. */
export async function runImage({ options, words }: ImageInvocation, context: Context): Promise<number> {
  const [action = "", target, path, to] = words;
  const known = Object.hasOwn(actions, action) ? actions[action] : undefined;
  if (!known) throw usage(`${JSON.stringify(action)} is not one of ${Object.keys(actions).join(", ")}`);
  if (target === undefined) throw usage("IMAGE is missing");
  if (words.length > known.words) throw usage(`unexpected word ${JSON.stringify(words[known.words])}`);
  const needsPath = action === "cat" || action === "cp";
  if (needsPath && path === undefined) throw usage("PATH is missing");
  if (action === "cp" && to === undefined) throw usage("TO is missing");
  const image = await imageOf(target, context);
  if (action === "inspect") {
    context.out(options.json ? `${JSON.stringify(image)}\n` : describeImage(image));
    return 0;
  }
  if (action === "export") {
    if (options.output === undefined) throw usage("--output FILE is missing");
    const { exportImage } = await import("./export.ts");
    return exportImage(image, options.format ?? "elf", resolve(context.cwd, options.output), context);
  }
  const view = viewImage(image);
  try {
    look(
      action,
      image,
      view,
      { path: path ?? "/", to: resolve(context.cwd, to ?? "."), json: options.json },
      context,
    );
  } finally {
    view.close();
  }
  return 0;
}

function look(
  action: string,
  image: Image,
  view: ImageView,
  { path, to, json }: { readonly path: string; readonly to: string; readonly json: boolean },
  context: Context,
): void {
  if (action === "cat") {
    for (const bytes of view.read(path)) context.out(bytes);
  } else if (action === "cp") {
    const copied = copyOut(image, view, path, to);
    if (json) context.out(`${JSON.stringify(copied)}\n`);
  } else if (json) {
    const entries = action === "ls" ? listed(view, path) : view.walk(path);
    context.out(`${JSON.stringify([...entries].map(asJson))}\n`);
  } else if (action === "ls") {
    for (const entry of listed(view, path)) context.out(`${line(entry)}\n`);
  } else {
    for (const text of treeLines(view, path)) context.out(`${text}\n`);
  }
}

/** A directory's entries, or the one file that was named. */
function listed(view: ImageView, path: string): readonly ViewEntry[] {
  const entry = view.find(path);
  return entry.stat.type === "directory" ? view.list(path) : [view.find(path, false)];
}

function asJson({ path, stat, target, layer }: ViewEntry): Record<string, unknown> {
  const { type, mode, uid, gid, size } = stat;
  return { path, type, mode, uid, gid, size, target, layer };
}

function usage(problem: string): Error {
  return sporeError("SPORE_USAGE", { problem, command: "image" });
}
