import { describe, expect, it } from '@jest/globals';
import { EventTooLarge } from '../../../lib/events/event-reader.js';
import { EventTransformer, type EventTransformerHooks } from '../../../lib/events/event-transformer.js';
import type { EventFormat, ParsedEvent } from '../../../lib/formats/format.js';
import { json } from '../../../lib/formats/json.js';
import { ndjson } from '../../../lib/formats/ndjson.js';
import { sse } from '../../../lib/formats/sse.js';
import type { EventFields, TransformResult } from '../../../lib/types/hooks.js';
import { chunkings, fieldsOf, formatOf, STREAMS } from '../../support/streams/event-streams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { type Signal, signal, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const MB = 1024 * 1024;

type Hook = EventTransformerHooks['transform'];

const identity: Hook = (event) => event;

interface Transformed {
  transformer: EventTransformer;
  /** What came out. */
  chunks: string[];
  /** The data of the events in each chunk that came out. */
  sent: string[][];
  /** Resolves with what it failed with, if it did. */
  closed: Promise<Error | undefined>;
  write(text: string): void;
}

interface Options {
  format?: EventFormat;
  limit?: number;
  received?: (event: ParsedEvent) => void;
  collectsSent?: boolean;
}

function transformed(
  transform: Hook,
  { format = sse, limit = MB, received, collectsSent = true }: Options = {},
): Transformed {
  const transformer = new EventTransformer(format, limit, { transform, received, collectsSent });
  const chunks: string[] = [];
  const sent: string[][] = [];
  transformer.on('data', (chunk: Buffer) => {
    chunks.push(chunk.toString());
    sent.push(transformer.takeSent().map(({ data }) => data));
  });
  let failure: Error | undefined;
  let failures = 0;
  transformer.on('error', (error) => {
    failure = error;
    failures += 1;
  });
  const closed = new Promise<Error | undefined>((resolve) => {
    transformer.once('close', () => {
      expect(failures).toBeLessThanOrEqual(1);
      resolve(failure);
    });
  });
  onCleanUp(() => {
    transformer.destroy();
  });
  return { transformer, chunks, sent, closed, write: (text) => void transformer.write(Buffer.from(text)) };
}

/** All that comes of a whole stream, cut at any place. */
async function outputOf(transform: Hook, input: string, options: Options = {}): Promise<string> {
  const outputs: string[] = [];
  for (const chunks of chunkings(Buffer.from(input))) {
    const run = transformed(transform, options);
    for (const chunk of chunks) run.transformer.write(chunk);
    run.transformer.end();
    expect(await run.closed).toBeUndefined();
    outputs.push(run.chunks.join(''));
  }
  for (const output of outputs) expect(output).toBe(outputs[0]);
  return outputs[0] ?? '';
}

/** What a stream of these bytes in one chunk fails with, and what comes out before. */
async function failureOf(
  transform: Hook,
  input: string,
  options: Options = {},
): Promise<{ error: Error | undefined; output: string }> {
  const run = transformed(transform, options);
  run.write(input);
  return { error: await run.closed, output: run.chunks.join('') };
}

/** As plain JavaScript may return it. */
const returning =
  (value: unknown): Hook =>
  () =>
    value as TransformResult;

describe.each([
  ['sync', identity],
  ['async', async (event: ParsedEvent) => event],
  ['one that returns nothing', () => undefined],
] as const)('an identity (%s)', (_kind, transform) => {
  const streams = STREAMS.filter((fixture) => formatOf(fixture).encode !== undefined);
  const unfinished = 'data: not finis';

  it.each(streams.map((fixture) => [fixture.name, fixture] as const))(
    'event transformer, identity: keeps the bytes of %s',
    async (_name, fixture) => {
      const format = formatOf(fixture);
      const { bytes } = fixture;
      // What is no event, and will not become one, is for nobody.
      const expected = bytes.toString('latin1').endsWith(unfinished) ? bytes.subarray(0, -unfinished.length) : bytes;
      for (const chunks of chunkings(bytes)) {
        const transformer = new EventTransformer(format, MB, { transform, collectsSent: false });
        for (const chunk of chunks) transformer.write(chunk);
        transformer.end();
        expect(Buffer.concat(await transformer.toArray()).equals(expected)).toBe(true);
      }
    },
  );
});

