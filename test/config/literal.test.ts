/** Python literals on the command line. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseLiteral } from '../../src/config/index.js';

describe('parseLiteral', () => {
  it.each([
    ['14', 14],
    ['-1', -1],
    ['+3', 3],
    ['1e-6', 1e-6],
    ['.5', 0.5],
    ['1.', 1],
    ['1_000', 1000],
    ['0x1f', 31],
    ['-0x10', -16],
    ['0b101', 5],
    ['True', true],
    ['False', false],
    ['true', true],
    ['None', null],
    ["'14'", '14'],
    ['"it\'s"', "it's"],
    ["'a\\n'", 'a\n'],
    ['[2, 2, 6, 2]', [2, 2, 6, 2]],
    ['(0.05, 0.4)', [0.05, 0.4]],
    ['(8,)', [8]],
    ['(8)', 8],
    ['()', []],
    ['1, 2', [1, 2]],
    ["['bn', ('ln', None)]", ['bn', ['ln', null]]],
    ["{'a': 1, 'b': [True]}", { a: 1, b: [true] }],
  ])('reads %s', (text, value) => {
    expect(parseLiteral(text)).toEqual(value);
  });

  it.each([
    'swin_tiny',
    'l1,h3,d96,n1,s1,g1,p4,f7_l2',
    'rand-m9-mstd0.5-inc1',
    '012',
    '1.2.3',
    '[1, 2',
    '/data/[x]',
    'Truely',
    '14px',
    '',
    '-',
    "'open",
  ])('leaves %s a string', (text) => {
    expect(parseLiteral(text)).toBe(text);
  });

  it('reads back every number and JSON list', () => {
    const items = fc.array(fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true })));
    fc.assert(
      fc.property(items, (values) => {
        expect(parseLiteral(JSON.stringify(values))).toEqual(
          values.map((value) => (value === 0 ? 0 : value)),
        );
      }),
    );
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => parseLiteral(text) !== undefined));
  });
});
