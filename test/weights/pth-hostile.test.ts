/** Files that are broken, foreign or hostile: refused with a reason, never run, never half read. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/errors.js';
import { arange, type Tensor, tensor } from '../../src/torch/index.js';
import { ArchiveReader, ArchiveWriter, RandomFile } from '../../src/weights/archive.js';
import {
  Namespace,
  NumpyScalar,
  OrderedDict,
  PyDType,
  PyFloat,
  PyTuple,
  type PyValue,
  readPth,
  TorchParameter,
  writePth,
  writeSafetensors,
} from '../../src/weights/index.js';
import { temporaryFolder } from './folder.js';

const at = temporaryFolder();

/** A `.pth` whose data.pkl is `pickle`: text of single bytes, without protocol and STOP. */
function archive(pickle: string, entries: Record<string, Uint8Array> = {}): string {
  const chunks: Uint8Array[] = [];
  const writer = new ArchiveWriter((bytes) => chunks.push(Uint8Array.from(bytes)));
  writer.add('archive/data.pkl', Buffer.from(`\x80\x02${pickle}.`, 'latin1'));
  for (const [name, content] of Object.entries(entries)) writer.add(`archive/${name}`, content);
  writer.finish();
  const path = at('hostile.pth');
  writeFileSync(path, Buffer.concat(chunks));
  return path;
}

