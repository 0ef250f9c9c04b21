import { expect, test } from "vitest";
import { holdAwake, machine, onRestore, onSuspend, ready, waitUntil } from "./lifecycle.ts";

test("without a machine that can be frozen, nothing happens and nothing fails", async () => {
  const never = (): never => {
    throw new Error("called");
  };
  onSuspend(never)();
  onRestore(never)();
  ready();
  const hold = holdAwake();
  hold.release();
  hold[Symbol.dispose]();
  expect(await waitUntil(Promise.resolve(42))).toBe(42);
  await expect(waitUntil(Promise.reject(new Error("its own")))).rejects.toThrow("its own");
  expect(machine()).toBeNull();
});
