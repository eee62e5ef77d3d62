/** A Python process with PyTorch that does the same work on request, so that both are timed in one run. */

import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const BOTH = ['torch', 'torchvision'];

/** The first Python on this machine that has these modules, or undefined. */
export function pythonWithTorch(
  modules: readonly string[] = BOTH,
  among: readonly string[] = ['/usr/bin/python3', 'python3'],
): string | undefined {
  return among.find((python) => {
    try {
      execFileSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

export class Peer {
  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly lines: AsyncIterator<string>,
  ) {}

  static async start(
    script: string,
    request: object,
    environment: NodeJS.ProcessEnv = {},
    python = pythonWithTorch(),
  ): Promise<Peer> {
    if (python === undefined)
      throw new Error(
        'the benchmarks compare with PyTorch: install it, on Debian with `apt-get install python3-torch python3-torchvision`',
      );
    const path = fileURLToPath(new URL(`peer/${script}`, import.meta.url));
    const child = spawn(python, [path], { env: { ...process.env, ...sameBlas(), ...environment } });
    child.stderr.pipe(process.stderr);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const peer = new Peer(child, lines);
    child.stdin.write(`${JSON.stringify(request)}\n`);
    await peer.answer();
    return peer;
  }

  /** Sends one word and gives the peer's answer to it. */
  async ask<T>(word: string): Promise<T> {
    this.child.stdin.write(`${word}\n`);
    return (await this.answer()) as T;
  }

  async stop(): Promise<void> {
    const gone = once(this.child, 'exit');
    this.child.stdin.end();
    await gone;
  }

  private async answer(): Promise<unknown> {
    const { value, done } = await this.lines.next();
    if (done === true) throw new Error('the PyTorch process ended before it answered');
    return JSON.parse(value) as unknown;
  }
}

/** The peer gets the OpenBLAS that the addon uses; with Debian's usual one it would be slower. */
function sameBlas(): NodeJS.ProcessEnv {
  const used = readFileSync('/proc/self/maps', 'utf8').match(/\S*\/openblas-openmp(?=\/)/);
  return used === null ? {} : { LD_LIBRARY_PATH: used[0] };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Columns of equal width, the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
        .join('  '),
    )
    .join('\n');
}
