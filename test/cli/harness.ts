/** Runs `esvit` in this process with captured output, signals that a test sends, and a fake exit. */

import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { type CommandTable, runApp } from '../../src/cli/app.js';
import type { Command } from '../../src/cli/command.js';
import type { Host } from '../../src/cli/console.js';

export class FakeHost extends EventEmitter implements Host {
  readonly stdout: PassThrough & { columns?: number } = new PassThrough();
  readonly stderr: PassThrough & { isTTY?: boolean; columns?: number } = new PassThrough();
  exited: number | undefined;
  exit(code: number): void {
    this.exited = code;
  }
  get out(): string {
    return String(this.stdout.read() ?? '');
  }
  get err(): string {
    return String(this.stderr.read() ?? '');
  }
}

export async function run(command: Command | CommandTable, ...argv: string[]) {
  const host = new FakeHost();
  const code = await runOn(host, command, ...argv);
  return { code, out: host.out, err: host.err };
}

export function runOn(host: FakeHost, command: Command | CommandTable, ...argv: string[]): Promise<number> {
  const isCommand = 'run' in command && typeof command.run === 'function';
  const commands = isCommand
    ? { [(command as Command).name]: { summary: 'test', load: async () => command as Command } }
    : (command as CommandTable);
  return runApp(argv, { commands, version: '1.2.3', host });
}
