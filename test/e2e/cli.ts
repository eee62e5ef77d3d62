/** Runs `esvit` as a person does: in a process of its own, from the sources. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** `kill` sends a signal after so many milliseconds, or once a word was seen on stderr. */
export function esvit(
  argv: readonly string[],
  kill?: { signal: NodeJS.Signals; after: number | string },
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...argv], { cwd: root });
    const outcome: Outcome = { code: null, signal: null, stdout: '', stderr: '' };
    let sent = false;
    const send = () => {
      if (!sent && kill !== undefined) child.kill(kill.signal);
      sent = true;
    };
    const timer = typeof kill?.after === 'number' ? setTimeout(send, kill.after) : undefined;
    child.stdout.on('data', (chunk: Buffer) => {
      outcome.stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      outcome.stderr += chunk.toString();
      if (typeof kill?.after === 'string' && outcome.stderr.includes(kill.after)) send();
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ ...outcome, code, signal });
    });
  });
}
