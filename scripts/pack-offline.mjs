#!/usr/bin/env node
/**
 * Packs all that a machine without Node, npm and network lacks into `.offline/`: Node itself, the packages, dist/, the
 * benchmarks, and unpack.sh, which lays them out there and builds the addon. Run after `npm run setup`.
 *
 *     node scripts/pack-offline.mjs [FOLDER ...]      folders of golden cases to take along
 */

import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { root } from './setup/shell.mjs';

const folder = join(root, '.offline');
const require = createRequire(import.meta.url);

/** What packages hold beside what runs: types, maps, their own sources, and binaries of other systems. */
const DROPPED = [
  '*.d.ts',
  '*.d.mts',
  '*.d.cts',
  '*.map',
  '*.md',
  'node_modules/zod/src',
  'node_modules/linkedom/types',
  'node_modules/*/prebuilds/*win32*',
  'node_modules/*/prebuilds/*darwin*',
  'node_modules/*/prebuilds/*android*',
  'node_modules/*/prebuilds/*ios*',
  'node_modules/*/prebuilds/*arm64*',
];

const UNPACK = `#!/usr/bin/env bash
# Lays out what was packed and builds the addon; then: export PATH=$PWD/.offline/bin:$PATH
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
# Small systems have no xz; Python's own does as well.
expand() {
  if command -v xz > /dev/null; then xz -dc "$1"; else
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"; fi
}
mkdir -p "$here/bin"
expand "$here/node.xz" > "$here/bin/node"
chmod +x "$here/bin/node"
expand "$here/rest.tar.xz" | tar -xf -
printf '#!/bin/sh\\nexec "%s/bin/node" "%s/dist/cli/main.js" "$@"\\n' "$here" "$(pwd)" > "$here/bin/esvit"
chmod +x "$here/bin/esvit"
export PATH="$here/bin:$PATH"
node --version
node scripts/setup.mjs --addon
`;

const run = (program, args, options = {}) =>
  execFileSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'], ...options });
const say = (line) => process.stderr.write(`pack: ${line}\n`);

/** Node is packed once for a version: compressing it takes longest. */
function packNode() {
  const target = join(folder, 'node.xz');
  const note = join(folder, 'node.version');
  if (existsSync(target) && existsSync(note) && readFileSync(note, 'utf8') === process.version) return;
  const copy = join(mkdtempSync(join(tmpdir(), 'esvit-pack-')), 'node');
  cpSync(realpathSync(process.execPath), copy);
  try {
    run('strip', ['-s', copy], { stdio: 'ignore' });
  } catch {
    // Without strip it is a little larger.
  }
  run('sh', ['-c', `xz -T0 -6 -c "${copy}" > "${target}"`]);
  rmSync(copy);
  writeFileSync(note, process.version);
}

/** Benchmarks are no part of dist/: their types are taken off, and they import from there. */
function compileBench(target) {
  const typescript = require('typescript');
  mkdirSync(target, { recursive: true });
  for (const name of readdirSync(join(root, 'bench')).filter((file) => file.endsWith('.ts'))) {
    const { outputText } = typescript.transpileModule(readFileSync(join(root, 'bench', name), 'utf8'), {
      compilerOptions: { module: 'esnext', target: 'es2022' },
    });
    writeFileSync(
      join(target, name.replace(/\.ts$/, '.js')),
      outputText.replaceAll("'../src/", "'../../dist/").replaceAll('"../src/', '"../../dist/'),
    );
  }
  cpSync(join(root, 'bench/peer'), join(target, 'peer'), { recursive: true });
}

function main(golden) {
  if (!existsSync(join(root, 'dist/cli/main.js'))) throw new Error('dist/ is missing: npm run setup');
  mkdirSync(folder, { recursive: true });
  const staging = mkdtempSync(join(tmpdir(), 'esvit-pack-'));
  try {
    say('the packages that run needs');
    for (const name of ['package.json', 'package-lock.json']) cpSync(join(root, name), join(staging, name));
    run('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], {
      cwd: staging,
    });
    cpSync(join(root, 'dist'), join(staging, 'dist'), { recursive: true });
    compileBench(join(staging, '.offline/bench'));
    for (const path of golden)
      cpSync(path, join(staging, '.offline/cases', basename(path)), { recursive: true });
    say('compressing');
    const parts = ['node_modules', 'dist', '.offline'];
    const dropped = DROPPED.map((pattern) => `--exclude='${pattern}'`).join(' ');
    run('sh', [
      '-c',
      `tar -C "${staging}" ${dropped} -cf - ${parts.join(' ')} | xz -T0 -6 > "${folder}/rest.tar.xz"`,
    ]);
    packNode();
    writeFileSync(join(folder, 'unpack.sh'), UNPACK, { mode: 0o755 });
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  for (const name of readdirSync(folder)) {
    const { size } = statSync(join(folder, name));
    if (size > 2 ** 20) say(`${name}: ${(size / 2 ** 20).toFixed(1)} MiB`);
  }
}

main(process.argv.slice(2));
