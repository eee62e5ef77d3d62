/** Finds the command, parses, runs, prints: the whole of `esvit` but its list of commands. */

import { didYouMean, messageOf, UserError } from '../errors.js';
import { diskError } from '../files.js';
import type { Command } from './command.js';
import type { Host } from './console.js';

/** A line of the overview, and how to get the command; nothing is loaded before it is asked for. */
export interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

export type CommandTable = Readonly<Record<string, CommandEntry>>;

export interface App {
  readonly commands: CommandTable;
  readonly version: string;
  readonly host: Host;
}

/** Runs `esvit ...argv` and returns the exit code: 0 done, 1 failed, 2 wrong usage or configuration, 128+n signal n. */
export async function runApp(argv: readonly string[], app: App): Promise<number> {
  const { host } = app;
  const first = argv.findIndex((word) => !word.startsWith('-'));
  const before = first < 0 ? argv : argv.slice(0, first);
  let name = first < 0 ? undefined : argv[first].replaceAll('_', '-');
  let rest = first < 0 ? [] : [...before, ...argv.slice(first + 1)];
  const json = argv.includes('--json');
  try {
    if (before.includes('--version') || before.includes('-V')) {
      host.stdout.write(`${app.version}\n`);
      return 0;
    }
    if (name === 'help') [name, rest] = [rest[0]?.replaceAll('_', '-'), ['--help']];
    if (name === undefined) return overview(before, app);
    const entry = Object.hasOwn(app.commands, name) ? app.commands[name] : undefined;
    if (entry === undefined) {
      const unknown = name;
      name = undefined;
      throw new UserError(
        'usage',
        `Unknown command '${unknown}'.${didYouMean(unknown, Object.keys(app.commands)) || ` The commands are ${Object.keys(app.commands).join(', ')}.`}`,
      );
    }
    return await runCommand(await entry.load(), rest, host);
  } catch (error) {
    return report(error, name, host, json);
  }
}

async function runCommand(command: Command, argv: readonly string[], host: Host): Promise<number> {
  const { helpOf, parseArguments } = await import('./arguments.js'); // late: the overview needs no parser
  const { Console } = await import('./console.js');
  const { options, given, overrides, common } = parseArguments(command, argv);
  if (common.help) {
    host.stdout.write(helpOf(command, Math.min(host.stdout.columns ?? 100, 120)));
    return 0;
  }
  refuseRanks(command);
  const io = new Console(host, common.json, common.quiet);
  try {
    const result = await command.run(options, io, { given, overrides, argv });
    io.close();
    if (common.json) host.stdout.write(`${toJson(result ?? {})}\n`);
    return io.exitCode;
  } finally {
    io.close();
  }
}

/** Several processes that know nothing of each other would do the same work, and write the same files. */
function refuseRanks({ name, ranks = false }: Command): void {
  const { ESVIT_LAUNCHER: launcher, WORLD_SIZE: size } = process.env;
  if (ranks || launcher === undefined || !(Number(size) > 1)) return;
  throw new UserError(
    'usage',
    `esvit ${name} is no command for several processes, and was started in ${size}; give it without esvit launch.`,
  );
}

function overview(flags: readonly string[], app: App): number {
  const unknown = flags.find((flag) => !['--help', '-h', '--json', '--quiet'].includes(flag));
  if (unknown !== undefined)
    throw new UserError(
      'usage',
      `Unknown flag ${unknown}.${didYouMean(unknown, ['--help', '--version', '--json', '--quiet'])}`,
    );
  const width = Math.max(...Object.keys(app.commands).map((name) => name.length));
  const lines = Object.entries(app.commands).map(
    ([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`,
  );
  app.host.stdout.write(
    [
      `esvit ${app.version}: self-supervised pre-training of vision transformers`,
      '',
      'Usage: esvit COMMAND [flags]',
      '',
      'Commands:',
      ...lines,
      '',
      "Start with 'esvit doctor' and 'esvit demo'; 'esvit COMMAND --help' explains a command.",
      '',
    ].join('\n'),
  );
  return 0;
}

/** Says what went wrong and returns the exit code. */
export function report(error: unknown, command: string | undefined, host: Host, json: boolean): number {
  const known = error instanceof UserError ? error : asUserError(error);
  if (json) {
    const kind = known?.kind ?? 'internal';
    host.stdout.write(`${toJson({ error: { kind, message: messageOf(known ?? error) } })}\n`);
  }
  if (known !== undefined) {
    host.stderr.write(`error: ${known.message}\n`);
    if (known.kind === 'usage')
      host.stderr.write(
        `Run 'esvit ${command === undefined ? '' : `${command} `}--help' for what can be given.\n`,
      );
    return known.exitCode;
  }
  host.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  host.stderr.write(
    'This is a bug in esvit, not a mistake of yours; please report it with the lines above.\n',
  );
  return 1;
}

/** Failures of the disk that slipped through as system errors. */
function asUserError(error: unknown): UserError | undefined {
  const { code, path } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || !['ENOSPC', 'EDQUOT', 'EROFS'].includes(code)) return undefined;
  const known = diskError(path ?? 'a file', error);
  return known instanceof UserError ? known : undefined;
}

function toJson(value: object): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'bigint') return Number.isSafeInteger(Number(item)) ? Number(item) : String(item);
    if (item instanceof Map) return Object.fromEntries(item);
    if (ArrayBuffer.isView(item) && !(item instanceof DataView))
      return Array.from(item as unknown as Iterable<unknown>);
    return item;
  });
}
