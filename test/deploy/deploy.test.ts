/** The files of deploy/, as far as a machine without those services can tell: form, command lines, dry runs. */

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { parseArguments } from '../../src/cli/arguments.js';
import { commands } from '../../src/cli/commands.js';
import { readPlacement } from '../../src/dist/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const deploy = (name: string) => join(root, 'deploy', name);
const folder = mkdtempSync(join(tmpdir(), 'esvit-deploy-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const has = (program: string) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;

/** Checks a command line of esvit as the command itself would, and gives its options. */
async function options(argv: readonly string[]): Promise<Record<string, unknown>> {
  const [name, ...rest] = argv;
  const command = await commands[name].load();
  return parseArguments(command, rest).options;
}

const name = z.string().regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
const port = z.strictObject({ name, containerPort: z.number().int().min(1).max(65_535) });
const mount = z.strictObject({
  name,
  mountPath: z.string().startsWith('/'),
  readOnly: z.boolean().optional(),
});
const volume = z.union([
  z.strictObject({
    name,
    persistentVolumeClaim: z.strictObject({ claimName: name, readOnly: z.boolean().optional() }),
  }),
  z.strictObject({
    name,
    emptyDir: z.strictObject({ medium: z.literal('Memory'), sizeLimit: z.string().regex(/^\d+Gi$/) }),
  }),
]);
const container = z.strictObject({
  name,
  image: z.string().min(1),
  args: z.array(z.string()).min(1),
  ports: z.array(port),
  resources: z.strictObject({
    limits: z.strictObject({
      'nvidia.com/gpu': z.number().int().min(1),
      cpu: z.number().int().min(1),
      memory: z.string().regex(/^\d+Gi$/),
    }),
  }),
  volumeMounts: z.array(mount),
});
const pod = z.strictObject({
  subdomain: name.optional(),
  restartPolicy: z.enum(['Never', 'OnFailure']).optional(),
  terminationGracePeriodSeconds: z.number().int().min(30),
  containers: z.array(container).length(1),
  volumes: z.array(volume),
});
const metadata = z.strictObject({ name });
const service = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Service'),
  metadata,
  spec: z.strictObject({
    clusterIP: z.literal('None'),
    publishNotReadyAddresses: z.literal(true),
    selector: z.strictObject({ 'job-name': name }),
    ports: z.array(z.strictObject({ name, port: z.number().int() })),
  }),
});
const job = z.strictObject({
  apiVersion: z.literal('batch/v1'),
  kind: z.literal('Job'),
  metadata,
  spec: z.strictObject({
    completionMode: z.literal('Indexed'),
    completions: z.number().int().min(1),
    parallelism: z.number().int().min(1),
    backoffLimit: z.number().int().min(0),
    template: z.strictObject({ spec: pod }),
  }),
});
const replica = z.strictObject({
  replicas: z.number().int().min(1),
  restartPolicy: z.enum(['OnFailure', 'Never', 'Always', 'ExitCode']),
  template: z.strictObject({ spec: pod }),
});
const pytorchJob = z.strictObject({
  apiVersion: z.literal('kubeflow.org/v1'),
  kind: z.literal('PyTorchJob'),
  metadata,
  spec: z.strictObject({
    runPolicy: z.strictObject({
      cleanPodPolicy: z.enum(['Running', 'All', 'None']),
      backoffLimit: z.number().int().min(0),
    }),
    pytorchReplicaSpecs: z.strictObject({ Master: replica, Worker: replica }),
  }),
});

function documents(file: string): unknown[] {
  return parseAllDocuments(readFileSync(deploy(file), 'utf8'), { merge: true }).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as unknown;
  });
}

/** Every mount is of a volume that is there, and what the command reads and writes lies on one. */
function checkPlaces(
  { containers: [{ volumeMounts }], volumes }: z.output<typeof pod>,
  flags: Record<string, unknown>,
) {
  expect(volumeMounts.map((item) => item.name).sort()).toEqual(volumes.map((item) => item.name).sort());
  for (const path of [flags.data_path, flags.output_dir])
    expect(volumeMounts.some(({ mountPath }) => String(path).startsWith(`${mountPath}/`))).toBe(true);
}

describe('the PyTorchJob', () => {
  it('has the form that the operator knows, and starts a training in every pod', async () => {
    const [found, ...others] = documents('pytorchjob.yaml');
    expect(others).toEqual([]);
    const { Master, Worker } = pytorchJob.parse(found).spec.pytorchReplicaSpecs;
    expect(Master.replicas).toBe(1);
    expect(Worker.template).toEqual(Master.template);
    const { containers } = Master.template.spec;
    expect(containers[0].name).toBe('pytorch');
    checkPlaces(Master.template.spec, await options(containers[0].args));
    // what the operator sets makes ranks of them, one GPU each
    const worldSize = String(Master.replicas + Worker.replicas);
    const env = { RANK: '2', WORLD_SIZE: worldSize, MASTER_ADDR: 'esvit-master-0', MASTER_PORT: '23456' };
    expect(readPlacement(env)).toMatchObject({ rank: 2, worldSize: 4, localRank: 0 });
    expect(containers[0].resources.limits['nvidia.com/gpu']).toBe(1);
  });
});

