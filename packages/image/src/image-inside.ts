/** `@spore/image/inside`: looking into an image without running it. */

export { type Copied, copyOut } from "./image-copy.ts";
export { type ImageView, type ViewEntry, viewImage } from "./image-view.ts";
export { unpackKernel } from "./packed-kernel.ts";
