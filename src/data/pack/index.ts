/** Packing pictures into archives. */

export { PACK_FORMATS, type PackFormat, type PackOptions, type PackResult, packImages } from './pack.js';