describe('the bytes of an event', () => {
  const odd = 'id:7\r\n:c\r\ndata:1\rdata:  2\nfoo: bar\n\r\n';

  it('event transformer: the bytes of an event are kept, however it is written, by an event that says the same', async () => {
    const results: Hook[] = [
      identity,
      (event) => ({ ...fieldsOf(event) }),
      (event) => [event],
      () => ({ data: '1\n 2', id: '7', comment: 'c' }),
      (event) => {
        event.data = 'other';
        event.data = '1\n 2';
        return undefined;
      },
    ];
    for (const transform of results) expect(await outputOf(transform, odd)).toBe(odd);
  });

  it.each([
    ['data', 'x', 'id: 7\ndata: x\n\n', ': c\n'],
    ['comment', 'x', 'id: 7\ndata: 1\ndata:  2\n\n', ': x\n'],
    ['comment', undefined, 'id: 7\ndata: 1\ndata:  2\n\n', ''],
    ['event', 'x', 'event: x\nid: 7\ndata: 1\ndata:  2\n\n', ': c\n'],
    ['id', undefined, 'data: 1\ndata:  2\n\n', ': c\n'],
    ['retry', 5, 'id: 7\nretry: 5\ndata: 1\ndata:  2\n\n', ': c\n'],
  ])(
    'event transformer: the bytes of an event are new where its %s was changed to %p, and all else in it stays',
    async (name, value, rest, comment) => {
      const transform: Hook = (event) => {
        Object.assign(event, { [name]: value });
        return undefined;
      };
      expect(await outputOf(transform, odd)).toBe(comment + rest);
    },
  );

  it('event transformer: the bytes of an event are kept around one that was changed', async () => {
    const input = 'data:1\r\n\r\n: ping\r\rretry:5\n\ndata:2\n\n\ndata:3\r\r';
    const output = await outputOf((event) => (event.data === '2' ? { data: 'two' } : event), input);
    expect(output).toBe('data:1\r\n\r\n: ping\r\rretry:5\n\ndata: two\n\n\ndata:3\r\r');
  });

  it('event transformer: the bytes of an event may be written again where the upstream sends a retry of more digits than a number has', async () => {
    const input = 'retry: 99999999999999999999\ndata: 1\n\n';
    expect(await outputOf(identity, input)).toBe(input);
    expect(await outputOf(() => ({ data: '2' }), input)).toBe('data: 2\n\n');
    const edit: Hook = (event) => {
      event.data = '2';
      return undefined;
    };
    expect(await outputOf(edit, input)).toBe('data: 2\n\n');
  });

  it('event transformer: the bytes of an event may be there twice, and between others', async () => {
    const transform: Hook = (event) => [{ data: 'a' }, event, { data: 'b' }, event];
    expect(await outputOf(transform, 'data:1\r\r')).toBe('data: a\n\ndata:1\r\rdata: b\n\ndata:1\r\r');
  });
});

it('event transformer: the LF of a CRLF goes where its CR went, also where it came by itself', async () => {
  const input = 'data: 1\r\n\r\ndata: 2\r\n\r\n\ndata: 3\r\n\r\n';
  expect(await outputOf(({ data }) => (data === '2' ? null : undefined), input)).toBe(
    'data: 1\r\n\r\n\ndata: 3\r\n\r\n',
  );
  expect(await outputOf(({ data }) => (data === '2' ? { data: 'two' } : undefined), input)).toBe(
    'data: 1\r\n\r\ndata: two\n\n\ndata: 3\r\n\r\n',
  );
});

