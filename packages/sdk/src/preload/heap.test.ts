import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";

/** Makes its heap ready when it is told to, and tells when its young generation was collected. */
const THREAD = `
  const { constants, PerformanceObserver } = require("node:perf_hooks");
  const { parentPort, workerData } = require("node:worker_threads");
  import(workerData).then(({ restHeap }) => {
    new PerformanceObserver((list) => {
      const minor = ({ detail }) => detail.kind === constants.NODE_PERFORMANCE_GC_MINOR;
      if (list.getEntries().some(minor)) parentPort.postMessage("collected");
    }).observe({ entryTypes: ["gc"] });
    parentPort.once("message", restHeap);
    parentPort.postMessage("loaded");
  });
`;

test("threads that make their heaps ready at the same time all collect", async () => {
  const options = { eval: true, workerData: new URL("./heap.ts", import.meta.url).href };
  for (let round = 0; round < 5; round++) {
    const threads = Array.from({ length: 8 }, () => new Worker(THREAD, options));
    await Promise.all(threads.map((thread) => once(thread, "message")));
    const told = threads.map(async (thread) => {
      const [what] = await Promise.race([once(thread, "message"), once(thread, "exit")]);
      return what;
    });
    for (const thread of threads) thread.postMessage("now");
    expect(await Promise.all(told)).toEqual(threads.map(() => "collected"));
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
});
