/** The rules of the house: who may import whom, how files look, and that the documents tell the truth. */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, extname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { parseArguments } from '../src/cli/arguments.js';
import { commands } from '../src/cli/commands.js';

/** From the lowest to the highest: a room imports only rooms that stand before it. */
const ROOMS: readonly string[] = [
  'errors',
  'files',
  'config',
  'draw',
  'torch',
  'dist',
  'nn',
  'weights',
  'models',
  'data',
  'optim',
  'ssl',
  'run',
  'eval',
  'analysis',
  'profile',
  'train',
  'golden',
  'demo',
  'cli',
];

/**
 * Files that other rooms may import beside a room's index.ts and the index.ts of its sub-folders, each with its
 * reason. The usual one: the whole room is heavy to load, and a part of it is wanted without that.
 */
const DOORS: Readonly<Record<string, string>> = {
  'src/train/options.ts': 'the flags of `esvit train --help` need a schema, but no libtorch',
};

const MOST_LINES = 400;
const GENERATED = 'src/torch/ops.gen.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** All files that belong to the project: known to git, or new and not ignored; without git, all that is not built. */
function listFiles(): string[] {
  try {
    const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, stdio: 'pipe' } as const;
    return execFileSync(
      'git',
      ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
      options,
    ).split('\0');
  } catch {
    const built = /^(\.|(node_modules|build|dist|runs)$)/;
    return readdirSync(root)
      .filter((name) => !built.test(name))
      .flatMap((name) =>
        statSync(join(root, name)).isDirectory()
          ? readdirSync(join(root, name), { recursive: true }).map((below) => posix.join(name, String(below)))
          : [name],
      );
  }
}

const files = listFiles().filter(
  (path) => path !== '' && existsSync(join(root, path)) && statSync(join(root, path)).isFile(),
);

const sources = files.filter((path) => /^src\/.*\.(ts|mts|mjs|js)$/.test(path));

const roomOf = (path: string) => path.split('/')[1].replace(/\.ts$/, '');
const isIndex = (path: string) => basename(path) === 'index.ts';

interface Import {
  readonly from: string;
  readonly to: string;
}

/** Relative imports of any form: types, re-exports and dynamic ones too. */
function importsOf(from: string): Import[] {
  return ts
    .preProcessFile(read(from), true, true)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((name) => name.startsWith('.'))
    .map((name) => ({ from, to: posix.join(posix.dirname(from), name).replace(/\.js$/, '.ts') }));
}

const imports = sources.flatMap(importsOf);
const show = ({ from, to }: Import) => `${from} imports ${to}`;

describe('rooms', () => {
  it('are all known, and every import leads to a file of src', () => {
    expect(sources.filter((path) => !ROOMS.includes(roomOf(path)))).toEqual([]);
    const lost = imports.filter(({ to }) => !sources.includes(to));
    expect(lost.map(show)).toEqual([]);
  });

  it('import only rooms that stand before them', () => {
    const wrong = imports.filter(({ from, to }) => ROOMS.indexOf(roomOf(to)) > ROOMS.indexOf(roomOf(from)));
    expect(wrong.map(show)).toEqual([]);
  });

  it('are entered by an index.ts, or by a door that has a reason', () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        roomOf(from) !== roomOf(to) && dirname(to) !== 'src' && !isIndex(to) && !Object.hasOwn(DOORS, to),
    );
    expect(wrong.map(show)).toEqual([]);
    for (const door of Object.keys(DOORS)) expect(sources, 'a door without a file').toContain(door);
  });

  it('do not import the index.ts above them', () => {
    const wrong = imports.filter(({ from, to }) => isIndex(to) && from.startsWith(`${dirname(to)}/`));
    expect(wrong.map(show)).toEqual([]);
  });
});

describe('files', () => {
  it(`of src have at most ${MOST_LINES} lines`, () => {
    const lines = (path: string) => read(path).trimEnd().split('\n').length;
    const long = sources.filter((path) => path !== GENERATED && lines(path) > MOST_LINES);
    expect(long.map((path) => `${path}: ${lines(path)} lines`)).toEqual([]);
  });

  it('of src open with a sentence that says what they are', () => {
    const opens = (path: string) => {
      const text = read(path).replace(/^#!.*\n/, '');
      const header = /^\/\*\*\s+([\s\S]*?)\s*\*\/\n(\n|$)/.exec(text)?.[1].replace(/\n \*/g, '');
      return header !== undefined && /^\S.*[.?!]$/s.test(header);
    };
    expect(sources.filter((path) => path !== GENERATED && !opens(path))).toEqual([]);
  });

  it('have kebab-case names', () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.(gen|test|config|d))*$/;
    const own = files.filter((path) => ['.ts', '.mts', '.mjs', '.cc', '.h'].includes(extname(path)));
    const wrong = own.filter(
      (path) => !path.split('/').every((part) => kebab.test(part.replace(/\.[a-z]+$/, ''))),
    );
    expect(wrong).toEqual([]);
  });

  it('in C and C++ lie in native/ only', () => {
    const wrong = files.filter((path) => /\.(c|cc|cpp|cxx|h|hh|hpp|cu|cuh)$/.test(path));
    expect(wrong.filter((path) => !/^native\/[^/]+$/.test(path))).toEqual([]);
  });
});