describe('in the place of an event', () => {
  it.each([
    ['none', null, ''],
    ['none', [], ''],
    ['another', { data: 'x', event: 'e' }, 'event: e\ndata: x\n\n'],
    ['one of several lines', { data: 'a\r\nb\rc\n' }, 'data: a\ndata: b\ndata: c\ndata: \n\n'],
    ['a comment', { comment: 'x' }, ': x\n\n'],
    ['several', [{ data: 'x' }, { retry: 5 }, { data: 'y' }], 'data: x\n\nretry: 5\n\ndata: y\n\n'],
  ])('event transformer: in the place of an event comes %s', async (_what, result, expected) => {
    const input = 'data: 0\n\ndata: 1\n\ndata: 2\n\n';
    const transform = (event: ParsedEvent): TransformResult => (event.data === '1' ? result : event);
    const output = `data: 0\n\n${expected}data: 2\n\n`;
    expect(await outputOf(transform, input)).toBe(output);
    expect(await outputOf(async (event) => transform(event), input)).toBe(output);
  });

  it('event transformer: in the place of an event comes what fits what was seen before: state may span events', async () => {
    let held = '';
    const transform: Hook = ({ data }) => {
      held += data;
      if (data !== '.') return null;
      const whole = held;
      held = '';
      return { data: whole };
    };
    expect(await outputOf(transform, 'data: a\n\ndata: b\n\ndata: .\n\ndata: c\n\ndata: .\n\n')).toBe(
      'data: ab.\n\ndata: c.\n\n',
    );
  });
});

describe('a promise', () => {
  /** A transform that waits for the test, event by event. */
  function waiting(): { hook: Hook; calls: string[]; answers: Signal<TransformResult>[] } {
    const calls: string[] = [];
    const answers: Signal<TransformResult>[] = [];
    const hook: Hook = ({ data }) => {
      if (data.startsWith('sync')) return undefined;
      calls.push(data);
      const answer = signal<TransformResult>();
      answers.push(answer);
      return answer.promise;
    };
    return { hook, calls, answers };
  }

  it('event transformer: a promise holds back what comes after it, but not what came before it', async () => {
    const { hook, calls, answers } = waiting();
    const run = transformed(hook);
    run.write('data: sync 1\n\n: c\n\ndata: slow\n\ndata: sync 2\n\ndata: slower\n\n');
    run.write('data: sync 3\n\n');
    expect(run.chunks).toEqual(['data: sync 1\n\n: c\n\n']);
    await turns();
    expect(run.chunks).toHaveLength(1);
    answers[0]?.resolve({ data: 'done' });
    await turns();
    expect(run.chunks.slice(1)).toEqual(['data: done\n\ndata: sync 2\n\n']);
    expect(calls).toEqual(['slow', 'slower']);
    answers[1]?.resolve(null);
    run.transformer.end();
    expect(await run.closed).toBeUndefined();
    expect(run.chunks.slice(2)).toEqual(['data: sync 3\n\n']);
  });

  it('event transformer: a promise is waited for before the next event is asked about, also where the next would be faster', async () => {
    const { hook, calls, answers } = waiting();
    const run = transformed(hook);
    run.write('data: 1\n\ndata: 2\n\ndata: 3\n\n');
    for (const data of ['1', '2', '3']) {
      await turns();
      expect(calls.at(-1)).toBe(data);
      answers.at(-1)?.resolve(undefined);
    }
    run.transformer.end();
    expect(await run.closed).toBeUndefined();
    expect(run.chunks.join('')).toBe('data: 1\n\ndata: 2\n\ndata: 3\n\n');
  });

  it('event transformer: a promise holds up whoever writes, so that nothing piles up in front of it', () => {
    const { hook } = waiting();
    const run = transformed(hook);
    const event = Buffer.from(`data: ${'x'.repeat(1000)}\n\n`);
    let written = 0;
    while (written < 1000 && run.transformer.write(event)) written += 1;
    expect(written * event.length).toBeLessThanOrEqual(run.transformer.writableHighWaterMark);
  });

  it('event transformer: a promise of a stream that was destroyed meanwhile is for nobody, whether it is fulfilled', async () => {
    const { hook, answers } = waiting();
    const run = transformed(hook);
    run.write('data: 1\n\ndata: 2\n\n');
    run.transformer.destroy();
    expect(await run.closed).toBeUndefined();
    answers[0]?.resolve({ data: 'late' });
    await turns();
    expect(run.chunks).toEqual([]);
    expect(answers).toHaveLength(1);
  });

  it('event transformer: a promise of a stream that was destroyed meanwhile is for nobody, also where it is rejected', async () => {
    const answer = signal();
    const run = transformed(async () => {
      await answer.promise;
      throw new Error('late');
    });
    run.write('data: 1\n\n');
    run.transformer.destroy();
    expect(await run.closed).toBeUndefined();
    answer.resolve();
    await turns();
    expect(run.chunks).toEqual([]);
  });

  it('event transformer: a promise may be any object with a `then`', async () => {
    // biome-ignore lint/suspicious/noThenProperty: what it is about
    const thenable = { then: (resolve: (value: TransformResult) => void) => resolve({ data: 'x' }) };
    expect(await outputOf(returning(thenable), 'data: 1\n\n')).toBe('data: x\n\n');
  });
});

