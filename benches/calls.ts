/** What system calls cost inside a program whose C library is patched. */

import { type Row, row, spread } from "./rows.ts";
import { output, type Workshop } from "./workshop.ts";

/** Rounds of one run; a round is 10 ms for each call. */
const ROUNDS = 5;
const RUNS = 4;
const NAMES: Readonly<Record<string, string>> = {
  getppid: "getppid()",
  clock_gettime: "clock_gettime(), vDSO",
};

/** A call that needs the kernel and one that does not, in turn in the guest and natively, by the way of each C library. */
export async function calls(shop: Workshop): Promise<Row[]> {
  const programs: readonly (readonly [flavour: string, program: string])[] = [
    ["dynamic glibc", shop.compile("calls")],
    ["static glibc", shop.compile("calls", "-static")],
    ["static musl", shop.compileWith("musl-gcc", "calls", "-static")],
    ["Go", shop.compileGo("calls")],
  ];
  const rows: Row[] = [];
  for (const [flavour, program] of programs) rows.push(...(await callsOf(shop, flavour, program)));
  return rows;
}

async function callsOf(shop: Workshop, flavour: string, program: string): Promise<Row[]> {
  shop.say(`calls: loops of system calls, ${flavour}`);
  const ours = await shop.ours(program, { args: [String(ROUNDS)] });
  const native = [program, String(ROUNDS)];
  const said: [string[], string[]] = [[], []];
  for (let time = 0; time < RUNS; time++) {
    said[0].push(await output(ours));
    said[1].push(await output(native));
  }
  return Object.entries(NAMES).flatMap(([call, name]) => {
    const [inGuest = [], onHost = []] = said.map((texts) => costs(texts.join(""), call));
    if (inGuest.length === 0) return [];
    return [
      row({ bench: "calls", case: `${name}, ${flavour}`, unit: "ns" }, spread(inGuest), spread(onHost)),
    ];
  });
}

/** The numbers behind a name. */
function costs(text: string, call: string): number[] {
  return [...text.matchAll(/^(\w+) ([\d.]+)$/gm)]
    .filter((match) => match[1] === call)
    .map((match) => Number(match[2]));
}
