/**
 * The tables at the front of an image: superblock, inodes with their inline
 * data and chunk maps, then directory and link blocks that do not fit inline.
 */
import { directoryBlocks, directorySize, type NamedEntry, writeDirectoryBlock } from "./directory.ts";
import {
  BLOCK,
  EntryType,
  INCOMPAT_CHUNKED,
  type Inode,
  inodeSize,
  Layout,
  SLOT,
  SUPER_OFFSET,
  SUPER_SIZE,
  viewOf,
  writeInode,
  writeSuperblock,
} from "./format.ts";
import type { Node } from "./nodes.ts";
import type { Run } from "./placement.ts";

/** An entry of a directory and the node it leads to. */
interface ChildEntry extends NamedEntry {
  readonly node: Node;
}

/** Where one node's tables lie. */
interface Slot {
  readonly node: Node;
  /** Image offset of the inode. */
  readonly at: number;
  readonly headSize: 32 | 64;
  readonly links: number;
  readonly size: number;
  readonly layout: number;
  /** Directories: the entries of each block. */
  readonly blocks: ChildEntry[][];
  /** First block of directory or link data that is not inline. */
  dataBlock: number;
}

/** Sizes and places of all tables. */
export interface MetadataLayout {
  readonly slots: ReadonlyMap<Node, Slot>;
  /** A multiple of 4096. */
  readonly length: number;
}

/** Number of links of a node: directories count "." and their children's "..". */
function linksOf(node: Node): number {
  if (node.type !== EntryType.directory) return 1;
  return 2 + node.children.filter((child) => child.type === EntryType.directory).length;
}

/** A directory's entries with "." and "..", in name order, split into blocks. */
function childBlocks(node: Node): ChildEntry[][] {
  if (node.type !== EntryType.directory) return [];
  const dots: ChildEntry[] = [
    { name: Uint8Array.of(0x2e), type: EntryType.directory, node },
    { name: Uint8Array.of(0x2e, 0x2e), type: EntryType.directory, node: node.parent ?? node },
  ];
  const children = node.children.map((child) => ({ name: child.name, type: child.type, node: child }));
  // Names such as "-a" come before the dots.
  const before = children.filter((child) => (child.name[0] ?? 0) < 0x2e);
  return directoryBlocks([...before, ...dots, ...children.slice(before.length)]);
}

/** Gives every inode, with its inline data or chunk map, a place. `isChunked` says which files need a map. */
export function layOutMetadata(nodes: readonly Node[], isChunked: (node: Node) => boolean): MetadataLayout {
  const slots = new Map<Node, Slot>();
  let at = SUPER_OFFSET + SUPER_SIZE;
  for (const node of nodes) {
    const blocks = childBlocks(node);
    const size = node.type === EntryType.directory ? directorySize(blocks) : node.contentSize;
    const links = linksOf(node);
    const headSize = inodeSize({ links, size, uid: node.uid, gid: node.gid });
    const { layout, tail } = choose(node, size, headSize, isChunked(node));
    at = Math.ceil(at / SLOT) * SLOT;
    // Inline data may not cross a block's end; a chunk map may.
    const whole = layout === Layout.chunkBased ? headSize : headSize + tail;
    if ((at % BLOCK) + whole > BLOCK) at = Math.ceil(at / BLOCK) * BLOCK;
    slots.set(node, { node, at, headSize, links, size, layout, blocks, dataBlock: 0 });
    at += headSize + tail;
  }
  let block = Math.ceil(at / BLOCK);
  for (const slot of slots.values()) {
    if (slot.node.type === EntryType.file) continue;
    const inline = slot.layout === Layout.flatInline;
    slot.dataBlock = block;
    block += inline ? Math.floor(slot.size / BLOCK) : Math.ceil(slot.size / BLOCK);
  }
  return { slots, length: block * BLOCK };
}

/** How a node's data is stored, and how many bytes follow its inode. */
function choose(
  node: Node,
  size: number,
  headSize: number,
  chunked: boolean,
): { layout: number; tail: number } {
  if (node.type === EntryType.file) {
    if (!chunked) return { layout: Layout.flatPlain, tail: 0 };
    return { layout: Layout.chunkBased, tail: Math.ceil(size / BLOCK) * 4 };
  }
  const tail = size % BLOCK;
  const inline = tail > 0 && headSize + tail <= BLOCK;
  return inline ? { layout: Layout.flatInline, tail } : { layout: Layout.flatPlain, tail: 0 };
}

/** Values for the superblock that the layout does not know. */
export interface ImageFacts {
  readonly mtime: number;
  readonly uuid: Uint8Array;
  readonly volumeName: Uint8Array;
  /** Blocks of the whole image. */
  readonly blocks: number;
}

/** Writes all tables. `runsOf` gives a file's runs by first page. */
export function writeMetadata(
  layout: MetadataLayout,
  runsOf: (node: Node) => readonly Run[],
  facts: ImageFacts,
): Uint8Array {
  const bytes = new Uint8Array(layout.length);
  const numberOf = (node: Node): number => (layout.slots.get(node)?.at ?? 0) / SLOT;
  let serial = 0;
  let chunked = false;
  for (const slot of layout.slots.values()) {
    const runs = runsOf(slot.node);
    const inode: Inode = {
      layout: slot.layout,
      mode: slot.node.mode,
      links: slot.links,
      size: slot.size,
      uid: slot.node.uid,
      gid: slot.node.gid,
      mtime: facts.mtime,
      serial: ++serial,
      location: locationOf(slot, runs),
    };
    writeInode(bytes, slot.at, inode);
    if (slot.layout === Layout.chunkBased) {
      chunked = true;
      writeChunkMap(bytes, slot, runs);
    } else if (slot.node.type === EntryType.directory) {
      slot.blocks.forEach((entries, index) => {
        writeDirectoryBlock(bytes.subarray(dataAt(slot, index)), entries, (entry) => numberOf(entry.node));
      });
    } else if (slot.node.type === EntryType.symlink) {
      bytes.set(slot.node.target, dataAt(slot, 0));
    }
  }
  writeSuperblock(bytes.subarray(0, BLOCK), {
    root: (SUPER_OFFSET + SUPER_SIZE) / SLOT,
    inodes: layout.slots.size,
    time: facts.mtime,
    blocks: facts.blocks,
    metaBlock: 0,
    uuid: facts.uuid,
    volumeName: facts.volumeName,
    incompatible: chunked ? INCOMPAT_CHUNKED : 0,
  });
  return bytes;
}

function locationOf(slot: Slot, runs: readonly Run[]): number {
  // A chunk format of 0 means chunks of one block, found through a plain block map.
  if (slot.layout === Layout.chunkBased) return 0;
  if (slot.node.type === EntryType.file) return runs[0]?.block ?? 0;
  return slot.dataBlock;
}

/** Image offset of a block of directory or link data. */
function dataAt(slot: Slot, index: number): number {
  const inlineIndex = slot.layout === Layout.flatInline ? Math.floor(slot.size / BLOCK) : -1;
  return index === inlineIndex ? slot.at + slot.headSize : (slot.dataBlock + index) * BLOCK;
}

function writeChunkMap(bytes: Uint8Array, slot: Slot, runs: readonly Run[]): void {
  const view = viewOf(bytes);
  // Backwards, so that of two runs with the same page the first one counts.
  for (const run of [...runs].reverse()) {
    for (let index = 0; index < run.pages; index++) {
      view.setUint32(slot.at + slot.headSize + (run.page + index) * 4, run.block + index, true);
    }
  }
}
