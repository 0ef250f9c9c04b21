/** The bytes of a layer for the EROFS reader. */

import { closeSync, readSync } from "node:fs";
import type { ImageSource } from "@spore/erofs";
import { openForReading } from "./blob-layout.ts";
import type { Blob, BlobPlace } from "./types.ts";

/** A source that holds a file open until it is closed. */
export interface LayerSource extends ImageSource {
  close(): void;
}

/** Opens a layer where it lies. */
export function layerSource(layer: Blob & BlobPlace): LayerSource {
  const fd = openForReading(layer.path);
  return {
    size: layer.length,
    read(offset, length) {
      const bytes = Buffer.alloc(length);
      let done = 0;
      while (done < length) {
        const count = readSync(fd, bytes, done, length - done, layer.offset + offset + done);
        if (count === 0) break;
        done += count;
      }
      return bytes;
    },
    close: () => closeSync(fd),
  };
}
