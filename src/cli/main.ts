#!/usr/bin/env node
/** The entry of `esvit`: gives the frame its process, its version and its commands. */

import { readFileSync } from 'node:fs';
import { report, runApp } from './app.js';
import { commands } from './commands.js';

const version = (): string => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
};

/**
 * A reader that closes the pipe early (`esvit … | head`) has seen enough. Lines that tell how a run goes, as a rank's
 * log, are lost while the disk under them is full: no run ends for their sake.
 */
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    if (stream === process.stderr && ['ENOSPC', 'EDQUOT'].includes(error.code ?? '')) return;
    throw error;
  });

const argv = process.argv.slice(2);
for (const event of ['uncaughtException', 'unhandledRejection'] as const)
  process.on(event, (error: unknown) =>
    process.exit(report(error, undefined, process, argv.includes('--json'))),
  );

const code = await runApp(argv, { commands, version: version(), host: process });
// Worker threads and open handles must not keep a finished command alive; what was printed must be out.
process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
