import { describe, expect, it } from '@jest/globals';
import { OwnEdits } from '../../../lib/events/own-edits.js';
import { adoptFormat } from '../../../lib/formats/adopt-format.js';
import type { EventFormat } from '../../../lib/formats/format.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import { chunkings } from '../../support/streams/event-streams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const isExtra = ({ data }: { data: string }): boolean => data.includes('extra');

interface Edited {
  edits: OwnEdits;
  output: string[];
  /** What is read of the events that came in. */
  seen: string[];
  logged: string[];
  failures: unknown[];
  unread(): number;
  closed: Promise<unknown>;
}

function edited({
  format = sse,
  limit = 100,
  extra = isExtra as (event: { data: string }) => unknown,
}: {
  format?: EventFormat;
  limit?: number;
  extra?: (event: { data: string }) => unknown;
} = {}): Edited {
  const output: string[] = [];
  const seen: string[] = [];
  const logged: string[] = [];
  const failures: unknown[] = [];
  let unread = 0;
  const edits = new OwnEdits({
    format,
    limit,
    isExtra: extra,
    hooks: {
      event: ({ data }) => seen.push(data),
      unread: () => {
        unread += 1;
      },
      failed: (cause) => failures.push(cause),
    },
    logError: (message) => logged.push(message),
  });
  edits.on('data', (chunk: Buffer) => output.push(chunk.toString('latin1')));
  const closed = new Promise((resolve, reject) => edits.once('close', () => resolve(undefined)).once('error', reject));
  return { edits, output, seen, logged, failures, unread: () => unread, closed };
}

async function outputOf(
  text: string,
  options: Parameters<typeof edited>[0] = {},
  end = (_edits: OwnEdits): void => {},
) {
  const outputs = new Set<string>();
  for (const chunks of chunkings(Buffer.from(text, 'latin1'))) {
    const { edits, output, closed } = edited(options);
    for (const chunk of chunks) edits.write(chunk);
    end(edits);
    edits.end();
    await closed;
    outputs.add(output.join(''));
  }
  expect(outputs.size).toBe(1);
  return [...outputs][0];
}

const large = `data: ${'x'.repeat(200)}\n\n`;

describe('edits of our own', () => {
  it.each([
    ['an event', 'data: 1\n\ndata: extra\n\ndata: 2\n\n', 'data: 1\n\ndata: 2\n\n'],
    ['with CRLF', 'data: 1\r\n\r\ndata: extra\r\n\r\ndata: 2\r\n\r\n', 'data: 1\r\n\r\ndata: 2\r\n\r\n'],
    ['with CR', 'data: 1\r\rdata: extra\r\rdata: 2\r\r', 'data: 1\r\rdata: 2\r\r'],
    ['the first, behind a byte order mark', '\xef\xbb\xbfdata: extra\n\ndata: 2\n\n', '\xef\xbb\xbfdata: 2\n\n'],
    ['the last, without its blank line', 'data: 1\n\ndata: extra', 'data: 1\n\n'],
    [
      'all but one that is too large',
      `data: extra\n\n${large.replace('x', 'extra')}data: extra\n\n`,
      large.replace('x', 'extra'),
    ],
  ])('own edits: remove %s', async (_what, input, expected) => {
    expect(await outputOf(input)).toBe(expected);
  });

  it.each([
    ['an event without its blank line', 'data: 1\n\ndata: 2'],
    ['half an event', 'data: 1\n\ndata: {"a'],
    ['events that are too large', `data: 1\n\n${large}data: 2\n\n${large}${large}`],
    ['an event that is too large, and has no end', `data: 1\n\n${large.trim()}`],
    ['what is no event', '\0\xff\n\n\n\r\r\n: x\n\n\nid'],
  ])('own edits: keep every byte of %s', async (_what, input) => {
    expect(await outputOf(input)).toBe(input);
  });

  it('own edits: read on behind what is too large, and what lacks its end', async () => {
    const { edits, seen, unread, closed } = edited();
    edits.write(`data: 1\n\n${large}data: {"a":"${'x'.repeat(100)}"}\n\ndata: 2\n\ndata: 3`);
    edits.end();
    await closed;
    expect(seen).toEqual(['1', expect.stringContaining('{"a":"xx'), '2', '3']);
    expect(unread()).toBe(1);
  });

  it('own edits: pass an event in the tick in which it is whole, and one that is too large without waiting for its end', async () => {
    const { edits, output } = edited();
    edits.write('data: 1\n\ndata');
    await turns(1);
    expect(output).toEqual(['data: 1\n\n']);
    edits.write(`: ${'x'.repeat(200)}`);
    await turns(1);
    edits.write('y');
    await turns(1);
    expect(output).toEqual(['data: 1\n\n', `data: ${'x'.repeat(200)}`, 'y']);
    edits.destroy();
  });

  it.each([
    ['all of it', false, 'data: 1\n\ndata: ext'],
    ['whole events', true, 'data: 1\n\n'],
  ])('own edits: of a stream that broke off, pass %s', async (_what, dropsTail, expected) => {
    expect(await outputOf('data: 1\n\ndata: ext', {}, (edits) => edits.breakOff(dropsTail))).toBe(expected);
  });

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('of the hook');
      },
    ],
    ['rejects', () => Promise.reject(new Error('of the hook'))],
  ])('own edits: give up where isExtra %s, which is logged once, and read on', async (_what, extra) => {
    const { edits, output, seen, logged, closed } = edited({ extra });
    edits.end('data: 1\n\ndata: 2\n\n');
    await closed;
    expect([output, seen, logged]).toEqual([['data: 1\n\ndata: 2\n\n'], ['1', '2'], ['isExtra failed']]);
  });

  it.each(['scanner', 'parser'] as const)('own edits: pass all where the %s of a format throws', async (name) => {
    let calls = 0;
    const failing = () => {
      const work = ndjson[name]() as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        calls += 1;
        if (calls === 3) throw new Error('of the format');
        return work(...args);
      };
    };
    const format = adoptFormat({ ...ndjson, [name]: failing });
    const input = '{"a":1}\n{"extra":1}\n{"b":1}\n{"extra":2}\n';
    for (const chunks of chunkings(Buffer.from(input))) {
      calls = 0;
      const { edits, output, failures, closed } = edited({ format });
      for (const chunk of chunks) edits.write(chunk);
      edits.end();
      await closed;
      expect(output.join('').replace('{"extra":1}\n', '')).toBe(input.replace('{"extra":1}\n', ''));
      expect(failures).toHaveLength(1);
    }
  });
});
