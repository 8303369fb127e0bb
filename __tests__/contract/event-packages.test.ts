import { describe, expect, it } from '@jest/globals';
import bytes from 'bytes';
import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** What the parser reports of some pieces, in order. */
function report(...pieces: string[]): unknown[] {
  const seen: unknown[] = [];
  const parser = createParser({
    onEvent: (event: EventSourceMessage) => seen.push(event),
    onComment: (comment) => seen.push({ comment }),
    onRetry: (retry) => seen.push({ retry }),
  });
  for (const piece of pieces) parser.feed(piece);
  return seen;
}

describe('eventsource-parser, fed with whole blocks', () => {
  it('eventsource-parser: reports an event before it returns, whatever the line ends', () => {
    for (const end of ['\n', '\r', '\r\n']) {
      expect(report(`event: a${end}id: 1${end}data: x${end}${end}`)).toEqual([{ event: 'a', id: '1', data: 'x' }]);
    }
  });

  it('eventsource-parser: takes a line feed in front of a block for the second half of a line end', () => {
    expect(report('data: 1\r\r', '\ndata: 2\n\n')).toMatchObject([{ data: '1' }, { data: '2' }]);
    expect(report('data: 1\n\n', '\ndata: 2\n\n')).toMatchObject([{ data: '1' }, { data: '2' }]);
  });

  it('eventsource-parser: reports comments and the retry time before the event of their block', () => {
    expect(report(': one\nretry: 5\n:two\ndata: x\n\n')).toMatchObject([
      { comment: 'one' },
      { retry: 5 },
      { comment: 'two' },
      { data: 'x' },
    ]);
  });

  it('eventsource-parser: strips one byte order mark, at the very start', () => {
    expect(report('\ufeffdata: 1\n\n', '\ufeffdata: 2\n\n', 'data: \ufeff3\n\n')).toMatchObject([
      { data: '1' },
      { data: '\ufeff3' },
    ]);
  });

  it('eventsource-parser: forgets what an event without data has said', () => {
    expect(report('event: a\nid: 1\n\n', 'data: x\n\n')).toEqual([{ event: undefined, id: undefined, data: 'x' }]);
  });

  it('eventsource-parser: leaves out an id with NUL, and a retry time that is not of digits', () => {
    expect(report('id: a\0b\nretry: 1s\ndata: x\n\n')).toEqual([{ event: undefined, id: undefined, data: 'x' }]);
  });
});

describe('bytes', () => {
  it('bytes: reads sizes in powers of 1024', () => {
    expect([bytes.parse('1mb'), bytes.parse('1.5KB'), bytes.parse(7)]).toEqual([1024 * 1024, 1536, 7]);
  });

  it('bytes: takes the number in front of anything, so that the option is checked before', () => {
    expect(bytes.parse('10 apples')).toBe(10);
  });
});
