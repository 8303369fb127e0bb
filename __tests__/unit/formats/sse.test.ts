import { describe, expect, it } from '@jest/globals';
import { sse } from '../../../lib/formats/sse.js';
import type { EventFields } from '../../../lib/types/hooks.js';
import { chunkings, fieldsOf } from '../../support/streams/event-streams.js';

/** The blocks of these chunks, the unfinished rest as the last. */
function blocks(...chunks: string[]): string[] {
  const scan = sse.scanner();
  const found: string[] = [];
  let rest = '';
  for (const chunk of chunks) {
    const bytes = Buffer.from(chunk, 'latin1');
    let start = 0;
    for (let end = scan(bytes, 0); end >= 0; end = scan(bytes, end)) {
      found.push(rest + bytes.toString('latin1', start, end));
      rest = '';
      start = end;
    }
    rest += bytes.toString('latin1', start);
  }
  return rest === '' ? found : [...found, rest];
}

/** The events of these blocks, without what they do not have. */
function parse(...texts: string[]): (EventFields | undefined)[] {
  const read = sse.parser();
  return texts.map((text) => {
    const event = read(Buffer.from(text));
    if (event === undefined) return undefined;
    return Object.fromEntries(Object.entries(fieldsOf(event)).filter(([, value]) => value !== undefined));
  });
}

const encode = (fields: unknown): string => String(sse.encode?.(fields as EventFields));

describe('a block', () => {
  it.each([
    ['LF', 'data: 1\n\n', 'data: 2\n\n'],
    ['CR', 'data: 1\r\r', 'data: 2\r\r'],
    ['CRLF', 'data: 1\r\n\r\n', 'data: 2\r\n\r\n'],
    ['LF and CRLF', 'data: 1\n\r\n', 'data: 2\r\n\n'],
    ['LF and CR', 'data: 1\n\r', 'data: 2\n\r'],
    ['CR and CRLF', 'data: 1\r\r\n', 'data: 2\r\r\n'],
  ])('SSE: a block ends at a blank line: %s', (_ends, first, second) => {
    expect(blocks(first + second)).toEqual([first, second]);
  });

  it.each([
    ['LF', 'data: 1\n'],
    ['CR', 'data: 1\r'],
    ['CRLF', 'data: 1\r\n'],
    ['a byte order mark', '\xef\xbb\xbf\n'],
  ])('SSE: a block does not end at the end of a line: %s', (_end, line) => {
    expect(blocks(line)).toEqual([line]);
    expect(blocks(`${line}data: 2\n\n`)).toEqual([`${line}data: 2\n\n`]);
  });

  it('SSE: a block may be a blank line only', () => {
    expect(blocks('\n\n\r\n\rdata: 1\n\n')).toEqual(['\n', '\n', '\r\n', '\r', 'data: 1\n\n']);
  });

  it.each([
    ['in the end of a line', ['data: 1\r', '\ndata: 2\r\n\r\n'], ['data: 1\r\ndata: 2\r\n\r\n']],
    ['in the blank line', ['data: 1\r\n\r', '\ndata: 2\r\n\r\n'], ['data: 1\r\n\r', '\n', 'data: 2\r\n\r\n']],
    ['in both', ['data: 1\r', '\n\r', '\n', '\r', '\n'], ['data: 1\r\n\r', '\n', '\r', '\n']],
  ])('SSE: a block ends once where a CRLF is split over two chunks: %s', (_where, chunks, expected) => {
    expect(blocks(...chunks)).toEqual(expected);
  });

  it('SSE: a block does not wait for the second half of a split CRLF, which is handed on as soon as it is there', () => {
    const scan = sse.scanner();
    expect(scan(Buffer.from('data: 1\r\n\r'), 0)).toBe(10);
    expect(scan(Buffer.from('data: 1\r\n\r'), 10)).toBe(-1);
    expect(scan(Buffer.from('\n'), 0)).toBe(1);
  });

  it('SSE: a block that ended in CR is followed by another block where no LF comes', () => {
    expect(blocks('data: 1\r\r', 'data: 2\r\r', '\r')).toEqual(['data: 1\r\r', 'data: 2\r\r', '\r']);
  });

  it('SSE: a block is found byte by byte as it is in one piece', () => {
    const text = ': c\ndata: 1\n\nevent: e\ndata: 2\n\n\ndata: 3';
    for (const chunks of chunkings(Buffer.from(text))) {
      expect(blocks(...chunks.map(String))).toEqual([': c\ndata: 1\n\n', 'event: e\ndata: 2\n\n', '\n', 'data: 3']);
    }
  });
});