describe('fails the stream, with what was sent before it left', () => {
  const input = 'data: 1\n\ndata: 2\n\ndata: 3\n\n';
  const broken = new Error('broken');
  const at =
    (data: string, hook: Hook): Hook =>
    (event) =>
      event.data === data ? hook(event) : event;

  it.each<[string, Hook]>([
    [
      'a hook that throws',
      () => {
        throw broken;
      },
    ],
    ['a hook that rejects', () => Promise.reject(broken)],
  ])('event transformer: what fails the stream: %s', async (_what, hook) => {
    const { error, output } = await failureOf(at('2', hook), input);
    expect(error).toBe(broken);
    expect(output).toBe('data: 1\n\n');
  });

  it.each<[unknown, string]>([
    ['data: x', 'string'],
    [5, 'number'],
    [false, 'boolean'],
    [['x'], 'an array with string'],
    [[{ data: '1' }, null], 'an array with null'],
    [[[{ data: '1' }]], 'an array with object'],
    [() => null, 'function'],
  ])('event transformer: what fails the stream: a hook that returns %p', async (value, got) => {
    const message = `transformEvent must return an event, an array of events or null, got ${got}`;
    for (const hook of [returning(value), returning(Promise.resolve(value))]) {
      const { error, output } = await failureOf(at('2', hook), input);
      expect(error).toEqual(new TypeError(message));
      expect(output).not.toContain('data: 3');
    }
  });

  it.each<[unknown, string]>([
    [{ data: { a: 1 } }, '`data` of an event must be a string, got object. Write it with JSON.stringify()'],
    [{ data: '1', event: 'a\nb' }, '`event` of an event must not have line breaks'],
    [{ data: '1', id: '\0' }, '`id` of an event must not have NUL in it'],
    [{ retry: -5 }, '`retry` of an event must be a whole number of milliseconds, 0 or more'],
  ])('event transformer: what fails the stream: an event that cannot be written: %j', async (value, message) => {
    for (const hook of [returning(value), returning(Promise.resolve(value))]) {
      const { error, output } = await failureOf(at('2', hook), input);
      expect(error).toEqual(new TypeError(message));
      expect(output).toBe('data: 1\n\n');
    }
  });

  it('event transformer: what fails the stream: an event that is too large', async () => {
    const { error, output } = await failureOf(identity, `data: 1\n\ndata: ${'x'.repeat(100)}\n\n`, { limit: 50 });
    expect(error).toEqual(new EventTooLarge(50));
    expect(output).toBe('data: 1\n\n');
  });

  it('event transformer: what fails the stream: an event that is too large and not there to its end', async () => {
    const { error, output } = await failureOf(identity, `data: 1\n\ndata: ${'x'.repeat(100)}`, { limit: 50 });
    expect(error).toEqual(new EventTooLarge(50));
    expect(output).toBe('data: 1\n\n');
  });

  it('event transformer: what fails the stream: an event that is too large behind a promise', async () => {
    const { error, output } = await failureOf(async (event) => event, `data: 1\n\ndata: ${'x'.repeat(100)}`, {
      limit: 50,
    });
    expect(error).toEqual(new EventTooLarge(50));
    expect(output).toBe('data: 1\n\n');
  });

  it('event transformer: what fails the stream: a last line that is refused', async () => {
    const run = transformed(() => Promise.reject(broken), { format: ndjson });
    run.write('{"a":1}');
    run.transformer.end();
    expect(await run.closed).toBe(broken);
    expect(run.chunks).toEqual([]);
  });
});

