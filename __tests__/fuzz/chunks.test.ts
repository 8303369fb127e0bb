import '../support/streams/fast-path-on.js';
import { expect, it } from '@jest/globals';
import fc from 'fast-check';
import { anyCuts, cutAt, damaged, runs, someDamage, TIMEOUT } from '../support/fuzz/runs.js';
import { readByParser, readDirectly } from '../support/streams/chunk-reading.js';
import { FIXTURES } from '../support/streams/fixtures.js';

/** A chunk, in one of the ways to write it. */
const anyChunk = fc
  .record({
    bytes: fc.oneof(
      fc.constantFrom(
        'a',
        'data: 1\n\n',
        '0\r\n\r\n',
        '5\r\nhello\r\n',
        '\r\n',
        ...FIXTURES.map(({ bytes }) => String(bytes)),
      ),
      fc.string({ minLength: 1, maxLength: 40 }),
    ),
    zeros: fc.constantFrom('', '', '', '0', '000000'),
    isUpper: fc.boolean(),
    extension: fc.constantFrom('', '', '', '', '', ';a', ';a=b', ';a="b c"', ' '),
  })
  .map(({ bytes, zeros, isUpper, extension }) => {
    const body = Buffer.from(bytes);
    const digits = zeros + body.length.toString(16);
    const line = Buffer.from(`${isUpper ? digits.toUpperCase() : digits}${extension}\r\n`);
    return Buffer.concat([line, body, Buffer.from('\r\n')]);
  });

const anyEnd = fc.constantFrom(
  '0\r\n\r\n',
  '0\r\nX-Sum: 1\r\n\r\n',
  '00\r\n\r\n',
  '0;a\r\n\r\n',
  '',
  '0\r\n',
  '0\r\n\r\n0\r\n\r\n',
);

it(
  'chunk passthrough: whole chunks that go past the parser are what it would have found',
  async () => {
    let direct = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyChunk, { maxLength: 8 }),
        anyEnd,
        someDamage(2),
        anyCuts,
        fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
        async (chunks, end, damages, cuts, wanted) => {
          const head = Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
          const body = damaged(Buffer.concat([...chunks, Buffer.from(end)]), damages);
          const reads = cutAt(Buffer.concat([head, body]), cuts);
          let asked = 0;
          const isWanted = (): boolean => wanted[asked++ % wanted.length] === true;
          const read = await readDirectly(reads, { isWanted });
          direct += read.direct;
          expect(read).toEqual({ ...(await readByParser(reads)), direct: read.direct });
        },
      ),
      runs(),
    );
    // Else nothing was tried.
    expect(direct).toBeGreaterThan(0);
  },
  TIMEOUT,
);
