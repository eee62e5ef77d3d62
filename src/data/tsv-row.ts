/** One row of a TSV of pictures: `key <tab> label <tab> base64`, or without the label. */

const TAB = 9;

export interface RowHead {
  key: string;
  /** the second of three columns; undefined where there are two */
  label: string | undefined;
  /** where the last column begins, in bytes from the start of the row */
  imageAt: number;
}

/**
 * The columns before the picture. `hasLabel` says whether the second column is one. Undefined where `bytes` end
 * before the picture begins.
 */
export function rowHead(bytes: Buffer, hasLabel: boolean): RowHead | undefined {
  const first = bytes.indexOf(TAB);
  if (first < 0) return undefined;
  const key = bytes.toString('utf8', 0, first).trim();
  if (!hasLabel) return { key, label: undefined, imageAt: first + 1 };
  const second = bytes.indexOf(TAB, first + 1);
  if (second < 0) return undefined;
  return { key, label: bytes.toString('utf8', first + 1, second).trim(), imageAt: second + 1 };
}

/** The class in a label such as `[{"class": "n01440764", "rect": [0, 0, 10, 10]}]`; undefined if it is none. */
export function classOfJson(label: string): string | undefined {
  if (!label.startsWith('[')) return undefined;
  try {
    const parsed: unknown = JSON.parse(label);
    const first: unknown = Array.isArray(parsed) ? parsed[0] : undefined;
    const name = (first as { class?: unknown } | null | undefined)?.class;
    return typeof name === 'string' ? name : undefined;
  } catch {
    return undefined;
  }
}

/** A whole number that is written as one, else undefined. */
export function wholeNumber(text: string): number | undefined {
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
