/**
 * Bundles the command line into build/cli: Node.js finds and reads a few files there
 * where it would look for two hundred. `spore` runs it when a source has changed.
 */

import { readFileSync, renameSync, rmSync, utimesSync } from "node:fs";
import { join, relative } from "node:path";
import { build, type Plugin, transform } from "esbuild";

// The bundle is as old as the start: a change during the build counts as newer.
const started = new Date();
const root = join(import.meta.dirname, "..");
const target = join(root, "build/cli");
const made = `${target}.new`;

/** What else is loaded beside the bundle has these too: an app's spore.config.ts, the benchmarks. */
const SHARED: readonly string[] = ["@spore/errors", "@spore/sdk"];

/** Our packages, and Zod: a hundred files. Others stay where they are. */
const othersApart: Plugin = {
  name: "others-apart",
  setup(bundle) {
    bundle.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
      const ours = /^(@spore\/|zod$)/.test(path) && !SHARED.includes(path);
      return ours || kind === "entry-point" ? undefined : { path, external: true };
    });
  },
};

/** What a module says of its own place stays true, wherever the checkout is moved to. */
const ownPlaces: Plugin = {
  name: "own-places",
  setup(bundle) {
    bundle.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const text = readFileSync(path, "utf8");
      if (!text.includes("import.meta.")) return undefined;
      const define = {
        "import.meta.url": "__url",
        "import.meta.dirname": "__folder",
        "import.meta.filename": "__file",
      };
      const { code } = await transform(text, { loader: "ts", target: "node24", define });
      const place = JSON.stringify(relative(target, path));
      const contents = `import { fileURLToPath as __path } from "node:url";
const __url = new URL(${place}, import.meta.url).href;
const __folder = __path(new URL(".", __url));
const __file = __path(__url);
${code}`;
      return { contents, loader: "js" };
    });
  },
};

rmSync(made, { recursive: true, force: true });
await build({
  entryPoints: { main: join(root, "packages/cli/src/main.ts") },
  outdir: made,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24",
  plugins: [othersApart, ownPlaces],
  logLevel: "warning",
});
utimesSync(join(made, "main.js"), started, started);
rmSync(target, { recursive: true, force: true });
renameSync(made, target);
