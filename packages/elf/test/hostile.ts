/** ELF files that somebody made to do harm: small, each wrong in one way. packages/elf/corpus holds them as files. */

const HEADER = 64;
const ENTRY = 56;
const BASE = 0x40_0000;
const huge = 2n ** 62n;

type Field = number | bigint;

/** One program header: type, flags, offset, address, size in the file, size in memory, alignment. */
type Header = readonly [
  type: number,
  flags: number,
  offset: Field,
  vaddr: Field,
  fileSize: Field,
  memorySize: Field,
  align: Field,
];

interface Parts {
  /** 2 = at a fixed address, 3 = shared object. */
  readonly type?: number;
  readonly entry?: Field;
  readonly segments?: readonly Header[];
  readonly body?: Uint8Array;
  readonly sections?: { readonly offset: Field; readonly count: number; readonly names: number };
  /** Says another number of program headers than there are. */
  readonly count?: number;
}

/** Puts a file together: header, program headers, body. */
function file({ type = 2, entry = BASE + 0x1000, segments = [], body = new Uint8Array(), ...rest }: Parts) {
  const { sections, count = segments.length } = rest;
  const bytes = new Uint8Array(HEADER + segments.length * ENTRY + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(entry), true);
  view.setBigUint64(32, BigInt(HEADER), true);
  view.setBigUint64(40, BigInt(sections?.offset ?? 0), true);
  view.setUint16(52, HEADER, true);
  view.setUint16(54, ENTRY, true);
  view.setUint16(56, count, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, sections?.count ?? 0, true);
  view.setUint16(62, sections?.names ?? 0, true);
  segments.forEach(([kind, flags, offset, vaddr, fileSize, memorySize, align], index) => {
    const at = HEADER + index * ENTRY;
    view.setUint32(at, kind, true);
    view.setUint32(at + 4, flags, true);
    [offset, vaddr, vaddr, fileSize, memorySize, align].forEach((value, field) => {
      view.setBigUint64(at + 8 + field * 8, BigInt(value), true);
    });
  });
  bytes.set(body, HEADER + segments.length * ENTRY);
  return bytes;
}

/** 64-bit words. */
function words(...values: readonly Field[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    view.setBigUint64(index * 8, BigInt(value), true);
  });
  return bytes;
}