describe('the Indexed Job', () => {
  it('has the form that Kubernetes knows, and its pods find each other', async () => {
    const [first, second, ...others] = documents('indexed-job.yaml');
    expect(others).toEqual([]);
    const found = job.parse(second);
    const place = service.parse(first);
    const { spec } = found;
    const [{ args, ports, resources }] = spec.template.spec.containers;
    expect(args).toContain('--node_rank=$(JOB_COMPLETION_INDEX)');
    const flags = await options(args.map((word) => word.replace('$(JOB_COMPLETION_INDEX)', '1')));
    expect([spec.completions, spec.parallelism]).toEqual([flags.nnodes, flags.nnodes]);
    expect(flags.nproc_per_node).toBe(resources.limits['nvidia.com/gpu']);
    expect(flags.master_addr).toBe(`${found.metadata.name}-0.${spec.template.spec.subdomain}`);
    expect(place.metadata.name).toBe(spec.template.spec.subdomain);
    expect(place.spec.selector['job-name']).toBe(found.metadata.name);
    expect([place.spec.ports[0].port, ports[0].containerPort]).toEqual([
      flags.master_port,
      flags.master_port,
    ]);
    expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(Number(flags.grace_seconds));
    checkPlaces(spec.template.spec, await options(flags.command as string[]));
  });
});

describe('the Dockerfile', () => {
  it('copies what is there, in an order that Docker takes, and starts the command', () => {
    const lines = readFileSync(deploy('Dockerfile'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const words = lines.map((line) => line.split(' '));
    expect(words.map(([instruction]) => instruction)).toEqual([
      'ARG',
      'FROM',
      'WORKDIR',
      'COPY',
      'RUN',
      'COPY',
      'RUN',
      'WORKDIR',
      'ENTRYPOINT',
      'CMD',
    ]);
    for (const [instruction, ...rest] of words)
      if (instruction === 'COPY')
        for (const source of rest.slice(0, -1)) expect(existsSync(join(root, source)), source).toBe(true);
    const entry = JSON.parse(lines.find((line) => line.startsWith('ENTRYPOINT'))!.slice('ENTRYPOINT'.length));
    const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      bin: { esvit: string };
    };
    expect(entry).toEqual(['node', `/opt/esvit/${bin.esvit}`]);
  });
});

describe('the batch script', () => {
  const script = deploy('slurm.sbatch');

  it.skipIf(!has('shellcheck'))('pleases shellcheck', () => {
    execFileSync('shellcheck', ['--shell=bash', script]);
  });

  it('asks for what the run needs', () => {
    const text = readFileSync(script, 'utf8');
    const directives = new Map(
      [...text.matchAll(/^#SBATCH --([a-z-]+)(?:=(.*))?$/gm)].map(([, key, value]) => [key, value]),
    );
    expect(directives.get('ntasks-per-node')).toBe(directives.get('gpus-per-node'));
    expect(directives.get('signal')).toMatch(/^USR1@\d+$/);
    expect(directives.has('requeue')).toBe(true);
    // directives count only before the first command
    expect(text.indexOf('#SBATCH --output')).toBeLessThan(text.indexOf('set -euo'));
  });

  /** Runs the script with an srun that only says what it was given, and ends with `code`. */
  function dryRun(code: number, ...args: string[]) {
    const bin = mkdtempSync(join(folder, 'bin-'));
    const program = (file: string, body: string) => {
      writeFileSync(join(bin, file), `#!/bin/sh\n${body}\n`);
      chmodSync(join(bin, file), 0o755);
    };
    program('srun', `printf 'srun:%s\\n' "$@"; exit ${code}`);
    program('scontrol', `printf 'scontrol:%s\\n' "$@"`);
    const home = join(bin, 'home');
    execFileSync('mkdir', ['-p', join(home, 'dist/cli')]);
    writeFileSync(join(home, 'dist/cli/main.js'), '');
    const env = { PATH: `${bin}:${process.env.PATH}`, ESVIT_HOME: home, SLURM_JOB_ID: '42' };
    const { status, stdout, stderr } = spawnSync('bash', [script, ...args], { env, encoding: 'utf8' });
    const said = (who: string) =>
      stdout.split('\n').flatMap((line) => (line.startsWith(`${who}:`) ? [line.slice(who.length + 1)] : []));
    return { status, stderr, srun: said('srun'), scontrol: said('scontrol') };
  }

  it('gives srun a command line that esvit takes', async () => {
    const { status, srun } = dryRun(0, '/my pictures', '/runs/one', '--epochs', '5');
    expect(status).toBe(0);
    const at = srun.indexOf('node');
    expect(srun.slice(0, at).every((word) => word.startsWith('--'))).toBe(true);
    expect(await options(srun.slice(at + 2))).toMatchObject({
      data_path: '/my pictures',
      output_dir: '/runs/one',
      epochs: 5,
    });
  });

  it('queues itself again when its time was up, and passes other failures on', () => {
    expect(dryRun(138, 'a', 'b')).toMatchObject({ status: 0, scontrol: ['requeue', '42'] });
    expect(dryRun(1, 'a', 'b')).toMatchObject({ status: 1, scontrol: [] });
  });

  it('says what is missing', () => {
    expect(dryRun(0, 'a')).toMatchObject({ status: 2, stderr: expect.stringContaining('usage: sbatch') });
  });
});
