/** What launchers say in the environment, whole and in parts; who is to blame when a run ends. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeFailure, findCulprit, isPeerFailure, LOST, readBeat } from '../../src/dist/failure.js';
import { hostsOf, isStartedAnew, readPlacement } from '../../src/dist/index.js';

const torchrun = {
  RANK: '3',
  WORLD_SIZE: '8',
  LOCAL_RANK: '1',
  LOCAL_WORLD_SIZE: '2',
  MASTER_ADDR: 'a',
  MASTER_PORT: '29500',
};
const slurm = {
  SLURM_PROCID: '5',
  SLURM_STEP_NUM_TASKS: '8',
  SLURM_LOCALID: '1',
  SLURM_NODEID: '1',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NODELIST: 'gpu[07-08]',
  SLURM_STEP_TASKS_PER_NODE: '4(x2)',
  SLURM_JOB_ID: '1234567',
};
const openMpi = {
  OMPI_COMM_WORLD_RANK: '2',
  OMPI_COMM_WORLD_SIZE: '4',
  OMPI_COMM_WORLD_LOCAL_RANK: '0',
  OMPI_COMM_WORLD_LOCAL_SIZE: '2',
  MASTER_ADDR: 'b',
  MASTER_PORT: '1234',
};

describe('the environment', () => {
  it('of one process says nothing', () => {
    expect(readPlacement({})).toBeUndefined();
    expect(readPlacement({ RANK: '0', WORLD_SIZE: '1' })).toBeUndefined();
    expect(readPlacement({ ...slurm, SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '1' })).toBeUndefined();
    // the shell of a batch job is not a task of it
    expect(readPlacement({ SLURM_PROCID: '0', SLURM_NTASKS: '8', SLURM_JOB_ID: '1' })).toBeUndefined();
  });

  it('of torchrun names the place, and who keeps the store', () => {
    expect(readPlacement(torchrun)).toMatchObject({
      rank: 3,
      worldSize: 8,
      localRank: 1,
      storeIsThere: false,
    });
    expect(readPlacement({ ...torchrun, TORCHELASTIC_USE_AGENT_STORE: 'True' })).toMatchObject({
      storeIsThere: true,
    });
    expect(readPlacement({ ...torchrun, ESVIT_LAUNCHER: '77' })).toMatchObject({
      launcher: 77,
      source: 'launch',
    });
  });

  it('of Kubeflow has no local rank', () => {
    const { LOCAL_RANK: _, LOCAL_WORLD_SIZE: __, ...kubeflow } = torchrun;
    expect(readPlacement(kubeflow)).toMatchObject({ rank: 3, localRank: 0, localWorldSize: 1 });
  });

  it('of SLURM leads to the first host, and to a port that follows from the job', () => {
    const place = readPlacement(slurm);
    expect(place).toMatchObject({
      rank: 5,
      worldSize: 8,
      localRank: 1,
      localWorldSize: 4,
      masterAddr: 'gpu07',
    });
    expect(readPlacement({ ...slurm, SLURM_PROCID: '0' })?.masterPort).toBe(place?.masterPort);
    expect(place?.masterPort).not.toBe(readPlacement({ ...slurm, SLURM_STEP_ID: '1' })?.masterPort);
    expect(readPlacement({ ...slurm, MASTER_ADDR: 'x', MASTER_PORT: '5' })).toMatchObject({
      masterAddr: 'x',
      masterPort: 5,
    });
  });

  it('of Open MPI needs an address on several machines only', () => {
    expect(readPlacement(openMpi)).toMatchObject({
      rank: 2,
      worldSize: 4,
      masterAddr: 'b',
      masterPort: 1234,
    });
    const { MASTER_ADDR: _, MASTER_PORT: __, ...plain } = openMpi;
    expect(() => readPlacement(plain)).toThrow(/MASTER_ADDR is not set/);
    expect(readPlacement({ ...plain, OMPI_COMM_WORLD_LOCAL_SIZE: '4' })).toMatchObject({
      masterAddr: '127.0.0.1',
    });
  });

  it('of torchrun wins over that of the job it runs in', () => {
    expect(readPlacement({ ...slurm, ...torchrun })).toMatchObject({ rank: 3, masterAddr: 'a' });
  });

  it.each(['RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'])('without %s names it', (name) => {
    expect(() => readPlacement({ ...torchrun, [name]: undefined })).toThrow(new RegExp(`but ${name} is not`));
  });

  it('set in half names all that is missing', () => {
    expect(() => readPlacement({ MASTER_ADDR: 'a' })).toThrow(
      /MASTER_ADDR is set in the environment, but RANK, WORLD_SIZE, MASTER_PORT are not/,
    );
    expect(() => readPlacement({ LOCAL_RANK: '1' })).toThrow(
      /but RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT are not/,
    );
    expect(() => readPlacement({ ...openMpi, OMPI_COMM_WORLD_SIZE: '' })).toThrow(
      /OMPI_COMM_WORLD_SIZE is not/,
    );
    expect(() => readPlacement({ ...slurm, SLURM_LOCALID: undefined })).toThrow(/SLURM_LOCALID is not/);
    expect(() => readPlacement({ ...slurm, SLURM_STEP_NODELIST: undefined })).toThrow(
      /SLURM_JOB_NODELIST is not set/,
    );
    expect(() => readPlacement({ ...slurm, SLURM_JOB_ID: undefined })).toThrow(/SLURM_JOB_ID is not set/);
  });

  it.each([
    ['RANK', '8'],
    ['RANK', '-1'],
    ['WORLD_SIZE', 'many'],
    ['MASTER_PORT', '70000'],
  ])('with %s = %s is refused', (name, value) => {
    expect(() => readPlacement({ ...torchrun, [name]: value })).toThrow(new RegExp(`${name} is '${value}'`));
  });
});

describe('node lists', () => {
  it.each([
    ['one', ['one']],
    ['a,b', ['a', 'b']],
    ['gpu[01-03,7],login', ['gpu01', 'gpu02', 'gpu03', 'gpu7', 'login']],
    ['r[1-2]n[08-09]', ['r1n08', 'r1n09', 'r2n08', 'r2n09']],
    ['n[098-101]-ib', ['n098-ib', 'n099-ib', 'n100-ib', 'n101-ib']],
  ])('%s', (list, hosts) => expect(hostsOf(list)).toEqual(hosts));

  it.each(['', 'a[', 'a]1', 'a[1-]', 'a[3-1]', 'a[[1]]', 'a,,b'])("'%s' is refused", (list) =>
    expect(() => hostsOf(list)).toThrow(/node list/),
  );

  it('give back every list of numbered hosts', () => {
    const names = fc.uniqueArray(
      fc.tuple(fc.constantFrom('a', 'node-', 'gpu'), fc.integer({ min: 0, max: 999 })),
      {
        minLength: 1,
        selector: ([stem, number]) => `${stem}${number}`,
      },
    );
    fc.assert(
      fc.property(names, (hosts) => {
        const list = hosts.map(([stem, number]) => `${stem}[${String(number).padStart(3, '0')}]`).join(',');
        expect(hostsOf(list)).toEqual(hosts.map(([stem, number]) => stem + String(number).padStart(3, '0')));
      }),
      { seed: 7 },
    );
  });
});

describe('a start', () => {
  it.each<[Record<string, string>, boolean]>([
    [{}, false],
    [{ TORCHELASTIC_RESTART_COUNT: '0' }, false],
    [{ TORCHELASTIC_RESTART_COUNT: '2' }, true],
    [{ TORCHELASTIC_RESTART_COUNT: '0', SLURM_RESTART_COUNT: '1' }, true],
    [{ SLURM_RESTART_COUNT: '' }, false],
  ])('with %j is one of several: %s', (env, isAnew) => {
    expect(isStartedAnew(env)).toBe(isAnew);
  });
});

describe('the one to blame', () => {
  const beats = (...texts: string[]) => texts.map(readBeat);
  const hosts = ['a', 'b', 'c'];

  it('is the one that fell silent', () => {
    const failure = findCulprit(
      beats('1 5 computing', '9 5 computing', `3 5 ${LOST}`),
      beats(`4 5 ${LOST}`, '9 5 computing', `6 5 ${LOST}`),
      hosts,
    );
    expect(failure).toMatchObject({ rank: 1, host: 'b', step: 5 });
    expect(failure?.reason).toMatch(/answers no more \(last seen computing\)/);
  });

  it('else the one that lives but does not come', () => {
    const after = beats(`4 5 ${LOST}`, `9 5 ${LOST}`, '6 5 waiting for data');
    const failure = findCulprit(beats('1 5 x', '2 5 x', '3 5 x'), after, hosts);
    expect(describeFailure(failure!)).toMatch(
      /^rank 2 on c failed at step 5: it hangs while waiting for data/,
    );
  });

  it('is nobody where all wait', () => {
    expect(findCulprit(beats('1 5 x'), beats(`4 5 ${LOST}`), hosts)).toBeUndefined();
  });

  it('is another rank where a collective failed', () => {
    expect(isPeerFailure(new Error('[../gloo/transport/tcp/pair.cc:598] Connection closed by peer'))).toBe(
      true,
    );
    expect(isPeerFailure(new Error('mat1 and mat2 shapes cannot be multiplied'))).toBe(false);
  });
});
