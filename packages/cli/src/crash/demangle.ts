/**
 * Readable names of C++ and Rust functions: the path of the name, without
 * parameters. Source: the Itanium C++ ABI, section 5.1, as far as paths go.
 */

const substitutions: Readonly<Record<string, string>> = {
  St: "std",
  Sa: "std::allocator",
  Ss: "std::string",
};

/** "v8::internal::Map::Get" for "_ZN2v88internal3Map3GetEv"; what cannot be read stays as it is. */
export function demangle(symbol: string): string {
  const match = /^_Z(N[rVK]*[RO]?)?(S[tas])?/.exec(symbol);
  if (!match) return symbol;
  const parts = match[2] === undefined ? [] : [substitutions[match[2]] ?? ""];
  let rest = symbol.slice(match[0].length);
  for (;;) {
    const digits = /^[1-9]\d*/.exec(rest)?.[0];
    if (digits === undefined) break;
    const name = rest.slice(digits.length, digits.length + Number(digits));
    if (name.length < Number(digits)) return symbol;
    parts.push(name === "_GLOBAL__N_1" ? "(anonymous)" : unescaped(name));
    rest = rest.slice(digits.length + name.length);
    if (match[1] === undefined) break;
  }
  const own = parts.at(-1) ?? "";
  // Constructors and destructors are named after their class.
  if (/^C[1-3]/.test(rest)) parts.push(own);
  if (/^D[0-2]/.test(rest)) parts.push(`~${own}`);
  // A hash that Rust adds says nothing to people.
  if (/^h[0-9a-f]{16}$/.test(own)) parts.pop();
  // What follows an argument list of templates is not read; an operator neither.
  const complete = match[1] === undefined || /^(E|C[1-3]|D[0-2])/.test(rest);
  return parts.length === 0 ? symbol : parts.join("::").concat(complete ? "" : "…");
}

const ESCAPES: Readonly<Record<string, string>> = {
  SP: "@",
  BP: "*",
  RF: "&",
  LT: "<",
  GT: ">",
  LP: "(",
  RP: ")",
  C: ",",
};

/** What Rust writes for characters that no symbol may have. */
function unescaped(name: string): string {
  return name
    .replace(/^_\$/, "$")
    .replace(/\$(?:u([0-9a-f]{1,4})|([A-Z]{1,2}))\$/g, (all, code?: string, short?: string) =>
      code === undefined ? (ESCAPES[short ?? ""] ?? all) : String.fromCharCode(Number.parseInt(code, 16)),
    )
    .replace(/\.\./g, "::");
}
