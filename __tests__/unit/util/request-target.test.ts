import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { withoutParameter } from '../../../lib/util/request-target.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

describe('withoutParameter', () => {
  it.each([
    ['/v1/models', '/v1/models'],
    ['/v1/models?', '/v1/models?'],
    ['/v1/models?alt=sse', '/v1/models?alt=sse'],
    ['/v1/models?key=secret', '/v1/models'],
    ['/v1/models?key', '/v1/models'],
    ['/v1/models?key=', '/v1/models'],
    ['/v1/models?key=a&key=b', '/v1/models'],
    ['/v1/models?alt=sse&key=secret', '/v1/models?alt=sse'],
    ['/v1/models?key=secret&alt=sse', '/v1/models?alt=sse'],
    ['/v1/models?a=1&key=secret&b=2', '/v1/models?a=1&b=2'],
    ['/v1/models?%6bey=secret&%6B%65%79=secret&ke%79=secret&a=1', '/v1/models?a=1'],
    ['/v1/models?Key=1&keys=2&monkey=3&a=key', '/v1/models?Key=1&keys=2&monkey=3&a=key'],
    ['/v1/models?a=%20+%2B&key=secret&b=%zz&&c&=&%E4', '/v1/models?a=%20+%2B&b=%zz&&c&=&%E4'],
    ['/v1/models?a=1?key=2', '/v1/models?a=1?key=2'],
    ['/key=1/x?a', '/key=1/x?a'],
    ['?key=secret', ''],
  ])('withoutParameter: %s becomes %s', (path, expected) => {
    expect(withoutParameter(path, 'key')).toBe(expected);
  });

  it('withoutParameter: leaves no parameter that a server reads as `key`, and all others as they were', () => {
    const name = fc.constantFrom('key', 'KEY', '%6bey', 'k%65y', 'k', 'keyed', '', '%', '+key', 'key%00', '%00key');
    const parameter = fc
      .tuple(name, fc.constantFrom('', '=', '=1', '=%20', '=a=b', '=?'))
      .map(([left, right]) => `${left}${right}`);
    fc.assert(
      fc.property(fc.array(parameter), (parameters) => {
        const kept = new URL(withoutParameter(`/p?${parameters.join('&')}`, 'key'), 'http://127.0.0.1').searchParams;
        const given = new URLSearchParams(parameters.join('&'));
        expect(kept.has('key')).toBe(false);
        expect([...kept]).toEqual([...given].filter(([decoded]) => decoded !== 'key'));
      }),
      { numRuns: 300 },
    );
  });
});