/** Hosts that a text may link to; anything else is a machine of somebody's own, or wants to be added here. */
const HOSTS = new Set([
  'arxiv.org',
  'biomejs.dev',
  'docs.pytorch.org',
  'download.pytorch.org',
  'github.com',
  'localhost',
  'nodejs.org',
  'pytorch.org',
  'www.cs.toronto.edu',
  'www.w3.org',
  '127.0.0.1',
]);

describe('texts', () => {
  const BINARY = /\.(png|jpe?g|webp|gif|pth|safetensors|npy|npz|zip|onnx|ico|woff2?)$/i;
  const texts = files.filter((path) => !BINARY.test(path) && statSync(join(root, path)).size < 1 << 21);
  // Joined, so that this file does not contain what it looks for.
  const folder = (...parts: string[]) => `/${parts.join('/')}/`;
  const machine = [folder('work'), folder('root'), folder('home', 'user')];
  const temporary = folder('tmp');

  it('name no path of a machine', () => {
    const wrong = texts.filter((path) => {
      const text = read(path);
      const isTest = path.startsWith('test/');
      // A relative path such as ./work/ is not one of a machine.
      const has = (place: string) =>
        new RegExp(`(^|[^A-Za-z0-9_.~-])${place.replaceAll('/', '\\/')}`, 'm').test(text);
      return machine.some(has) || (!isTest && has(temporary));
    });
    expect(wrong).toEqual([]);
  });

  it('link to known hosts only', () => {
    const wrong = texts
      .filter((path) => path !== 'package-lock.json')
      .flatMap((path) =>
        [...read(path).matchAll(/\b(?:https?|ftp):\/\/([A-Za-z0-9.-]*[A-Za-z0-9])/g)].map(([, host]) => ({
          path,
          host,
        })),
      )
      .filter(({ host }) => !HOSTS.has(host));
    expect(wrong).toEqual([]);
  });

  it('leave it to the reader where packages come from', () => {
    if (existsSync(join(root, 'package-lock.json'))) {
      const lock = JSON.parse(read('package-lock.json')) as {
        packages: Record<string, { resolved?: string }>;
      };
      const places = Object.values(lock.packages).flatMap(({ resolved }) => resolved ?? []);
      expect(places.filter((place) => new URL(place).host !== 'registry.npmjs.org')).toEqual([]);
    }
    expect(files.filter((path) => basename(path) === '.npmrc')).toEqual([]);
  });
});

const documents = files.filter((path) => /^(docs\/.*|[^/]*)\.md$/.test(path));

/** Commands of the plan; a document may name one of them before its module exists. */
const PLANNED = new Set([
  'analyze',
  'bench',
  'convert',
  'demo',
  'doctor',
  'eval-knn',
  'eval-linear',
  'forward',
  'golden',
  'inspect',
  'launch',
  'profile',
  'train',
]);

function wordsOf(line: string): string[] {
  return (line.match(/'[^']*'|"[^"]*"|\S+/g) ?? []).map((word) => word.replace(/^['"]|['"]$/g, ''));
}

/** The words of each `esvit` line in the fenced blocks of a document, without what the shell takes. */
function commandLines(document: string): string[][] {
  const lines: string[][] = [];
  for (const [, block] of read(document).matchAll(/^ {0,3}```[^\n]*\n([\s\S]*?)^ {0,3}```/gm))
    for (const line of block.replace(/\\\n/g, ' ').split('\n')) {
      const found = /^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:npx )?esvit(?= |$)(.*)$/.exec(line);
      if (found === null) continue;
      const [typed] = found[1].split(/\s(?:#|\||>|2>|&&|;)/);
      lines.push(wordsOf(typed));
    }
  return lines;
}

/** The file of a command line that lies in the project: that of --cfg. */
function recipeOf(argv: readonly string[]): string[] {
  const at = argv.indexOf('--cfg');
  return at < 0 ? [] : [argv[at + 1]];
}

describe.each(Object.keys(commands))('the examples of esvit %s', (name) => {
  it('work', async () => {
    const command = await commands[name].load();
    for (const example of command.examples) {
      const argv = wordsOf(example).slice(2);
      expect(() => parseArguments(command, argv), example).not.toThrow();
      expect(
        recipeOf(argv).filter((path) => !existsSync(join(root, path))),
        example,
      ).toEqual([]);
    }
  });
});

describe.each(documents)('%s', (document) => {
  it('shows command lines that work', async () => {
    for (const [name, ...argv] of commandLines(document)) {
      const line = `esvit ${[name, ...argv].join(' ')}`;
      if (name === undefined || ['--help', '--version', 'help'].includes(name)) continue;
      if (!existsSync(join(root, `src/cli/${name}.ts`)) && PLANNED.has(name)) continue;
      expect(Object.keys(commands), line).toContain(name);
      const command = await commands[name].load();
      expect(() => parseArguments(command, argv), line).not.toThrow();
      expect(
        recipeOf(argv).filter((path) => !existsSync(join(root, path))),
        line,
      ).toEqual([]);
    }
  });

  it('links to files that exist', () => {
    const prose = read(document).replace(/^ {0,3}```[\s\S]*?^ {0,3}```/gm, '');
    const targets = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target.split('#')[0]);
    const local = targets.filter((target) => target !== '' && !/^[a-z]+:/.test(target));
    const missing = local.filter((target) => !existsSync(join(root, dirname(document), target)));
    expect(missing).toEqual([]);
  });
});
