/** Build: linking a library OS, and what a user waits for who has edited a project. */

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { buildImage, defaultKernel, needsOf } from "@spore/image";
import { choose, parse, type Wishes } from "@spore/linker";
import { select } from "../packages/linker/src/select.ts";
import { type Row, row, spread } from "./rows.ts";
import { node, output, root, type Workshop } from "./workshop.ts";

/** A process each: more tell nothing new. */
const MOST_SAMPLES = 30;
const PROJECTS = ["hello", "fastify"] as const;

/** Links beside ld, and builds beside what esbuild takes for the same modules. */
export async function build(shop: Workshop): Promise<Row[]> {
  const hello = shop.compileWith("musl-gcc", "hello", "-static");
  const rows = [
    await linking(shop, "a static hello's pieces", hello),
    await linking(shop, "Node.js's pieces", join(root, "examples/hello")),
  ];
  for (const name of PROJECTS) rows.push(...(await projects(shop, name)));
  return rows;
}

/** The linker in a fresh process, beside ld --gc-sections with the same roots. */
async function linking(shop: Workshop, name: string, target: string): Promise<Row> {
  const samples = samplesOf(shop);
  shop.say(`build: link, ${name}, ${samples} times each`);
  const { image } = await buildImage({ target });
  const needs = needsOf(image);
  if (!needs) throw new Error(`${target} does not say what it needs`);
  const wishes: Wishes = {
    calls: needs.calls.map((call) => call.name),
    services: needs.services.map((service) => service.name),
    pieces: [],
    everything: false,
    without: [],
    back: [],
  };
  const file = join(shop.folder, "wishes.json");
  writeFileSync(file, JSON.stringify(wishes));
  const archive = defaultKernel();
  const { catalogue } = parse(readFileSync(archive));
  const generated = join(shop.folder, "tables.o");
  writeFileSync(generated, select(catalogue, choose(catalogue, wishes)).object);
  const script = join(root, "packages/linker/test/reference.ld");
  const flags = ["-static", "-nostdlib", "--gc-sections", "--no-warn-rwx-segments", "-T", script];
  const ours: number[] = [];
  const native: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    ours.push(Number(await output([node, join(root, "benches/programs/link.ts"), archive, file])));
    native.push(waited(["ld", ...flags, "-o", join(shop.folder, "linked"), generated, archive]));
  }
  return row({ bench: "build", case: `link, ${name}`, unit: "ms" }, spread(ours), spread(native));
}

/** The command line, from its start to its end, for a project with nothing changed, and after an edit. */
async function projects(shop: Workshop, name: string): Promise<Row[]> {
  const samples = samplesOf(shop);
  shop.say(`build: ${name}, ${samples} times each`);
  const project = copyOf(shop, name);
  const source = join(project, "src/server.ts");
  // Builds, and prints what the image says of itself.
  const command = [join(root, "spore"), "image", "inspect", project];
  const flags = ["--bundle", "--platform=node", "--format=esm", "--packages=external"];
  const bundle = [join(root, "node_modules/esbuild/bin/esbuild"), source, ...flags];
  waited(command);
  const unchanged: number[] = [];
  const edited: number[] = [];
  const bundled: number[] = [];
  const started: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    appendFileSync(source, `console.log("edit ${sample}");\n`);
    edited.push(waited(command));
    unchanged.push(waited(command));
    bundled.push(waited([node, ...bundle]));
    started.push(waited([node, "--eval", "0"]));
  }
  const line = (what: string, ours: readonly number[], native: readonly number[]): Row => {
    const place = { bench: "build", case: `${name} example, ${what}`, unit: "ms" };
    return row(place, spread(ours), spread(native));
  };
  return [
    line("unchanged; native: start of Node.js", unchanged, started),
    line("one module edited; native: esbuild of the own modules", edited, bundled),
  ];
}

/** An example that may be edited, with its packages. */
function copyOf(shop: Workshop, name: string): string {
  const project = join(shop.folder, "examples", name);
  mkdirSync(join(shop.folder, "examples"), { recursive: true });
  cpSync(join(root, "examples", name), project, { recursive: true });
  const packages = join(shop.folder, "node_modules");
  if (!existsSync(packages)) symlinkSync(join(root, "node_modules"), packages);
  return project;
}

function samplesOf(shop: Workshop): number {
  return Math.min(shop.samples, MOST_SAMPLES);
}

/** Milliseconds from the start of a command to its end. */
function waited([program = "", ...args]: readonly string[]): number {
  const started = performance.now();
  execFileSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  return performance.now() - started;
}
