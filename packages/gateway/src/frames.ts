/** Where the frames of a WebSocket end (RFC 6455, 5.2): their heads are read, what they carry is not. */

/** Opcode of the frame that ends a WebSocket. */
const CLOSE = 8;

/** A close frame with status 1001: the server goes away, and comes back for who connects anew. */
export const goingAway: Buffer = Buffer.from([0x80 | CLOSE, 2, 1001 >> 8, 1001 & 0xff]);

/** Follows what one side of a WebSocket says. */
export class Frames {
  /** Bytes of the head so far, and how many of it are to come behind the first two. */
  #head = 0;
  #more = 0;
  #lengthBytes = 0;
  #length = 0;
  #opcode = 0;
  /** Bytes of the frame's content that are to come. */
  #left = 0;
  #closed = false;

  /** The last frame is complete: another may begin. */
  get between(): boolean {
    return this.#head === 0 && this.#left === 0;
  }

  /** This side has closed the WebSocket itself. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Reads on; gives where in `bytes` the first frame ends, -1 if none does. */
  take(bytes: Uint8Array): number {
    let first = -1;
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) {
        const part = Math.min(this.#left, bytes.length - at);
        this.#left -= part;
        at += part;
      } else {
        this.#takeHead(bytes[at] ?? 0);
        at += 1;
      }
      if (first < 0 && this.between) first = at;
    }
    return first;
  }

  #takeHead(byte: number): void {
    this.#head += 1;
    if (this.#head === 1) {
      this.#opcode = byte & 15;
      return;
    }
    if (this.#head === 2) {
      const short = byte & 127;
      this.#lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
      this.#length = this.#lengthBytes === 0 ? short : 0;
      this.#more = this.#lengthBytes + (byte > 127 ? 4 : 0);
    } else {
      if (this.#lengthBytes > 0) {
        this.#length = this.#length * 256 + byte;
        this.#lengthBytes -= 1;
      }
      this.#more -= 1;
    }
    if (this.#more > 0) return;
    this.#head = 0;
    this.#left = this.#length;
    if (this.#opcode === CLOSE) this.#closed = true;
  }
}
