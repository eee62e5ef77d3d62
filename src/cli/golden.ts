/** `esvit golden`: are our numbers the original's? */

import { z } from 'zod';
import { UserError } from '../errors.js';
import type { CaseResult, GoldenCase } from '../golden/index.js';
import { defineCommand } from './command.js';

const options = z.strictObject({
  folder: z.string().describe('Folder with a manifest.json of golden cases'),
  kind: z.array(z.string()).optional().describe('Only cases of these kinds'),
  only: z.array(z.string()).optional().describe("Only cases whose name contains one of these, e.g. 'swin'"),
  device: z.enum(['cpu', 'cuda']).default('cpu').describe('Where to compute (TF32 is off)'),
  threads: z.number().int().min(1).optional().describe('Threads that compute (automatic: all cores)'),
});

export const golden = defineCommand({
  name: 'golden',
  summary: 'Compare with numbers that the original code computed',
  examples: ['esvit golden test/fixtures/golden', 'esvit golden test/fixtures/golden --kind loss schedule'],
  options,
  positionals: ['folder'],
  async run({ folder, kind, only, device, threads }, io) {
    const { readManifest, runCase } = await import('../golden/index.js');
    const { cpus } = await import('node:os');
    const { setExactMatmul, setThreads } = await import('../torch/index.js');
    setThreads(threads ?? cpus().length);
    setExactMatmul(true);
    const wanted = ({ name, kind: own }: GoldenCase) =>
      (kind === undefined || kind.includes(own)) &&
      (only === undefined || only.some((part) => name.includes(part)));
    const cases = readManifest(folder).filter(wanted);
    if (cases.length === 0)
      throw new UserError('usage', `no case of ${folder} fits --kind and --only; leave them out to run all.`);

    const width = Math.max(...cases.map(({ name }) => name.length));
    const results: CaseResult[] = [];
    for (const golden of cases) {
      const result = await runCase({ ...golden, device }, folder);
      results.push(result);
      io.out(line(result, width));
    }
    const passed = results.filter(({ ok }) => ok).length;
    io.out(`${passed} passed, ${results.length - passed} failed`);
    if (passed < results.length) io.fail();
    return { passed, failed: results.length - passed, cases: results };
  },
});

function line({ name, ok, worst, checks }: CaseResult, width: number): string {
  const verdict = ok ? 'ok    ' : 'FAILED';
  const figures =
    worst.detail ??
    `worst ${worst.worst.toExponential(1)} of ${worst.tolerance.toExponential(1)} at ${worst.name}`;
  return `${verdict}  ${name.padEnd(width)}  ${String(checks).padStart(4)} checks  ${ok ? figures : `${worst.name}: ${figures}`}`;
}