describe('a byte order mark', () => {
  const input = '\ufeffdata: 1\n\ndata: 2\n\n';

  it.each<[string, Hook, string]>([
    ['is inserted', (event) => (event.data === '1' ? [{ data: '0' }, event] : event), 'data: 0\n\ndata: 1\n\n'],
    ['was changed', (event) => (event.data === '1' ? { data: 'x' } : event), 'data: x\n\n'],
    ['was dropped', (event) => (event.data === '1' ? null : event), ''],
    ['comes late', async (event) => (event.data === '1' ? [{ data: '0' }, event] : event), 'data: 0\n\ndata: 1\n\n'],
  ])(
    'event transformer: a byte order mark stays first where an event at the start %s',
    async (_what, transform, expected) => {
      expect(await outputOf(transform, input)).toBe(`\ufeff${expected}data: 2\n\n`);
    },
  );

  it('event transformer: a byte order mark is one at the start only: elsewhere it belongs to the event', async () => {
    const text = 'data: 1\n\n\ufefffoo\ndata: 2\n\ndata: \ufeff3\n\n';
    expect(await outputOf((event) => [{ comment: 'x' }, event], text)).toBe(
      ': x\n\ndata: 1\n\n: x\n\n\ufefffoo\ndata: 2\n\n: x\n\ndata: \ufeff3\n\n',
    );
  });

  it('event transformer: a byte order mark stays first in NDJSON, too', async () => {
    const transform: Hook = (event) => [{ data: '{}' }, event];
    expect(await outputOf(transform, '\ufeff{"a":1}\n', { format: ndjson })).toBe('\ufeff{}\n{"a":1}\n');
  });
});

describe('received', () => {
  it('event transformer, received: is told of each event as it came, whatever becomes of it', async () => {
    const received: ParsedEvent[] = [];
    const run = transformed(
      (event) => {
        event.data = 'changed';
        return null;
      },
      { received: (event) => received.push(event) },
    );
    run.write(': c\n\nid: 5\ndata: 1\n\ndata: 2\n\n');
    run.transformer.end();
    await run.closed;
    expect(received.map(({ id, data }) => ({ id, data }))).toEqual([
      { id: '5', data: '1' },
      { id: undefined, data: '2' },
    ]);
  });
});

describe('takeSent', () => {
  it('event transformer, takeSent: has the events of each chunk that came out', async () => {
    const run = transformed(({ data }): TransformResult | Promise<TransformResult> => {
      if (data === 'drop') return null;
      if (data === 'two') return [{ data: 'a' }, { comment: 'c' }, { data: 'b' }];
      if (data === 'late') return Promise.resolve({ data: 'in time' });
      return undefined;
    });
    run.write(': ping\n\n');
    run.write('data: 1\n\ndata: drop\n\ndata: 2\n\nda');
    run.write('ta: drop\n\n');
    run.write('data: two\n\ndata: late\n\ndata: 3\n\n');
    run.transformer.end();
    expect(await run.closed).toBeUndefined();
    expect(run.chunks).toEqual([
      ': ping\n\n',
      'data: 1\n\ndata: 2\n\n',
      'data: a\n\n: c\n\ndata: b\n\n',
      'data: in time\n\ndata: 3\n\n',
    ]);
    expect(run.sent).toEqual([[], ['1', '2'], ['a', 'b'], ['in time', '3']]);
  });

  it('event transformer, takeSent: has them also where the chunks were read later than they came', async () => {
    const run = transformed(identity);
    run.transformer.pause();
    const chunks = ['data: 1\n\n', ': ping\n\n', 'data: 2\n\n', 'data: 3\n\ndata: 4\n\n'];
    for (const chunk of chunks) run.write(chunk);
    run.transformer.end();
    await turns();
    expect(run.chunks).toEqual([]);
    run.transformer.resume();
    expect(await run.closed).toBeUndefined();
    expect(run.chunks).toEqual(chunks);
    expect(run.sent).toEqual([['1'], [], ['2'], ['3', '4']]);
  });

  it('event transformer, takeSent: has them as they were sent: unchanged where the bytes are', async () => {
    const transformer = new EventTransformer(sse, MB, {
      transform: (event) => [event, { data: 'new', event: 'e', id: 'i', retry: 5, comment: 'c' }],
      collectsSent: true,
    });
    transformer.write('id: 1\ndata: {"a":1}\n\n');
    const sent = transformer.takeSent();
    expect(sent.map(fieldsOf)).toEqual([
      { data: '{"a":1}', id: '1', event: undefined, retry: undefined, comment: undefined },
      { data: 'new', event: 'e', id: 'i', retry: 5, comment: 'c' },
    ]);
    expect(sent[0]?.json()).toEqual({ a: 1 });
    transformer.destroy();
  });

  it('event transformer, takeSent: has no event that was not sent: NDJSON cannot express empty data', async () => {
    const run = transformed(({ data }) => [{ data }, { data: '' }], { format: ndjson });
    run.write('1\n');
    expect(run.chunks).toEqual(['1\n']);
    expect(run.sent).toEqual([['1']]);
  });

  it('event transformer, takeSent: has nothing, and keeps nothing, where it is not to be used', () => {
    const run = transformed(identity, { collectsSent: false });
    run.write('data: 1\n\n');
    expect(run.chunks).toEqual(['data: 1\n\n']);
    expect(run.sent).toEqual([[]]);
  });
});

