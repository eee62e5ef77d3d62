/** What the doctor finds: on this machine, and on machines that lack something. */

import { describe, expect, it, vi } from 'vitest';
import {
  bfloat16Finding,
  blasFinding,
  collectivesFinding,
  deviceFinding,
  doctor,
  type Finding,
  libtorchFinding,
  memoryFinding,
  nodeFinding,
} from '../../src/cli/doctor.js';
import { UserError } from '../../src/errors.js';
import { torchInfo } from '../../src/torch/index.js';
import { run } from './harness.js';

const info = torchInfo();
const rates = { threads: 2, float32: 160, bfloat16: 371 };

describe('esvit doctor', () => {
  it('finds this machine able', async () => {
    const { code, out } = await run(doctor, 'doctor');
    expect(code).toBe(0);
    for (const name of ['Node', 'libtorch', 'addon', 'devices', 'BLAS', 'bf16', 'memory', 'disk', 'images'])
      expect(out).toMatch(new RegExp(`^.{9}${name} `, 'm'));
    expect(out).not.toContain('BROKEN');
  });

  it('gives the same to programs', async () => {
    const { out } = await run(doctor, 'doctor', '--json');
    const { ok, findings } = JSON.parse(out) as { ok: boolean; findings: Finding[] };
    expect(ok).toBe(true);
    const facts = (name: string) => findings.find((finding) => finding.name === name)?.facts;
    expect(facts('Node')).toEqual({ version: process.versions.node });
    expect(facts('libtorch')?.version).toBe(info.version);
    expect(facts('BLAS')?.gflops).toBeGreaterThan(0);
    expect(facts('bf16')?.gflops).toBeGreaterThan(0);
  });

  it('says what is broken, and fails', async () => {
    vi.doMock('../../src/torch/index.js', () => {
      throw new UserError('environment', 'the native addon is not built yet.');
    });
    try {
      const text = await run(doctor, 'doctor');
      expect(text.code).toBe(1);
      expect(text.out).toMatch(/^BROKEN {3}addon /m);
      expect(text.err).toMatch(/^error: (something is|\d things are) broken here:\n/m);
      const json = await run(doctor, 'doctor', '--json');
      expect(json.code).toBe(1);
      expect(JSON.parse(json.out)).toMatchObject({ ok: false });
    } finally {
      vi.doUnmock('../../src/torch/index.js');
    }
  });
});

describe('a finding', () => {
  it('is an old Node', () => {
    expect(nodeFinding('18.19.0')).toMatchObject({ status: 'broken' });
    expect(nodeFinding('22.1.0')).toMatchObject({ status: 'ok' });
  });

  it('is the slow BLAS, with its cure', () => {
    const reference = '/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0';
    const slow = { ...rates, float32: 6 };
    expect(blasFinding(info, reference, slow)).toMatchObject({
      status: 'warning',
      cure: expect.stringContaining('apt-get install libopenblas0-openmp'),
    });
    const fast = '/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3';
    expect(blasFinding(info, fast, slow).cure).toContain('is the machine busy');
    expect(blasFinding(info, fast, rates).status).toBe('ok');
    expect(blasFinding({ ...info, mkl: true }, undefined, rates).text).toContain('MKL, inside libtorch');
  });

  it('is bf16 that is worth it, or emulated', () => {
    expect(bfloat16Finding(new Set(['avx512_bf16']), rates)).toMatchObject({
      status: 'ok',
      text: '371 GFLOP/s, 2.3 x fp32 (the CPU has avx512_bf16)',
    });
    const emulated = bfloat16Finding(new Set(['avx2']), { ...rates, bfloat16: 40 });
    expect(emulated.status).toBe('note');
    expect(emulated.text).toContain('(emulated: the CPU has no bf16); fp32 is the better choice');
  });

  it('is a GPU that lies idle', () => {
    const cpuOnly = { ...info, cudaDevices: 0 };
    expect(deviceFinding(cpuOnly, false).status).toBe('ok');
    expect(deviceFinding(cpuOnly, true)).toMatchObject({
      status: 'warning',
      cure: expect.stringContaining('npm run setup -- --find'),
    });
    expect(deviceFinding({ ...info, cudaDevices: 2, cudnn: true }, true)).toMatchObject({
      status: 'ok',
      text: expect.stringContaining('CUDA 2 with cuDNN'),
    });
  });

  it('is a libtorch that moved, changed or was never chosen', () => {
    const libtorch = { source: 'system', why: 'because', version: info.version, lib: '/usr', cuda: false };
    expect(libtorchFinding({ libtorch }, info)).toMatchObject({
      status: 'ok',
      text: `${info.version} (CPU) in /usr: because`,
    });
    expect(libtorchFinding({ libtorch: { ...libtorch, version: '9.9.9' } }, info).status).toBe('warning');
    expect(libtorchFinding({ libtorch: { ...libtorch, lib: '/nowhere' } }, info).status).toBe('broken');
    expect(libtorchFinding(undefined, info, '/opt/torch/lib/libtorch_cpu.so')).toMatchObject({
      status: 'note',
      text: `${info.version} in /opt/torch/lib; set-up has not recorded a choice.`,
    });
    expect(libtorchFinding(undefined, undefined).status).toBe('broken');
  });

  it('is which collectives are there, and why others are not', () => {
    const text = (gloo: boolean, nccl: boolean, cudaDevices: number) =>
      collectivesFinding({ gloo, nccl, cudaDevices }).text;
    expect(text(true, false, 0)).toBe('gloo: runs of several processes, see esvit launch');
    expect(text(true, true, 8)).toMatch(/^gloo, nccl: runs/);
    expect(text(true, false, 8)).toMatch(/^gloo: .*; no nccl: /);
    expect(text(false, true, 8)).toMatch(/^nccl: .* with a GPU each; no gloo: /);
    expect(text(false, false, 8)).toMatch(/^none, .*; no gloo: .*; no nccl: /);
    expect(text(false, false, 0)).toMatch(/^none, .* libgloo-dev/);
  });

  it('is little memory, also by a limit', () => {
    const GiB = 2 ** 30;
    expect(memoryFinding(64 * GiB, GiB, undefined).status).toBe('ok');
    expect(memoryFinding(64 * GiB, GiB, Number.MAX_SAFE_INTEGER).status).toBe('ok');
    expect(memoryFinding(64 * GiB, GiB, 2 * GiB)).toMatchObject({
      status: 'warning',
      text: '2.0 GiB (limit; the machine has 64.0 GiB), 1.0 GiB free',
    });
  });
});
