// Two projects: "unit" needs nothing but Node, "integration" boots virtual machines.
import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: {
    // Two cores are the common case; a test that boots a machine wants one of them.
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: "unit",
          include: [
            "packages/**/*.test.ts",
            "tests/tidy/**/*.test.ts",
            "tests/launcher/**/*.test.ts",
            "tools/**/*.test.ts",
            "benches/**/*.test.ts",
          ],
          exclude: ["**/node_modules/**", "**/fixtures/**"],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: "integration",
          include: ["tests/**/*.test.ts"],
          exclude: ["**/node_modules/**", "**/fixtures/**", "tests/tidy/**", "tests/launcher/**"],
          // One machine at a time: timings and ports stay predictable.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});

export default config;
