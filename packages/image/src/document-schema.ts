/** What the documents of an image hold: anybody can write an image. */

import type { Schema } from "./json-schema.ts";

/** Nothing that does something to a terminal. */
const text: Schema = { type: "string", maxLength: 8192, pattern: "^[^\\u0000-\\u001f\\u007f]*$" };
const name: Schema = { type: "string", maxLength: 256, pattern: "^[\\w./*-]+$" };
const count: Schema = { type: "integer", minimum: 0 };
/** Larger than any that is built. */
const MANY = 1 << 17;

function list(items: Schema): Schema {
  return { type: "array", items, maxItems: MANY };
}

function object(properties: Readonly<Record<string, Schema>>, optional: readonly string[] = []): Schema {
  const required = Object.keys(properties).filter((key) => !optional.includes(key));
  return { type: "object", properties, required, additionalProperties: false };
}

function reason(kind: string, properties: Readonly<Record<string, Schema>>): Schema {
  return object({ kind: { const: kind }, ...properties });
}

const reasons: Schema = list({
  anyOf: [
    reason("import", { object: text, symbol: text, through: list(text) }),
    reason("callSite", { object: text, address: count, symbol: text }),
    reason("text", { object: text, text }),
    reason("unknown", { object: text, why: text }),
    reason("profile", { profile: text, program: text }),
    reason("recording", { command: text, count }),
    reason("flag", { flag: text }),
  ],
});

/** `needs`: packages/needs/src/types.ts. */
export const NEEDS_SCHEMA: Schema = object(
  {
    version: { const: 1 },
    mode: { enum: ["full", "derived", "recorded"] },
    calls: list(object({ number: count, name, by: reasons })),
    services: list(object({ name, by: reasons })),
    everything: reasons,
    without: list(name),
    sites: list(
      object(
        { object: text, sites: count, patched: count, cpuid: object({ sites: count, patched: count }) },
        ["cpuid"],
      ),
    ),
  },
  ["without"],
);

/** `pieces`: what the linker reports. */
export const PIECES_SCHEMA: Schema = list(
  object(
    {
      name,
      kind: { enum: ["core", "service", "call"] },
      feature: name,
      with: list(name),
      size: count,
      zeros: count,
      count,
      parts: list(object({ name: text, size: count })),
    },
    ["feature"],
  ),
);
