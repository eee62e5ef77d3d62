/** Set-up: what it does once, what it does again, and what it says when something is missing. */

import { execFile } from 'node:child_process';
import { hostname } from 'node:os';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Project } from './project.js';

let project: Project;
beforeEach(() => {
  project = new Project();
});
afterEach(() => project.destroy());

/** Runs the set-up, which must succeed, and returns what it called. */
async function done(...parameters: Parameters<Project['run']>): Promise<string[]> {
  const { code, err, out } = await project.run(...parameters);
  expect(err).not.toContain('bug');
  expect([code, out]).toEqual([0, '']);
  return project.calls();
}

describe('set-up', () => {
  it('builds what is missing, then has nothing to do and says nothing', async () => {
    const { code, err } = await project.run();
    expect(code).toBe(0);
    expect(err).toContain(`using libtorch 2.1.2 (CPU) in ${project.libtorch}/lib: ESVIT_LIBTORCH names it.`);
    expect(err).toMatch(/compiling TypeScript: done in \d+\.\d s/);
    const calls = project.calls();
    expect(calls.map((line) => line.split(' ', 2).join(' '))).toEqual([
      'cmake-js configure',
      'cmake-js build',
      'tsc -p',
    ]);
    expect(calls[0]).toContain(
      `--CDESVIT_TORCH_INCLUDE=${project.libtorch}/include;${project.libtorch}/include/torch/csrc/api/include`,
    );
    expect(calls[0]).toContain(`--CDESVIT_TORCH_LIB=${project.libtorch}/lib --CDESVIT_CXX11_ABI=1`);
    expect(project.has('.cache/setup.lock')).toBe(false);
    expect(project.has('node_modules/.bin/esvit')).toBe(true);

    const again = await project.run();
    expect(again).toMatchObject({ code: 0, err: '', out: '' });
    expect(again.seconds).toBeLessThan(1);
    expect((await project.run({ npm_lifecycle_event: 'setup' })).err).toBe('setup: nothing to do.\n');
    expect((await project.run({}, ['--verbose'])).err).toBe('setup: nothing to do.\n');
    expect(project.calls()).toEqual([]);
  });

  it('builds the addon alone where packages and dist/ were brought along', async () => {
    project.write('node_modules/.package-lock.json', '{}');
    project.program('npm', 'exit 1');
    const calls = await done({}, ['--addon']);
    expect(calls.map((line) => line.split(' ', 2).join(' '))).toEqual([
      'cmake-js configure',
      'cmake-js build',
    ]);
    expect(await done({}, ['--addon'])).toEqual([]);
  });

  it('does again only what has changed', async () => {
    await done();
    project.write('native/a.cc', 'int b;');
    expect((await done()).map((line) => line.split(' ')[0])).toEqual(['cmake-js', 'cmake-js']);
    project.write('src/b.ts', 'export {};');
    expect((await done()).map((line) => line.split(' ')[0])).toEqual(['tsc']);
    project.remove('dist');
    expect((await done()).map((line) => line.split(' ')[0])).toEqual(['tsc']);
    project.remove('build');
    expect((await done()).map((line) => line.split(' ')[0])).toEqual(['cmake-js', 'cmake-js']);
    project.write('.cache/setup.json', '{ damaged');
    expect((await done()).map((line) => line.split(' ')[0])).toEqual(['cmake-js', 'cmake-js', 'tsc']);
    project.remove('node_modules/.package-lock.json');
    expect(await done()).toEqual(['npm ci --no-audit --no-fund --include=dev']);
  });

  it('does a step again that failed, and shows the end of its log', async () => {
    project.write('break-cmake-js', 'native/a.cc:1: error: no such thing');
    const { code, err } = await project.run();
    expect(code).toBe(1);
    expect(err).toContain('building the native addon failed; the whole log is .cache/build.log.');
    expect(err).toContain('  | native/a.cc:1: error: no such thing');
    expect(project.record().steps).not.toHaveProperty('addon');
    project.remove('break-cmake-js');
    project.calls();
    expect((await done()).map((line) => line.split(' ')[0])).toEqual(['cmake-js', 'cmake-js', 'tsc']);
  });

  it('says that the memory ran out', async () => {
    project.write('break-cmake-js', 'c++: fatal error: Killed signal terminated program cc1plus');
    expect((await project.run()).err).toContain('CMAKE_BUILD_PARALLEL_LEVEL=1 npm run setup');
  });

  it('says that there is no network', async () => {
    project.write('package-lock.json', '{"packages":{"node_modules/two":{"version":"1.0.0"}}}');
    project.write('break-npm', 'npm error code EAI_AGAIN\nnpm error request failed');
    const { code, err } = await project.run();
    expect(code).toBe(1);
    expect(err).toContain('the npm packages could not be downloaded (EAI_AGAIN; log in .cache/npm.log).');
  });
});

