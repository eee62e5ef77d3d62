/** Where the build looks for the headers of NCCL and CUDA, and what it says of one that is missing. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const place = mkdtempSync(join(tmpdir(), 'esvit-nccl-'));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const runs = (program: string) => spawnSync(program, ['--version']).status === 0;
const generator = runs('ninja') ? 'Ninja' : 'Unix Makefiles';
const canConfigure = runs('cmake') && runs('c++') && (generator === 'Ninja' || runs('make'));

/** As torch's header includes CUDA's, and as those use the words of CUDA's compiler. */
const HEADERS = {
  'torch/include/torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp':
    '#ifdef USE_C10D_NCCL\n#include <nccl.h>\n#include <cuda_runtime.h>\n#endif\n',
  'torch/lib/libtorch_cuda.so': '',
};
const NCCL = '#include <cuda_runtime.h>\n';
const CUDA = [
  '#pragma once',
  '#include "crt/host_config.h"',
  '#include "crt/host_defines.h"',
  '#include <nv/target>',
  'struct __align__(16) Wide { float x[4]; };',
  '__host__ __device__ __forceinline__ int half(int x) {',
  '  NV_IF_ELSE_TARGET(NV_IS_DEVICE, asm("no host knows this"); return 0;, return x / 2;)',
  '}',
  'extern "C" __host__ __cudart_builtin__ int CUDARTAPI cudaFree(void*);',
  '',
].join('\n');

/** Configures the addon for a libtorch in `site`, and returns what was said of NCCL. */
function configure(name: string, files: Record<string, string>, env: Record<string, string> = {}): string {
  const site = join(place, name);
  for (const [path, text] of Object.entries({ ...HEADERS, ...files })) {
    mkdirSync(dirname(join(site, path)), { recursive: true });
    writeFileSync(join(site, path), text);
  }
  const out = execFileSync(
    'cmake',
    [
      ...['-G', generator, '-S', root, '-B', join(site, 'build')],
      `-DESVIT_TORCH_INCLUDE=${join(site, 'torch/include')}`,
      `-DESVIT_TORCH_LIB=${join(site, 'torch/lib')}`,
    ],
    { encoding: 'utf8', env: { ...process.env, CUDA_HOME: '', CUDA_PATH: '', ...env }, timeout: 180_000 },
  );
  return out.split('\n').find((line) => /with(out)? NCCL/.test(line)) ?? out;
}

describe.skipIf(!canConfigure)('the headers of NCCL and CUDA', { timeout: 200_000 }, () => {
  it("are found in Python's packages, which lack those of CUDA's compiler", () => {
    const said = configure('packages', {
      'nvidia/nccl/include/nccl.h': NCCL,
      'nvidia/cu13/include/cuda_runtime.h': CUDA,
    });
    expect(said).toMatch(/with NCCL: .*nvidia\/cu13\/include;.*nvidia\/nccl\/include$/);
  });

  it('are found in a toolkit, whose own words win', () => {
    const toolkit = join(place, 'toolkit');
    const said = configure(
      'toolkit',
      {
        'include/nccl.h': NCCL,
        'include/cuda_runtime.h': CUDA,
        'include/cuda_runtime_api.h': '',
        'include/crt/host_config.h': '#define __OWN__\n',
        'include/crt/host_defines.h': [
          '#ifndef __OWN__',
          '#error not the toolkit',
          '#endif',
          '#define __host__',
          '#define __device__',
          '#define __forceinline__ inline',
          '#define __align__(n) alignas(n)',
          '#define __cudart_builtin__',
          '#define CUDARTAPI',
          '',
        ].join('\n'),
      },
      { CUDA_HOME: toolkit },
    );
    expect(said).toContain(`with NCCL: ${toolkit}/include`);
  });

  it('are named where one is missing', () => {
    const said = configure('missing', {
      'nvidia/nccl/include/nccl.h': '#include <no/such/header.h>\n',
      'nvidia/cu13/include/cuda_runtime.h': CUDA,
    });
    expect(said).toMatch(/without NCCL: .*no\/such\/header\.h/);
  });
});
