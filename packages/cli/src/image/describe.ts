/** Images and their files as text for people. */

import type { Blob, Image } from "@spore/image";
import type { ImageView, ViewEntry } from "@spore/image/inside";

/** A line of `spore image ls`: mode, owner, size, layer, name. */
export function line(entry: ViewEntry): string {
  const { stat, layer } = entry;
  const owner = `${stat.uid}:${stat.gid}`;
  const size = String(stat.type === "directory" ? 0 : stat.size).padStart(10);
  return `${modeText(entry)} ${owner.padEnd(7)} ${size}  ${layer.padEnd(14)} ${named(entry)}`;
}

/** The lines of `spore image tree`. */
export function* treeLines(view: ImageView, path: string): Iterable<string> {
  const root = view.find(path);
  const depthOf = (at: string): number => (at === "/" ? 0 : at.split("/").length - 1);
  const first = depthOf(root.path);
  for (const entry of view.walk(path)) {
    const depth = depthOf(entry.path) - first;
    yield depth === 0 ? shown(entry.path) : `${"  ".repeat(depth)}${named(entry)}`;
  }
}

/** What `spore image inspect` prints. */
export function describeImage(image: Image): string {
  const { defaults, rights, user, health } = image;
  const all = "all";
  const rows: readonly (readonly [string, string])[] = [
    ["digest", `sha256:${image.digest}`],
    ["name", `${shown(image.name)} (${image.kind})`],
    ["runs", [...defaults.argv, ...defaults.args].map(shown).join(" ")],
    ["in", shown(defaults.cwd)],
    ...Object.entries(defaults.env).map(([name, text]) => ["environment", shown(`${name}=${text}`)] as const),
    ["memory", size(defaults.memory)],
    ["user", `${user.uid}:${user.gid}`],
    ["stopped by", image.stopSignal],
    ["health", health === null ? "not checked" : `GET ${health.path} every ${health.intervalMs} ms`],
    ["devices", rights.devices.join(", ") || "none"],
    ["ports", rights.ports?.join(", ") ?? all],
    ["destinations", rights.destinations?.map(shown).join(", ") ?? all],
    ...[image.kernel, ...image.layers, ...image.documents].map(
      (blob) => [blob.kind, `sha256:${blob.sha256}  ${described(blob)}`] as const,
    ),
  ];
  const width = Math.max(...rows.map(([topic]) => topic.length)) + 2;
  return rows.map(([topic, text]) => `${topic.padEnd(width)}${text}\n`).join("");
}

function described({ name, length }: Blob): string {
  return `${size(length).padStart(10)}  ${shown(name)}`;
}

function size(bytes: number): string {
  return bytes < 2 ** 20 ? `${(bytes / 2 ** 10).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function named({ path, stat, target }: ViewEntry): string {
  const name = shown(path.slice(path.lastIndexOf("/") + 1));
  if (target !== null) return `${name} -> ${shown(target)}`;
  return stat.type === "directory" ? `${name}/` : name;
}

function modeText({ stat }: ViewEntry): string {
  const kind = { file: "-", directory: "d", symlink: "l", other: "?" }[stat.type];
  const bits = [...stat.mode.toString(8).padStart(4, "0")].slice(-3).map(Number);
  return (
    kind +
    bits
      .map((digit) => [digit & 4 ? "r" : "-", digit & 2 ? "w" : "-", digit & 1 ? "x" : "-"].join(""))
      .join("")
  );
}

/** A text of the image, safe at a terminal. */
function shown(text: string): string {
  return text.replace(/\p{C}/gu, (each) => `\\u{${(each.codePointAt(0) ?? 0).toString(16)}}`);
}