describe('what is missing', () => {
  it.each([
    ['g++', 'a C++ compiler', 'g++'],
    ['cmake', 'cmake', 'cmake'],
    ['make', 'make', 'make'],
  ])('is named: %s', async (program, name, debian) => {
    project.remove(`bin/${program}`);
    const { code, err } = await project.run();
    expect(code).toBe(1);
    expect(err).toBe(
      `setup: the native addon cannot be built without ${name}. Install what is missing (Debian, Ubuntu: ` +
        `apt-get install ${debian}) and run the command again.\n`,
    );
  });

  it('may be made up for: ninja for make, $CXX for g++', async () => {
    project.remove('bin/make');
    project.remove('bin/g++');
    project.program('ninja', 'exit 1');
    project.program('other++', 'exit 1');
    const [configure] = await done({ CXX: 'other++' });
    expect(configure).toContain('--generator Ninja --cxx other++');
  });

  it('is a newer cmake', async () => {
    project.program('cmake', 'echo cmake version 3.13.4');
    expect((await project.run()).err).toContain('cmake 3.18 or newer is needed, but');
  });

  it('is a newer Node', async () => {
    const pretend = 'Object.defineProperty(process,"versions",{value:{...process.versions,node:"18.19.0"}})';
    const { code, err } = await project.run({}, [], ['--import', `data:text/javascript,${pretend}`]);
    expect(code).toBe(1);
    expect(err).toMatch(/^setup: esvit needs Node 20 or newer, but this is Node 18\.19\.0\. Install .*\n$/);
  });

  it('is what ESVIT_LIBTORCH names', async () => {
    const said = async (folder: string) => {
      const { code, err } = await project.run({ ESVIT_LIBTORCH: folder });
      expect(code).toBe(1);
      return err;
    };
    expect(await said('/nowhere/libtorch')).toMatch(
      /^setup: ESVIT_LIBTORCH is \/nowhere\/libtorch, but there is no such folder\. Let it .*\n$/,
    );
    expect(await said(`${project.folder}/src`)).toContain('but it has no headers in include/.');
    project.addLibtorch('old', '1.12.1');
    expect(await said(`${project.folder}/old`)).toContain(
      'but it is version 1.12.1, and esvit needs 1.13 or newer.',
    );
    expect(project.calls()).toEqual([]);
  });
});

describe('libtorch', () => {
  it('may have its version in a header of its own, as since 2.9', async () => {
    project.write(
      'libtorch/include/torch/csrc/api/include/torch/version.h',
      '#include <torch/headeronly/version.h>',
    );
    project.write('libtorch/include/torch/headeronly/version.h', '#define TORCH_VERSION \\\n  "2.13.0"\n');
    await done();
    expect(project.record().libtorch.version).toBe('2.13.0');
  });

  it('is that of Python, unless the environment names another, and the choice stays', async () => {
    project.addLibtorch('site-packages/torch', '2.4.0');
    project.program('python3', `echo ${project.folder}/site-packages/torch`);
    await done({ ESVIT_LIBTORCH: '' });
    expect(project.record().libtorch).toMatchObject({
      source: 'python',
      version: '2.4.0',
      why: `it belongs to the torch of ${project.folder}/bin/python3`,
    });
    expect(await done({ ESVIT_LIBTORCH: '' })).toEqual([]);

    expect((await done()).map((line) => line.split(' ')[0])).toEqual(['cmake-js', 'cmake-js']);
    expect(project.record().libtorch).toMatchObject({ source: 'environment', version: '2.1.2' });
    expect(await done({ ESVIT_LIBTORCH: '' })).toEqual([]);

    expect((await done({ ESVIT_LIBTORCH: '' }, ['--find'])).length).toBe(2);
    expect(project.record().libtorch).toMatchObject({ source: 'python' });
  });

  it('is looked for again when it changed', async () => {
    await done();
    project.write('libtorch/lib/libtorch_cpu.so', 'another');
    expect((await done()).length).toBe(2);
  });

  it('says by its symbols which C++ library it was compiled for', async () => {
    project.addLibtorch('libtorch', '2.1.2', 'Ss');
    const [configure] = await done();
    expect(configure).toContain('--CDESVIT_CXX11_ABI=0');
    expect(project.record().libtorch.abi).toBe(0);
  });
});

describe('two set-ups', () => {
  it('at once: the second waits and finds all done', async () => {
    project.write('slow-tsc', '');
    const first = project.run();
    await vi.waitUntil(() => project.has('.cache/setup.lock'), { timeout: 20_000, interval: 5 });
    const results = await Promise.all([first, project.run()]);
    expect(results.map(({ code }) => code)).toEqual([0, 0]);
    expect(results[1].err).toMatch(
      /^setup: another set-up is at work here \(process \d+\); waiting for it \.\.\.\n$/,
    );
    expect(project.calls().filter((line) => line.startsWith('tsc')).length).toBe(1);
  });

  it('take over the lock of one that was killed', async () => {
    const dead = await new Promise<number>((resolve) => {
      const child = execFile(process.execPath, ['-e', ''], () => resolve(child.pid ?? 0));
    });
    project.write('.cache/setup.lock', JSON.stringify({ pid: dead, host: hostname() }));
    const results = await Promise.all([project.run(), project.run(), project.run()]);
    expect(results.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(project.calls().length).toBe(3);
    expect(project.has('.cache/setup.lock')).toBe(false);
  });
});
