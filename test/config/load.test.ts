/** YAML files with bases and overrides, and the places in messages. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadConfig } from '../../src/config/index.js';
import { UserError } from '../../src/errors.js';

const schema = z.strictObject({
  NAME: z.string().optional(),
  AMP: z.strictObject({ ENABLED: z.boolean().default(false) }).optional(),
  MODEL: z
    .strictObject({
      KIND: z.enum(['swin', 'cvt']).default('swin'),
      SPEC: z
        .strictObject({
          WINDOW_SIZE: z.number().int().positive().optional(),
          DEPTHS: z.array(z.number().int()).optional(),
        })
        .optional(),
    })
    .optional(),
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'esvit-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).kind).toBe('config');
    return (error as UserError).message;
  }
  throw new Error('expected a UserError');
}

describe('loadConfig', () => {
  it('merges bases in order, relative to the file, lists replaced', () => {
    write('a.yaml', 'NAME: a\nMODEL: {SPEC: {WINDOW_SIZE: 7, DEPTHS: [2, 2]}}\n');
    write('sub/b.yaml', "BASE: ['../a.yaml']\nMODEL:\n  SPEC:\n    DEPTHS: [1]\n");
    const top = write('top.yaml', "BASE: ['sub/b.yaml', '']\nNAME: top\n");
    const { value, files } = loadConfig(top, { schema });
    expect(value).toEqual({ NAME: 'top', MODEL: { KIND: 'swin', SPEC: { WINDOW_SIZE: 7, DEPTHS: [1] } } });
    expect(files).toEqual(['a.yaml', 'sub/b.yaml', 'top.yaml'].map((name) => join(folder, name)));
  });

  it('takes overrides last, as literals, and says who wrote what', () => {
    const path = write('a.yaml', 'MODEL:\n  SPEC:\n    WINDOW_SIZE: 7\n');
    const overrides = ['MODEL.SPEC.WINDOW_SIZE', '14', 'AMP.ENABLED', 'True', 'MODEL.SPEC.DEPTHS', '(2, 2)'];
    const { value, origins } = loadConfig(path, { schema, overrides });
    expect(value.MODEL?.SPEC).toEqual({ WINDOW_SIZE: 14, DEPTHS: [2, 2] });
    expect(value.AMP).toEqual({ ENABLED: true });
    expect(origins.get('MODEL.SPEC.WINDOW_SIZE')?.value).toBe('the command line');
    expect(origins.get('MODEL.SPEC')?.key).toBe(`${path}:2:3`);
  });

  it('works without a file and freezes what it returns', () => {
    const { value } = loadConfig(undefined, { schema, overrides: ['MODEL.SPEC.DEPTHS', '[1]'] });
    expect(Object.isFrozen(value.MODEL?.SPEC?.DEPTHS)).toBe(true);
  });

  it('reads YAML 1.1 as PyYAML does, anchors and merge keys too', () => {
    const path = write('a.yaml', 'AMP: {ENABLED: yes}\nMODEL:\n  SPEC: &s {WINDOW_SIZE: 010}\n');
    expect(loadConfig(path, { schema }).value).toEqual({
      AMP: { ENABLED: true },
      MODEL: { KIND: 'swin', SPEC: { WINDOW_SIZE: 8 } },
    });
  });

  it('names the place of an unknown key, with a suggestion', () => {
    const path = write('a.yaml', 'MODEL:\n  SPEC:\n    WINDOW_SZE: 7\n');
    expect(failure(() => loadConfig(path, { schema }))).toBe(
      `${path}:3:5: unknown key MODEL.SPEC.WINDOW_SZE. Did you mean 'WINDOW_SIZE'?`,
    );
  });

  it('names the place in the base that holds the fault', () => {
    const base = write('a.yaml', '\nMODEL:\n  SPEC:\n    DEPTHS: [2, x]\n');
    const path = write('b.yaml', 'BASE: [a.yaml]\n');
    expect(failure(() => loadConfig(path, { schema }))).toBe(
      `${base}:4:17: MODEL.SPEC.DEPTHS.1 expected a number but received 'x'.`,
    );
  });

  it('names faults of overrides, choices and bounds', () => {
    const fails = (...overrides: string[]) => failure(() => loadConfig(undefined, { schema, overrides }));
    expect(fails('MODEL.KND', 'x')).toBe("the command line: unknown key MODEL.KND. Did you mean 'KIND'?");
    expect(fails('MODEL.KIND', 'swim')).toBe(
      "the command line: MODEL.KIND expected one of swin, cvt but received 'swim'. Did you mean 'swin'?",
    );
    expect(fails('MODEL.SPEC.WINDOW_SIZE', '0')).toContain('expected more than 0 but received 0');
    expect(fails('MODEL.SPEC.WINDOW_SIZE', '1.5')).toContain('expected a whole number but received 1.5');
    expect(fails('MODEL.SPEC.WINDOW_SIZE')).toContain('has no value');
    expect(fails('MODEL..X', '1')).toContain('Expected an override like');
    expect(fails('NAME', 'a', 'NAME.X', '1')).toContain("goes through NAME, which holds 'a'");
    expect(fails('__proto__.x', '1')).toContain('Expected an override like');
  });

  it('refuses circles, missing files, broken YAML, duplicate keys and odd tops', () => {
    write('a.yaml', 'BASE: [b.yaml]\n');
    const b = write('b.yaml', 'BASE: [a.yaml]\n');
    expect(failure(() => loadConfig(b, { schema }))).toContain('form a circle');
    expect(failure(() => loadConfig(join(folder, 'none.yaml'), { schema }))).toContain(
      'there is no such file',
    );
    expect(failure(() => loadConfig(folder, { schema }))).toContain('it is a folder');
    const broken = write('c.yaml', 'NAME: [1\nAMP: 2\n');
    expect(failure(() => loadConfig(broken, { schema }))).toContain(`${broken}:2:`);
    const twice = write('d.yaml', 'NAME: a\nNAME: b\n');
    expect(failure(() => loadConfig(twice, { schema }))).toContain(`${twice}:2:1`);
    expect(failure(() => loadConfig(write('e.yaml', '- 1\n'), { schema }))).toContain('expected a mapping');
    expect(failure(() => loadConfig(write('f.yaml', '__proto__: {x: 1}\n'), { schema }))).toContain(
      'not allowed',
    );
    expect(failure(() => loadConfig(write('g.yaml', 'BASE: [1]\n'), { schema }))).toContain(
      'g.yaml:1:7: BASE expected',
    );
  });

  it('accepts a base that two files share, and an empty file', () => {
    write('root.yaml', 'NAME: root\n');
    write('l.yaml', 'BASE: root.yaml\n');
    write('r.yaml', 'BASE: [root.yaml]\n');
    expect(loadConfig(write('top.yaml', 'BASE: [l.yaml, r.yaml]\n'), { schema }).value).toEqual({
      NAME: 'root',
    });
    expect(loadConfig(write('empty.yaml', ''), { schema }).value).toEqual({});
  });
});
