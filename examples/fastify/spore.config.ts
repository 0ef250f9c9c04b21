/** Optional: what the flags of `spore run` would say otherwise. */

import { defineConfig } from "@spore/sdk";

export default defineConfig({
  entry: "src/server.ts",
  memory: "512M",
  env: { NODE_ENV: "production" },
});