/** A row of bytes as a Python string in protocol 2. */
function text(value: string): string {
  const bytes = Buffer.from(value, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return `X${length.toString('latin1')}${bytes.toString('latin1')}`;
}

function refusal(path: string): string {
  try {
    readPth(path);
  } catch (error) {
    if (error instanceof UserError && error.kind === 'checkpoint') return error.message;
    throw error;
  }
  throw new Error(`${path} was accepted`);
}

describe('a pickle that asks for a name', () => {
  const trace = at('trace');

  it.each([
    ['posix', 'system'],
    ['os', 'system'],
    ['nt', 'system'],
    ['subprocess', 'Popen'],
    ['builtins', 'eval'],
    ['builtins', 'getattr'],
    ['__builtin__', 'eval'],
    ['runpy', '_run_code'],
    ['functools', 'partial'],
    ['importlib', 'import_module'],
    ['pickle', 'loads'],
    ['torch', 'load'],
    ['torch.hub', 'load'],
    ['torch.jit', 'load'],
    ['torch.nn.modules.linear', 'Linear'],
    ['numpy', 'load'],
    ['torch', '__init__'],
    ['torch', 'constructor'],
    ['torch', '__proto__'],
    ['collections', 'OrderedDict.update'],
  ])('%s.%s is refused, and told which', (module, name) => {
    const call = `${text(`echo > ${trace}`)}\x85R`;
    for (const pickle of [`c${module}\n${name}\n${call}`, `${text(module)}${text(name)}\x93${call}`])
      expect(refusal(archive(pickle))).toContain(`asks for the Python name ${module}.${name}`);
    expect(refusal(archive(`c${module}\n${name}\n`))).toContain(`${module}.${name}`);
    expect(existsSync(trace)).toBe(false);
  });

  it('by the old opcodes for instances is refused', () => {
    expect(refusal(archive(`(${text('true')}iposix\nsystem\n`))).toContain('posix.system');
    expect(refusal(archive(`(cposix\nsystem\n${text('true')}o`))).toContain('posix.system');
    // a harmless class, but a call that the machine does not know
    expect(refusal(archive(`(ccollections\nOrderedDict\no`))).toContain('the opcode 0x6f');
  });

  it('that is harmless, but no function, is not called', () => {
    expect(refusal(archive('ctorch\nFloatStorage\n)R'))).toMatch(
      /torch\.FloatStorage|FloatStorage.*not as a call/,
    );
    expect(refusal(archive('ctorch\nfloat32\n)R'))).toContain('It is allowed as a name, not as a call');
  });

  it('hidden in the middle of weights is refused', () => {
    const path = archive(`}(${text('state_dict')}}${text('run')}cposix\nsystem\n${text('true')}\x85Ru`);
    expect(refusal(path)).toContain('posix.system');
  });
});

describe('a pickle that is no sound one', () => {
  it.each([
    ['an unknown opcode', '\xfe', 'the opcode 0xfe'],
    ['extension codes', '\x82\x01', 'the opcode 0x82'],
    ['a protocol of the future', '\x80\x09', 'a pickle protocol above 5'],
    ['an empty stack', '0', 'an empty stack'],
    ['a memo that was never stored', 'h\x07', 'a memo entry 7'],
    ['a text that is longer than the file', 'X\xff\xff\xff\x7f', 'its end too early'],
    ['a text of negative length', 'T\xff\xff\xff\xff', 'a negative length'],
    ['a whole number beyond counting', '\x8b\xff\xff\xff\x7f', 'a whole number of 2147483647 bytes'],
    [
      'a name where a value should be',
      'ccollections\nOrderedDict\n',
      'the Python name collections.OrderedDict',
    ],
    ['a name in a dict', `}${text('type')}cnumpy\nndarray\ns`, 'the Python name numpy.ndarray as a value'],
    ['a numpy type as a value', `cnumpy\ndtype\n${text('f8')}\x85R`, 'a numpy type as a value'],
    [
      'a frame that is longer than the file',
      '\x95\xff\xff\xff\xff\xff\xff\xff\x7f',
      'a length beyond its end',
    ],
    ['no mark', 't', 'no mark on the stack'],
    ['a key without a value', '}(K\x01u', 'a key without a value'],
    ['items for a number', 'K\x01(K\x02e', 'items for something that is no list'],
    ['entries for a list', '](K\x01K\x02u', 'entries for something that is no dict'],
    ['a call of a number', 'K\x01)R', 'a call of something that is no name'],
    ['a call without a tuple', 'ccollections\nOrderedDict\nK\x01R', 'a call without a tuple'],
    ['a state for a list', ']}b', 'a state for an object that has none'],
    ['a word as an integer', 'Inothing\n', "the integer 'nothing'"],
    ['a string with escapes', "S'a\\x41'\n", 'the string'],
    ['a line without an end', 'I12', 'a line without an end'],
  ])('with %s', (_, pickle, reason) => {
    expect(refusal(archive(pickle))).toContain(reason);
  });

  it.each([
    ['a tensor without a storage', rebuilt('(K\x00K\x00))t'), 'without a storage'],
    ['a storage that is no tuple', 'K\x01Q', 'names no storage'],
    ['a bare storage', storage('FloatStorage', '0', 'K\x02'), 'bare storage'],
    ['a storage of another length', tensorOf('K\x03', 'K\x00', 'K\x03'), 'has 8 bytes, expected 12'],
    ['a storage that is missing', tensorOf('K\x02', 'K\x00', 'K\x02', '1'), 'lacks the storage 1'],
    ['a shape beyond its storage', tensorOf('K\x02', 'K\x00', 'K\x03'), 'reaches element 2'],
    ['an offset beyond its storage', tensorOf('K\x02', 'K\x01', 'K\x02'), 'reaches element 2'],
    ['a negative offset', tensorOf('K\x02', 'J\xff\xff\xff\xff', 'K\x01'), 'offset'],
    ['a negative size', tensorOf('K\x02', 'K\x00', 'J\xff\xff\xff\xff'), 'the entry -1'],
    ['a size that is no number', tensorOf('K\x02', 'K\x00', 'N'), 'the entry null'],
  ])('with %s', (_, pickle, reason) => {
    expect(refusal(archive(pickle, { 'data/0': new Uint8Array(8) }))).toContain(reason);
  });

  it('with a tensor of no elements, but sizes beyond counting', () => {
    const long = '\x8a\x07\0\0\0\0\0\0\x10'; // 2^52
    const args = `(${storage('FloatStorage', '0', 'K\x02')}K\x00${long}${long}K\x00\x87K\x01K\x01K\x01\x87t`;
    expect(refusal(archive(rebuilt(args), { 'data/0': new Uint8Array(8) }))).toContain('tensor');
  });

  it('of a big-endian machine is refused', () => {
    expect(refusal(archive('N', { byteorder: Buffer.from('big') }))).toContain('big-endian');
  });

  it('of a big-endian numpy number is refused', () => {
    expect(refusal(archive(numpy('f8', '>')))).toContain('big-endian numpy');
  });

  it('of a numpy number of another type or length is refused', () => {
    expect(refusal(archive(numpy('O8', '|')))).toContain('numpy number of type O8');
    expect(refusal(archive(numpy('f8', '<', 4)))).toContain('too few bytes');
  });

  it('of a tensor whose elements are not its values is refused', () => {
    const view = `${storage('FloatStorage', '0', 'K\x02')}K\x00K\x02\x85K\x01\x85\x89N`;
    const marked = rebuilt(`(${view}}${text('neg')}\x88st`);
    expect(refusal(archive(marked, { 'data/0': new Uint8Array(8) }))).toContain('resolve_neg()');
  });

  it('of one memory under many types is read once', () => {
    // Each type would read the storage again; the file is small, what it asks for is not.
    const part = (type: string, numel: string) =>
      `${rebuilt(`(${storage(type, '0', numel)}K\x00K\x02\x85K\x01\x85\x89Nt`)}a`;
    const path = archive(`]${part('FloatStorage', 'K\x02')}${part('IntStorage', 'K\x02')}`, {
      'data/0': Buffer.from(Float32Array.of(1, 2).buffer),
    });
    const [floats, bits] = readPth(path) as Tensor[];
    expect([...bits.toArray()]).toEqual([0x3f800000, 0x40000000]);
    floats.mul_(-1);
    expect([...bits.toArray()]).toEqual([0x3f800000 - 2 ** 31, 0x40000000 - 2 ** 31]);
  });

  it('of a TorchScript program is called by its name', () => {
    expect(refusal(archive('N', { 'constants.pkl': new Uint8Array(3) }))).toContain('TorchScript');
  });
});

describe('a file that is not what it should be', () => {
  const write = (content: string | Uint8Array): string => {
    writeFileSync(at('other.pth'), content);
    return at('other.pth');
  };

  it.each([
    ['a web page', '<!DOCTYPE html><html>404</html>', 'web page'],
    ['a web page after spaces', '\n  <html>', 'web page'],
    ['empty', '', 'it is empty'],
    ['a pointer of Git LFS', 'version git-lfs/v1\noid sha256:0\n', 'git lfs pull'],
    ['plain text', 'weights', 'not a PyTorch checkpoint'],
    ['another pickle', '\x80\x02K\x01.', 'not one of torch.save'],
    ['another zip', Buffer.from('PK\x05\x06'.padEnd(22, '\0'), 'latin1'), 'no data.pkl'],
  ])('%s', (_, content, reason) => {
    expect(refusal(write(typeof content === 'string' ? Buffer.from(content, 'latin1') : content))).toContain(
      reason,
    );
  });

  it('a safetensors file of the wrong ending', () => {
    writeSafetensors(at('wrong.pth'), new Map([['w', tensor([1])]]));
    expect(refusal(at('wrong.pth'))).toContain('safetensors');
  });

  it('missing, or a folder', () => {
    expect(refusal(at('none.pth'))).toContain(`no file ${at('none.pth')}`);
    mkdirSync(at('folder.pth'));
    expect(refusal(at('folder.pth'))).toContain('is a folder');
  });
});

describe('a damaged file', () => {
  const path = at('sound.pth');
  const content = new Map<PyValue, PyValue>([
    ['weight', arange(0, 8, 1, { dtype: 'float32' })],
    ['names', ['a', 'b']],
  ]);
  writePth(path, content);
  const sound = readFileSync(path);
  const damaged = at('damaged.pth');

  it('is refused wherever it is cut', () => {
    for (let length = 0; length < sound.length; length++) {
      writeFileSync(damaged, sound.subarray(0, length));
      expect(refusal(damaged), `cut to ${length} bytes`).toContain(damaged);
    }
  });

  it('is refused where its weights or its pickle changed', () => {
    const weights = sound.indexOf(Buffer.from(Float32Array.from([1, 2, 3]).buffer));
    expect(weights).toBeGreaterThan(0);
    for (const [place, name] of [
      [weights, 'data/0'],
      [sound.indexOf('weight'), 'data.pkl'],
    ] as const) {
      const changed = Buffer.from(sound);
      changed[place] ^= 1;
      writeFileSync(damaged, changed);
      expect(refusal(damaged)).toContain(`the entry archive/${name} has a wrong checksum`);
    }
  });

  it('is read whole or refused, whichever byte changed', () => {
    for (let place = 0; place < sound.length; place++) {
      const changed = Buffer.from(sound);
      changed[place] ^= 0xff;
      writeFileSync(damaged, changed);
      try {
        const value = readPth(damaged) as Map<string, PyValue>;
        // Not every byte counts: dates, padding, version. What is read is right then.
        expect([...value.keys()], `byte ${place}`).toEqual(['weight', 'names']);
      } catch (error) {
        expect(error, `byte ${place}`).toBeInstanceOf(UserError);
      }
    }
  });
});

describe('a pickle with one other byte, and the right checksum', () => {
  const space = new Namespace();
  space.entries.set('lr', new PyFloat(0.1));
  writePth(at('whole.pth'), [
    arange(0, 6, 1).view([2, 3]).t(),
    space,
    new NumpyScalar('float64', 1),
    new OrderedDict([['key', new PyTuple([1, 'x', null, true])]]),
    new TorchParameter(arange(0, 2, 1), true),
    new Map<PyValue, PyValue>([['dtype', new PyDType('float16')]]),
    2n ** 70n,
  ]);
  const file = new RandomFile(at('whole.pth'));
  const reader = new ArchiveReader(file);
  const pickle = Buffer.from(reader.read('archive/data.pkl'));
  const entries = Object.fromEntries(
    ['data/0', 'data/1'].map((name) => [name, reader.read(`archive/${name}`)]),
  );
  file.close();

  it.each([...'(RbQu0.Nq}'])('%s is read or refused at every place', (opcode) => {
    for (let place = 2; place < pickle.length - 1; place++) {
      const changed = Buffer.from(pickle);
      changed[place] = opcode.charCodeAt(0);
      const path = archive(changed.subarray(2, -1).toString('latin1'), entries);
      try {
        readPth(path);
      } catch (error) {
        expect(error, `byte ${place}`).toBeInstanceOf(UserError);
      }
    }
  });
});

describe('a zip whose entries lie on each other', () => {
  it('is refused: it would unpack to many times its size', () => {
    const chunks: Uint8Array[] = [];
    const writer = new ArchiveWriter((bytes) => chunks.push(Uint8Array.from(bytes)));
    writer.add('archive/data/0', new Uint8Array(10_000));
    writer.finish();
    const whole = Buffer.concat(chunks);
    const directory = whole.indexOf('PK\x01\x02');
    const entry = whole.subarray(directory, whole.length - 22);
    const other = Buffer.from(entry);
    other[46 + 'archive/data/'.length] = 0x31;
    const end = Buffer.from(whole.subarray(whole.length - 22));
    end.writeUInt16LE(2, 8);
    end.writeUInt16LE(2, 10);
    end.writeUInt32LE(2 * entry.length, 12);
    writeFileSync(at('overlap.pth'), Buffer.concat([whole.subarray(0, directory), entry, other, end]));
    expect(refusal(at('overlap.pth'))).toContain('its entries overlap');
  });
});

describe('nesting without end', () => {
  it('of lists is read without overflow', () => {
    const depth = 200_000;
    expect(Array.isArray(readPth(archive(`${']'.repeat(depth)}${'a'.repeat(depth - 1)}`)))).toBe(true);
  });
});

/** An id of a storage, looked up. */
function storage(type: string, key: string, numel: string): string {
  return `(${text('storage')}ctorch\n${type}\n${text(key)}${text('cpu')}${numel}tQ`;
}

/** A tensor of one dimension over a storage of float32. */
function tensorOf(numel: string, offset: string, size: string, key = '0'): string {
  const place = `${storage('FloatStorage', key, numel)}${offset}${size}\x85K\x01\x85`;
  return rebuilt(`(${place}\x89ccollections\nOrderedDict\n)Rt`);
}

function rebuilt(args: string): string {
  return `ctorch._utils\n_rebuild_tensor_v2\n${args}R`;
}

/** A numpy scalar of `bytes` bytes. */
function numpy(code: string, order: string, bytes = 8): string {
  const state = `(K\x03${text(order)}NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb`;
  const data = `c_codecs\nencode\n${text('\0'.repeat(bytes))}${text('latin1')}\x86R`;
  return `cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n${text(code)}\x89\x88\x87R${state}${data}\x86R`;
}