describe('the end', () => {
  it('event transformer: the end leaves out what is half an event: nobody has decided on it', async () => {
    const calls: string[] = [];
    const transform: Hook = ({ data }) => {
      calls.push(data);
      return undefined;
    };
    const run = transformed(transform);
    run.write('data: 1\n\ndata: secr');
    run.transformer.end();
    await run.closed;
    expect(run.chunks).toEqual(['data: 1\n\n']);
    expect(calls).toEqual(['1']);
  });

  it('event transformer: the end of an empty stream is one', async () => {
    const run = transformed(identity);
    run.transformer.end();
    expect(await run.closed).toBeUndefined();
    expect(run.chunks).toEqual([]);
  });

  it('event transformer: the end keeps the LF of a CRLF that came by itself, and at once', async () => {
    const run = transformed(identity);
    run.write('data: 1\r\n\r');
    run.write('\n');
    expect(run.chunks).toEqual(['data: 1\r\n\r', '\n']);
    run.write('data: 2\r\n\r');
    run.write('\n');
    run.transformer.end();
    expect(await run.closed).toBeUndefined();
    expect(run.chunks.join('')).toBe('data: 1\r\n\r\ndata: 2\r\n\r\n');
  });

  describe('of NDJSON', () => {
    const input = '{"a":1}\n{"b":2}';

    it.each<[string, Hook, string]>([
      ['keeps a last line without its line end', identity, input],
      ['keeps it behind an event that was inserted', (event) => [{ data: '{}' }, event], '{}\n{"a":1}\n{}\n{"b":2}'],
      ['ends it where an event follows', (event) => [event, { data: '{}' }], '{"a":1}\n{}\n{"b":2}\n{}\n'],
      ['ends it where it was changed', (event) => (event.data === '{"b":2}' ? { data: '3' } : event), '{"a":1}\n3\n'],
      ['leaves it out where it was dropped', (event) => (event.data === '{"b":2}' ? null : event), '{"a":1}\n'],
    ])('event transformer: the end of NDJSON: %s', async (_what, transform, expected) => {
      expect(await outputOf(transform, input, { format: ndjson })).toBe(expected);
      expect(await outputOf(async (event) => transform(event), input, { format: ndjson })).toBe(expected);
    });

    it('event transformer: the end of NDJSON: keeps white space behind the last line', async () => {
      expect(await outputOf(identity, '1\n \t', { format: ndjson })).toBe('1\n \t');
    });
  });

  describe('that is none, since the upstream broke off', () => {
    it('event transformer, truncation: leaves out a last line that may be half a line', async () => {
      const calls: string[] = [];
      const transform: Hook = ({ data }) => {
        calls.push(data);
        return undefined;
      };
      const run = transformed(transform, { format: ndjson });
      run.write('1\n2');
      run.transformer.breakOff();
      run.transformer.end();
      expect(await run.closed).toBeUndefined();
      expect(run.chunks).toEqual(['1\n']);
      expect(calls).toEqual(['1']);
    });

    it('event transformer, truncation: still sends what a promise decides late', async () => {
      const answer = signal<EventFields>();
      const run = transformed(({ data }) => (data === '1' ? answer.promise : undefined));
      run.write('data: 1\n\ndata: 2\n\ndata: 3');
      run.transformer.breakOff();
      run.transformer.end();
      answer.resolve({ data: 'late' });
      expect(await run.closed).toBeUndefined();
      expect(run.chunks.join('')).toBe('data: late\n\ndata: 2\n\n');
    });
  });
});

it('event transformer: needs a format that can write a single event', () => {
  expect(() => new EventTransformer(json, MB, { transform: identity, collectsSent: false })).toThrow(TypeError);
});