describe('an event', () => {
  it('SSE: an event has all of its fields', () => {
    expect(parse(': hello\nevent: e\nid: 7\nretry: 100\ndata: 1\n\n')).toEqual([
      { comment: 'hello', event: 'e', id: '7', retry: 100, data: '1' },
    ]);
  });

  it('SSE: an event has its data lines joined by LF, whatever they ended in', () => {
    expect(parse('data: 1\r\ndata: 2\rdata:3\ndata:  4\ndata:\ndata\n\n')).toEqual([{ data: '1\n2\n3\n 4\n\n' }]);
  });

  it('SSE: an event has its comment lines joined by LF, also those between and behind the data', () => {
    expect(parse(': 1\ndata: d\n:2\n:\n:  3\n\n')).toEqual([{ data: 'd', comment: '1\n2\n\n 3' }]);
  });

  it.each([
    ['data without a colon', 'data\n\n', { data: '' }],
    ['empty data', 'data:\n\n', { data: '' }],
    ['an empty id', 'id:\ndata: 1\n\n', { id: '', data: '1' }],
    ['an id without a colon', 'id\ndata: 1\n\n', { id: '', data: '1' }],
    ['an empty type, which is none', 'event:\ndata: 1\n\n', { data: '1' }],
    ['the last id of several', 'id: 1\nid: 2\ndata: 1\n\n', { id: '2', data: '1' }],
    ['the last type of several', 'event: a\nevent: b\ndata: 1\n\n', { event: 'b', data: '1' }],
    ['an id with NUL, which does not count', 'id: 1\nid: a\0b\ndata: 1\n\n', { id: '1', data: '1' }],
    ['a retry with other things than digits', 'retry: 1.5\nretry: -1\nretry: 1e3\nretry:\ndata: 1\n\n', { data: '1' }],
    ['a retry that no client can wait for', 'retry: 99999999999999999999\ndata: 1\n\n', { data: '1' }],
    ['fields that nobody knows', 'Data: 0\nfoo: 1\ndata : 2\n data: 3\ndata: 4\n\n', { data: '4' }],
  ])('SSE: an event has %s', (_what, block, expected) => {
    expect(parse(block)).toEqual([expected]);
  });

  it.each([
    ['a comment', ': ping\n\n'],
    ['an id', 'id: 5\n\n'],
    ['a retry', 'retry: 5\n\n'],
    ['a type', 'event: a\n\n'],
    ['nothing', '\n'],
  ])('SSE: an event is not made of %s alone, which does not leak into the next one either', (_what, block) => {
    expect(parse(block, 'data: 1\n\n')).toEqual([undefined, { data: '1' }]);
  });

  it('SSE: an event has nothing of the event before', () => {
    expect(parse(': c\nevent: e\nid: 1\nretry: 2\ndata: 1\n\n', 'data: 2\n\n')).toEqual([
      { comment: 'c', event: 'e', id: '1', retry: 2, data: '1' },
      { data: '2' },
    ]);
  });

  it('SSE: an event has no byte order mark of the stream in it, but keeps those in its data', () => {
    expect(parse('\ufeffdata: \ufeff1\n\n', '\ufeffdata: 2\n\n', 'data: \ufeff3\n\n')).toEqual([
      { data: '\ufeff1' },
      undefined,
      { data: '\ufeff3' },
    ]);
  });

  it('SSE: an event that ended in CR is not ended once more by the LF that was split off', () => {
    expect(parse('data: 1\r\n\r', '\n', 'data: 2\r\n\r\n')).toEqual([{ data: '1' }, undefined, { data: '2' }]);
  });
});

describe('a block that is one line of data', () => {
  it.each([
    ['with a space behind the colon', 'data: 1\n\n', '1'],
    ['without one', 'data:1\n\n', '1'],
    ['with more than one', 'data:  1\n\n', ' 1'],
    ['without data', 'data:\n\n', ''],
    ['of a space', 'data: \n\n', ''],
    ['with characters of several bytes', 'data: zażółć 🙂\n\n', 'zażółć 🙂'],
    ['with other separators', 'data: \u2028\u0085\n\n', '\u2028\u0085'],
  ])('SSE: a block that is one line of data %s is read as in the block of several lines', (_what, block, data) => {
    expect(parse(block)).toEqual([{ data }]);
    expect(parse(`: c\n${block}`)).toEqual([{ comment: 'c', data }]);
  });

  it('SSE: a block that is one line of data leaves no byte order mark for those behind it', () => {
    expect(parse('data: 1\n\n', '\ufeffdata: 2\n\n', 'event: e\ndata: 3\n\n')).toEqual([
      { data: '1' },
      undefined,
      { event: 'e', data: '3' },
    ]);
  });

  it('SSE: a block that is one line of data is read behind an event that has ended in CR, and in front of the LF that was split off', () => {
    expect(parse('data: 1\r\n\r', 'data: 2\n\n', '\n', 'id: 3\ndata: 3\n\n')).toEqual([
      { data: '1' },
      { data: '2' },
      undefined,
      { id: '3', data: '3' },
    ]);
  });
});