/** 32-bit words. */
function halves(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** Everything in one readable and executable segment from BASE on. */
function whole(size: number, memorySize: Field = size, vaddr: Field = BASE): Header {
  return [1, 5, 0, vaddr, size, memorySize, 0x1000];
}

/** A program with a dynamic section; `make` gets the address of what stands behind it. */
function dynamic(make: (behind: number) => readonly Field[], behind: Uint8Array, type = 3): Uint8Array {
  const start = HEADER + 2 * ENTRY;
  const length = make(0).length * 8;
  const size = start + length + behind.length;
  const body = joined(words(...make(BASE + start + length)), behind);
  const segments: Header[] = [whole(size), [2, 6, start, BASE + start, length, length, 8]];
  return file({ type, entry: BASE, segments, body });
}

/** A program with unwind records behind a search table. */
function frames(table: Uint8Array): Uint8Array {
  const start = HEADER + 2 * ENTRY;
  const segments: Header[] = [
    whole(start + table.length),
    [0x6474e550, 4, start, BASE + start, table.length, table.length, 4],
  ];
  return file({ entry: BASE, segments, body: table });
}

function withInterpreter(path: string): Uint8Array {
  const body = text(`${path}\0`);
  const start = HEADER + 2 * ENTRY;
  const segments: Header[] = [
    whole(start + body.length),
    [3, 4, start, BASE + start, body.length, body.length, 1],
  ];
  return file({ entry: BASE, segments, body });
}

const NEEDED = 1;
const HASH = 4;
const STRTAB = 5;
const SYMTAB = 6;
const STRSZ = 10;
const SONAME = 14;
const RPATH = 15;
const RUNPATH = 29;
const GNU_HASH = 0x6ffffef5;

/** Names of the files, and what they are. */
export const hostileFiles: Readonly<Record<string, () => Uint8Array>> = {
  "segments-overlap": () => file({ segments: [whole(176), whole(176, 176, BASE + 0x10)] }),
  "segments-descend": () => file({ segments: [whole(176, 176, BASE + 0x10000), whole(176)] }),
  "segment-offset-overflows": () => file({ segments: [[1, 5, huge, BASE, 64, 64, 0x1000]] }),
  "segment-size-overflows": () => file({ segments: [[1, 5, 2 ** 52, BASE, 2 ** 52, 2 ** 52, 0x1000]] }),
  "segment-wraps-around": () => file({ segments: [[1, 5, 0, 2 ** 52, 120, 2 ** 52, 0x1000]] }),
  "segment-fills-memory": () => file({ entry: BASE + 64, segments: [whole(120, 2 ** 46)] }),
  "segment-shows-the-file-again": () =>
    file({
      segments: Array.from({ length: 400 }, (_, index) =>
        whole(64 + 400 * ENTRY, 64 + 400 * ENTRY, BASE + index * 0x10000),
      ),
    }),
  "absurd-program-headers": () => file({ segments: [whole(120)], count: 65_000 }),
  "absurd-sections": () =>
    file({
      segments: [whole(120)],
      body: new Uint8Array(64).fill(0xff),
      sections: { offset: 120, count: 0, names: 0 },
    }),
  "sections-name-themselves": () =>
    file({ segments: [whole(120)], sections: { offset: 64, count: 60_000, names: 59_999 } }),
  "dynamic-without-end": () => dynamic(() => Array.from({ length: 64 }, () => NEEDED), new Uint8Array()),
  "needed-beyond-strings": () =>
    dynamic((behind) => [NEEDED, 1 << 30, STRTAB, behind, STRSZ, 4, 0, 0], text("abc\0")),
  "needed-without-end": () => dynamic((behind) => [NEEDED, 0, STRTAB, behind, STRSZ, 4, 0, 0], text("abcd")),
  "needed-without-number": () =>
    dynamic(
      (behind) => [...Array.from({ length: 5000 }, () => [NEEDED, 1]).flat(), STRTAB, behind, STRSZ, 8, 0, 0],
      text("\0libm.so\0"),
    ),
  "needed-number-overflows": () =>
    dynamic((behind) => [NEEDED, 2 ** 60, STRTAB, behind, STRSZ, 9, 0, 0], text("\0libm.so\0")),
  "needs-itself": () =>
    dynamic((behind) => [NEEDED, 1, SONAME, 1, STRTAB, behind, STRSZ, 9, 0, 0], text("\0self.so\0")),
  "needs-a-path-upwards": () =>
    dynamic(
      (behind) => [NEEDED, 1, RPATH, 21, RUNPATH, 21, STRTAB, behind, STRSZ, 39, 0, 0],
      text("\0../../../etc/passwd\0$ORIGIN/../../..\0\0"),
    ),
  "strings-beyond-segment": () => dynamic((behind) => [STRTAB, behind, STRSZ, 1 << 30, 0, 0], text("a\0")),
  "hash-counts-too-many": () =>
    dynamic((behind) => [HASH, behind, SYMTAB, behind, STRTAB, behind, 0, 0], halves(1, 0xffffffff, 0, 0)),
  "gnu-hash-without-end": () =>
    dynamic(
      (behind) => [GNU_HASH, behind, SYMTAB, behind, STRTAB, behind, 0, 0],
      halves(1, 1, 0, 0, 2, 2, 2, 2),
    ),
  "gnu-hash-buckets-overflow": () =>
    dynamic(
      (behind) => [GNU_HASH, behind, SYMTAB, behind, STRTAB, behind, 0, 0],
      halves(0xffffffff, 0, 0xffffffff, 0),
    ),
  "symbols-overlap-hash": () =>
    dynamic(
      (behind) => [HASH, behind, SYMTAB, behind, STRTAB, behind, STRSZ, 8, 0, 0],
      halves(1, 1, 0xffffffff, 0xffffffff, 5, 6),
    ),
  "frames-count-too-many": () => frames(joined(new Uint8Array([1, 0x1b, 0x03, 0x3b]), halves(0, 0xffffffff))),
  // The table's only entry names a record, whose common entry is the record itself.
  "frame-is-its-own-common": () =>
    frames(joined(new Uint8Array([1, 0x1b, 0x03, 0x3b]), halves(0, 1, 0, 20, 16, 4, 0, 0, 0, 0))),
  "frame-covers-everything": () =>
    frames(
      joined(
        new Uint8Array([1, 0x1b, 0x03, 0x3b]),
        halves(0, 1, 0, 36, 12, 0),
        new Uint8Array([1, 0, 1, 1, 16, 0, 0, 0]),
        halves(20, 24),
        words(1, 2 ** 52),
      ),
    ),
  "interpreter-is-relative": () => withInterpreter("../../etc/passwd"),
  "interpreter-never-ends": () => withInterpreter("/dev/zero"),
  "interpreter-is-a-directory": () => withInterpreter("/"),
  "interpreter-is-no-program": () => withInterpreter("/etc/passwd"),
  "only-system-calls": () => {
    const start = HEADER + ENTRY;
    const body = new Uint8Array(50_000).fill(0x0f).map((_, index) => (index % 2 === 0 ? 0x0f : 0x05));
    return file({ entry: BASE + start, segments: [whole(start + body.length)], body });
  },
};
