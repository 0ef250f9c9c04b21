import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";

/** Tells the kind of the first collection after its heap was made ready. */
const THREAD = `
  const { PerformanceObserver } = require("node:perf_hooks");
  const { parentPort, workerData } = require("node:worker_threads");
  import(workerData).then(({ restHeap }) => {
    new PerformanceObserver((list) => parentPort.postMessage(list.getEntries()[0].detail.kind))
      .observe({ entryTypes: ["gc"] });
    parentPort.once("message", restHeap);
    parentPort.postMessage("loaded");
  });
`;

test("threads that make their heaps ready at the same time all collect", async () => {
  const options = { eval: true, workerData: new URL("./heap.ts", import.meta.url).href };
  for (let round = 0; round < 5; round++) {
    const threads = Array.from({ length: 8 }, () => new Worker(THREAD, options));
    await Promise.all(threads.map((thread) => once(thread, "message")));
    const collections = threads.map(async (thread) => {
      const [kind] = await Promise.race([once(thread, "message"), once(thread, "exit")]);
      return kind;
    });
    for (const thread of threads) thread.postMessage("now");
    // NODE_PERFORMANCE_GC_MINOR
    expect(await Promise.all(collections)).toEqual(threads.map(() => 1));
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
});