describe('encode', () => {
  it('SSE encode: writes all fields, comments first and data last', () => {
    expect(encode({ data: '1', retry: 0, id: 'i', event: 'e', comment: 'c' })).toBe(
      ': c\nevent: e\nid: i\nretry: 0\ndata: 1\n\n',
    );
  });

  it.each([
    ['a comment', { comment: 'ping' }, ': ping\n\n'],
    ['an empty comment', { comment: '' }, ': \n\n'],
    ['a retry', { retry: 1500 }, 'retry: 1500\n\n'],
    ['an id that resets', { id: '' }, 'id: \n\n'],
    ['empty data', { data: '' }, 'data: \n\n'],
    ['data with a type that is empty', { event: '', data: '1' }, 'data: 1\n\n'],
    ['data that begins with a space', { data: ' 1' }, 'data:  1\n\n'],
    ['data with what looks like fields', { data: '1\n\nevent: x' }, 'data: 1\ndata: \ndata: event: x\n\n'],
  ])('SSE encode: writes %s', (_what, fields, expected) => {
    expect(encode(fields)).toBe(expected);
  });

  it.each(['\n', '\r', '\r\n'])('SSE encode: writes a line per line where %j is in data or comment', (end) => {
    expect(encode({ data: `1${end}2${end}`, comment: `3${end}4` })).toBe(': 3\n: 4\ndata: 1\ndata: 2\ndata: \n\n');
  });

  it.each([
    ['event', '\n', 'line breaks'],
    ['event', '\r', 'line breaks'],
    ['id', '\n', 'line breaks'],
    ['id', '\r\n', 'line breaks'],
    ['id', '\0', 'NUL'],
  ])('SSE encode: refuses %s with %j in it', (name, character, reason) => {
    const fields = { data: '1', [name]: `a${character}b` };
    expect(() => encode(fields)).toThrow(TypeError);
    expect(() => encode(fields)).toThrow(new RegExp(`^\`${name}\` of an event must not have ${reason}`));
  });

  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '5'])('SSE encode: refuses %p as retry', (retry) => {
    expect(() => encode({ retry })).toThrow(TypeError);
    expect(() => encode({ retry })).toThrow('`retry` of an event must be a whole number of milliseconds, 0 or more');
  });

  it.each([
    [{ data: { a: 1 } }, '`data` of an event must be a string, got object. Write it with JSON.stringify()'],
    [{ data: [1] }, '`data` of an event must be a string, got object. Write it with JSON.stringify()'],
    [{ data: null }, '`data` of an event must be a string, got null. Write it with JSON.stringify()'],
    [{ data: 5 }, '`data` of an event must be a string, got number'],
    [{ event: 5 }, '`event` of an event must be a string, got number'],
    [{ id: null }, '`id` of an event must be a string, got null'],
    [{ comment: {} }, '`comment` of an event must be a string, got object'],
  ])('SSE encode: refuses %j and says why', (fields, message) => {
    expect(() => encode(fields)).toThrow(new TypeError(message));
  });
});

describe('something else may follow', () => {
  const isBoundary = (text: string): boolean | undefined => {
    const boundary = sse.boundary?.();
    boundary?.sent(Buffer.from(text, 'latin1'));
    return boundary?.isReached;
  };

  it.each(['', '\n', '\r', '\r\n', 'x\n\n', 'x\r\r', 'x\r\n\r\n', 'x\n\r', 'x\n\r\n', 'x\r\r\n', 'x\r\n\n'])(
    'SSE: something else may follow after %j, which ends in a blank line',
    (text) => {
      expect(isBoundary(text)).toBe(true);
    },
  );

  it.each(['x', 'data: x', 'x\n', 'x\r', 'x\r\n', '\n\nx\n', '\r\n\r\nx\r\n', '\xef\xbb\xbf'])(
    'SSE: something else may not follow after %j',
    (text) => {
      expect(isBoundary(text)).toBe(false);
    },
  );

  it('SSE: something else may not follow in the middle of a CRLF, which not every client would understand', () => {
    expect(isBoundary('x\r\n\r')).toBe(false);
  });
});
