/**
 * Checks a value against a JSON Schema: the subset in which this package writes
 * its own. The schema that users read is so the one that the code goes by; a
 * schema library would take longer to load than an image to open.
 */

/** The keywords that are understood. */
export interface Schema {
  readonly $schema?: string;
  readonly $id?: string;
  readonly title?: string;
  readonly description?: string;
  readonly type?: "object" | "array" | "string" | "integer" | "null" | "boolean";
  readonly const?: string | number;
  readonly enum?: readonly (string | number)[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly maxProperties?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly pattern?: string;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly multipleOf?: number;
}

/** What is wrong with a value: "place: problem"; null if nothing is. */
export function violation(value: unknown, schema: Schema, place = ""): string | null {
  const says = (problem: string): string => `${place === "" ? "the whole" : place}: ${problem}`;
  if (schema.anyOf) {
    const problems = schema.anyOf.map((each) => violation(value, each, place));
    return problems.includes(null) ? null : (problems.at(-1) ?? says("matches nothing"));
  }
  if (schema.const !== undefined && value !== schema.const) {
    return says(`is not ${JSON.stringify(schema.const)}`);
  }
  if (schema.enum && !schema.enum.some((each) => each === value)) {
    return says(`is none of ${schema.enum.join(", ")}`);
  }
  switch (schema.type) {
    case "object":
      return isRecord(value) ? objectViolation(value, schema, place, says) : says("is not an object");
    case "array":
      return Array.isArray(value) ? arrayViolation(value, schema, place, says) : says("is not a list");
    case "string":
      return typeof value === "string" ? stringViolation(value, schema, says) : says("is not a text");
    case "integer":
      return typeof value === "number" && Number.isSafeInteger(value)
        ? numberViolation(value, schema, says)
        : says("is not a whole number");
    case "boolean":
      return typeof value === "boolean" ? null : says("is neither true nor false");
    case "null":
      return value === null ? null : says("is not null");
    default:
      return null;
  }
}

/** True for what JSON writes in braces. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

type Says = (problem: string) => string;

function objectViolation(
  value: Record<string, unknown>,
  schema: Schema,
  place: string,
  says: Says,
): string | null {
  const { properties = {}, required = [], additionalProperties = true } = schema;
  const missing = required.find((name) => !Object.hasOwn(value, name));
  if (missing !== undefined) return says(`has no ${missing}`);
  const names = Object.keys(value);
  if (names.length > (schema.maxProperties ?? Number.POSITIVE_INFINITY)) return says("has too many entries");
  for (const name of names) {
    const own = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (own === undefined && additionalProperties === false) return says(`has an unknown ${shown(name)}`);
    const rule = own ?? (typeof additionalProperties === "object" ? additionalProperties : {});
    const problem = violation(value[name], rule, place === "" ? shown(name) : `${place}.${shown(name)}`);
    if (problem !== null) return problem;
  }
  return null;
}

function arrayViolation(value: readonly unknown[], schema: Schema, place: string, says: Says): string | null {
  if (value.length < (schema.minItems ?? 0)) return says("has too few entries");
  if (value.length > (schema.maxItems ?? Number.POSITIVE_INFINITY)) return says("has too many entries");
  if (schema.uniqueItems && new Set(value).size !== value.length) return says("says something twice");
  for (const [index, item] of value.entries()) {
    const problem = violation(item, schema.items ?? {}, `${place}[${index}]`);
    if (problem !== null) return problem;
  }
  return null;
}

function stringViolation(value: string, schema: Schema, says: Says): string | null {
  if (value.length > (schema.maxLength ?? Number.POSITIVE_INFINITY)) return says("is too long");
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, "u").test(value)) {
    return says("is not of the form that is asked for");
  }
  return null;
}

function numberViolation(value: number, schema: Schema, says: Says): string | null {
  if (value < (schema.minimum ?? Number.NEGATIVE_INFINITY)) return says("is too small");
  if (value > (schema.maximum ?? Number.POSITIVE_INFINITY)) return says("is too large");
  if (schema.multipleOf !== undefined && value % schema.multipleOf !== 0) {
    return says(`is not a multiple of ${schema.multipleOf}`);
  }
  return null;
}

/** A name from the input, safe to print. */
function shown(name: string): string {
  return /^[\w.-]{1,64}$/.test(name) ? name : JSON.stringify(name.slice(0, 64));
}
