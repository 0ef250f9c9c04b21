// Recordings: from what was counted to a file, and from the file to needs.

import { expect, test } from "vitest";
import { makeRecording, readRecording, recordedNeeds } from "./recording.ts";

const used = {
  calls: { "1": 3, "257": 2, "900": 1 },
  families: [1, 2, 40],
  files: ["/proc/1/maps", "/proc/self/maps", "/dev/null"],
  complete: true,
};

test("numbers become names, a process becomes self, unknown families stay out", () => {
  expect(makeRecording("npm test", used)).toEqual({
    version: 1,
    command: "npm test",
    calls: { write: 3, openat: 2, "call-900": 1 },
    services: ["file/dev/null", "file/proc/self/maps", "socket/inet", "socket/unix"],
  });
});

test("with more names than found room every file counts", () => {
  expect(makeRecording("x", { ...used, complete: false }).services).toContain("file/*");
});

test("needs are what was used, how often and by which command, and the ways out", () => {
  const { mode, calls, everything } = recordedNeeds(makeRecording("npm test", used), []);
  expect({ mode, everything }).toEqual({ mode: "recorded", everything: [] });
  expect(calls.map(({ name }) => name)).toEqual([
    "write",
    "rt_sigreturn",
    "exit",
    "exit_group",
    "openat",
    "call-900",
  ]);
  expect(calls[0]?.by).toEqual([{ kind: "recording", command: "npm test", count: 3 }]);
});

test.each([
  ["no JSON", "{"],
  ["another version", '{"version":2,"command":"x","calls":{},"services":[]}'],
  ["a call that Linux does not know", '{"version":1,"command":"x","calls":{"wrte":1},"services":[]}'],
  ["a count that is none", '{"version":1,"command":"x","calls":{"write":"1"},"services":[]}'],
])("%s is no recording", (_, text) => {
  expect(readRecording(text)).toBeUndefined();
});

test("what is written is read", () => {
  const recording = makeRecording("npm test", used);
  expect(readRecording(JSON.stringify(recording))).toEqual(recording);
});
