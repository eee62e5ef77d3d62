/** Errors that a person caused or can cure; printed as one or two sentences, without a stack. */

export type UserErrorKind = 'usage' | 'config' | 'data' | 'checkpoint' | 'disk' | 'environment' | 'training';

/**
 * What was expected, what came, where, and what to do. `usage` and `config` end the process with code 2,
 * all other kinds with 1.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
  constructor(
    readonly kind: UserErrorKind,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }

  get exitCode(): number {
    return this.kind === 'usage' || this.kind === 'config' ? 2 : 1;
  }
}

/** A state that our own code must never reach. */
export function internal(message: string): Error {
  return new Error(`internal: ${message}`);
}

/** Levenshtein distance, O(a·b). */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, previous[j] + 1, row[j - 1] + 1));
    }
    previous = row;
  }
  return previous[b.length];
}

/** The choice nearest to `name`, or undefined where none is near enough to be a typo. */
export function nearest(name: string, choices: Iterable<string>): string | undefined {
  const wanted = name.toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const choice of choices) {
    const distance = editDistance(wanted, choice.toLowerCase());
    if (distance < bestDistance) {
      best = choice;
      bestDistance = distance;
    }
  }
  return best;
}

/** " Did you mean 'x'?" or an empty string. */
export function didYouMean(name: string, choices: Iterable<string>): string {
  const choice = nearest(name, choices);
  return choice === undefined ? '' : ` Did you mean '${choice}'?`;
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
