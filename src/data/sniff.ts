/** What the first bytes of a picture file say, without decoding it. */

export interface Sniffed {
  format: 'jpeg' | 'png' | 'bmp' | 'pnm' | 'other';
  /** 0 where the header does not say it in a simple place */
  width: number;
  height: number;
  /** colour channels as stored; 0 = unknown */
  channels: number;
  /** bits a channel; 0 = unknown */
  depth: number;
}

const OTHER: Sniffed = { format: 'other', width: 0, height: 0, channels: 0, depth: 0 };
const PNG_CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 3, 4: 2, 6: 4 };

export function sniff(bytes: Uint8Array): Sniffed {
  if (bytes.length < 26) return OTHER;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(0) === 0xffd8) return sniffJpeg(view);
  if (view.getUint32(0) === 0x89504e47 && view.getUint32(12) === 0x49484452)
    return {
      format: 'png',
      width: view.getUint32(16),
      height: view.getUint32(20),
      depth: view.getUint8(24),
      channels: PNG_CHANNELS[view.getUint8(25)] ?? 0,
    };
  if (view.getUint16(0) === 0x424d) return { ...OTHER, format: 'bmp' };
  const second = bytes[1];
  if (bytes[0] === 0x50 && (second === 0x35 || second === 0x36)) return { ...OTHER, format: 'pnm' };
  return OTHER;
}

/** Walks the markers up to the frame header, where size and components stand. */
function sniffJpeg(view: DataView): Sniffed {
  const found: Sniffed = { ...OTHER, format: 'jpeg' };
  let at = 2;
  while (at + 10 < view.byteLength) {
    if (view.getUint8(at) !== 0xff) return found;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at++; // fill byte
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame)
      return {
        format: 'jpeg',
        depth: view.getUint8(at + 4),
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        channels: view.getUint8(at + 9),
      };
    if (marker === 0xda) return found;
    at += 2 + view.getUint16(at + 2);
  }
  return found;
}
