import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { startStandIn } from '../../examples/chat/provider.js';
import { ADDRESS, AddressMask, MASK, maskAddresses } from '../../examples/redact/mask.js';
import type { StreamEvent } from '../../lib/index.js';
import { readText, request } from '../support/clients/http.js';
import { proxyApp } from '../support/servers/proxies.js';
import { upstream } from '../support/servers/upstreams.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

const run = promisify(execFile);
const root = new URL('../..', import.meta.url);

closeAndWatchEachTest();

/** The lines of what an example prints. Fails where it does not exit with 0 by itself. */
async function example(name: string): Promise<string[]> {
  const { stdout } = await run(process.execPath, [`examples/${name}.js`], { cwd: root, timeout: 20_000 });
  return stdout.trimEnd().split('\n');
}

describe('usage.js', () => {
  it('usage.js: prints one line per stream, with the tokens that the stand-in counted', async () => {
    const { chat, messages } = await countedByStandIn({
      max_tokens: 12,
      messages: [{ role: 'user', content: 'Hello' }],
    });
    const lines = (await example('usage')).map((line) => line.split(/ {2,}/));

    expect(lines).toEqual([
      ['request', 'model', 'in', 'out', 'complete', 'first token', 'outcome'],
      [...openai, ...chat, 'yes', milliseconds, 'completed'],
      [...openai, ...chat, 'yes', milliseconds, 'completed'],
      [...anthropic, ...messages, 'yes', milliseconds, 'completed'],
      [...anthropic, messages[0], '1', 'no', milliseconds, 'client-closed'],
      [...openai, '-', '-', 'no', milliseconds, 'client-closed'],
      [...anthropic, messages[0], '1', 'no', milliseconds, 'upstream-truncated'],
    ]);
  }, 30_000);

  const openai = ['/openai/v1/chat/completions', 'gpt-4.1-mini'];
  const anthropic = ['/anthropic/v1/messages', 'claude-haiku-4-5'];
  const milliseconds = expect.stringMatching(/^\d+ ms$/);

  /** Tokens in and out, as each API reports them to a client that asks it directly. */
  async function countedByStandIn(body: object) {
    const standIn = await startStandIn();
    onCleanUp(() => standIn.close());
    const ask = async (path: string, key: Record<string, string>) => {
      const headers = { 'content-type': 'application/json', ...key };
      const response = await fetch(`${standIn.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
      const { usage } = (await response.json()) as { usage: Record<string, number> };
      return usage;
    };
    const chat = await ask('/v1/chat/completions', { authorization: 'Bearer any' });
    const messages = await ask('/v1/messages', { 'x-api-key': 'any' });
    return {
      chat: [`${chat.prompt_tokens}`, `${chat.completion_tokens}`],
      messages: [`${messages.input_tokens}`, `${messages.output_tokens}`],
    };
  }
});

describe('heartbeat.js', () => {
  it('heartbeat.js: shows pings in the silence, and a client that finds all events and nothing else', async () => {
    const lines = await example('heartbeat');
    const wire = lines.filter((line) => / ms {2}"/.test(line)).map((line) => line.replace(/^ *\d+ ms {2}/, ''));
    const firstToken = wire.findIndex((text) => text.includes('Forty'));
    const pings = wire.map((text) => text === '": ping\\n\\n"');

    expect(pings.slice(0, firstToken).filter(Boolean).length).toBeGreaterThanOrEqual(2);
    expect(pings.slice(firstToken).filter(Boolean).length).toBeGreaterThanOrEqual(1);
    expect(lines.slice(lines.indexOf('the events that a client finds in it:') + 1)).toEqual([
      '  {"token":"Forty"}',
      '  {"token":"-two"}',
      '  {"token":"."}',
      '  [DONE]',
    ]);
  }, 30_000);
});

describe('redact.js', () => {
  it('redact.js: shows both streams, and no address in what the client got', async () => {
    const lines = await example('redact');
    const text = (choice: number, who: string) =>
      lines.find((line) => line.startsWith(`choice ${choice}, ${who}:`))?.replace(/^.*?: +/, '');

    expect(text(0, 'the upstream sent')).toBe('Write to maria.lopez@example.org, or see @maria online.');
    expect(text(0, 'the client got')).toBe('Write to [e-mail], or see @maria online.');
    expect(text(1, 'the upstream sent')).toBe('It is js@x.co.uk. Or express@5.3? bob@example.com');
    expect(text(1, 'the client got')).toBe('It is [e-mail]. Or express@5.3? [e-mail]');
    // One row per event: a token that was sent beside the piece that was received.
    expect(lines.filter((line) => /^[01] {7}".*" +".*"$/.test(line))).toHaveLength(30);
  }, 30_000);
});

/** The whole text at once. */
const maskWhole = (text: string) => text.replace(ADDRESS, MASK);

function maskPieces(...pieces: string[]): string {
  const mask = new AddressMask();
  return pieces.map((piece) => mask.push(piece)).join('') + mask.end();
}

/** Every text of up to six of these: all that there is to an address, and what ends one. */
function* texts(): Generator<string> {
  const symbols = ['aa', '.', '@', '1', ' '];
  let longest = [''];
  for (let length = 1; length <= 6; length += 1) {
    longest = longest.flatMap((text) => symbols.map((symbol) => text + symbol));
    yield* longest;
  }
}

/** The text in two pieces, and in three, cut everywhere. */
function* cuts(text: string): Generator<string[]> {
  for (let first = 0; first <= text.length; first += 1) {
    yield [text.slice(0, first), text.slice(first)];
    for (let second = first; second <= text.length; second += 1) {
      yield [text.slice(0, first), text.slice(first, second), text.slice(second)];
    }
  }
}

describe('the mask', () => {
  it.each([
    ['an address', 'bob@example.com', '[e-mail]'],
    ['one in a sentence', 'Ask bob+1@mail.example.co.uk.', 'Ask [e-mail].'],
    ['two in a row', 'a@x.io,b@y.io', '[e-mail],[e-mail]'],
    ['one that is followed by another @', 'a@x.io@y.io', '[e-mail]@y.io'],
    ['one in other letters', '連絡先：bob@example.com。', '連絡先：[e-mail]。'],
    ['a domain that goes on like none', 'bob@x.co.2', '[e-mail].2'],
  ])('redact, the mask: covers %s', (_title, text, expected) => {
    expect(maskWhole(text)).toBe(expected);
    expect(maskPieces(...text)).toBe(expected);
  });

  it.each([
    ['no @', 'Nothing to see here. 3.14, a-b, 日本語 👩🏽‍🚀'],
    ['a handle', 'see @maria, or @maria.lopez'],
    ['a version', 'npm install express@5.3.0 ws@8'],
    ['a lonely @', 'a @ b.com, a@ b.com, a@.com, @'],
    ['the beginning of one', 'it ends with bob@example.'],
  ])('redact, the mask: leaves alone %s', (_title, text) => {
    expect(maskPieces(text)).toBe(text);
    expect(maskPieces(...text)).toBe(text);
  });

  it('redact, the mask: gives what masking the whole text gives, wherever a text is cut in two and in three', () => {
    const sample = 'Hi bob@x.co.uk. (a.b+c@mail.example.org), v@1.2; 👩🏽‍🚀@home.de or@@y.com a@b.cc@d.ee';
    const wrong: string[][] = [];
    for (const pieces of cuts(sample)) if (maskPieces(...pieces) !== maskWhole(sample)) wrong.push(pieces);
    expect(wrong).toEqual([]);
    expect(maskWhole(sample)).toBe('Hi [e-mail]. ([e-mail]), v@1.2; 👩🏽‍🚀@home.de or@@y.com [e-mail]@d.ee');
  });

  it('redact, the mask: does so for every text of the characters that matter', () => {
    const wrong: string[][] = [];
    let masked = 0;
    for (const text of texts()) {
      const expected = maskWhole(text);
      if (expected !== text) masked += 1;
      for (const pieces of cuts(text)) if (maskPieces(...pieces) !== expected) wrong.push(pieces);
    }
    expect(wrong).toEqual([]);
    // Five symbols make 6 addresses, and with one more there are 66 texts that have one.
    expect(masked).toBe(72);
  });

  it('redact, the mask: holds back only what an address may begin with', () => {
    // Whatever is held back is the start of an address, if the right text follows.
    const continuations = ['', 'aa', '.aa', 'a.aa', '@a.aa'];
    const heldForNothing: string[] = [];
    for (const text of texts()) {
      const out = new AddressMask().push(text);
      if (out === maskWhole(text)) continue;
      const isStart = (rest: string) => maskWhole(text + rest).startsWith(out + MASK);
      if (!continuations.some(isStart)) heldForNothing.push(text);
    }
    expect(heldForNothing).toEqual([]);
  });

  it('redact, the mask: lets go of a text as soon as it can be none', () => {
    const mask = new AddressMask();
    expect(['Mail,', 'bob', '@', ' home, ', 'bob@x', '.org', ', or'].map((piece) => mask.push(piece))).toEqual([
      'Mail,',
      '',
      '',
      'bob@ home, ',
      '',
      '',
      '[e-mail], ',
    ]);
    expect(mask.end()).toBe('or');
    expect(mask.end()).toBe('');
  });

  it('redact, the mask: never holds back more than an address can be long', () => {
    const mask = new AddressMask();
    let out = '';
    for (let i = 0; i < 1000; i += 1) out += mask.push('x'.repeat(100));
    expect(out).toHaveLength(100_000 - 64);
    expect(mask.push('@example.com ')).toBe('[e-mail] ');
  });
});

describe('the transform', () => {
  type Choice = { index: number; delta: object; finish_reason: string | null; logprobs?: object };

  const chunk = (...choices: Choice[]) => `data: ${JSON.stringify({ id: 'chatcmpl-1', model: 'm', choices })}\n\n`;
  const token = (content: string, index = 0): Choice => ({ index, delta: { content }, finish_reason: null });
  const stop = (index = 0): Choice => ({ index, delta: {}, finish_reason: 'stop' });
  const done = 'data: [DONE]\n\n';

  async function throughProxy(...events: string[]): Promise<string> {
    const { url: target } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.end(events.join(''));
    });
    const { url } = await proxyApp({ target, transformEvent: maskAddresses });
    return await readText(await request(url));
  }

  it('redact, the transform: keeps the bytes of a stream without addresses', async () => {
    const words = ['Hello, ', '日本, ', '(again) '].map((word) => chunk(token(word)));
    const spaced = 'data:  {"choices": [ {"index":0, "delta":{"content":"!"} } ]}\r\n\r\n';
    const events = [': hi\n\n', ...words, spaced, chunk(stop()), 'data: {"choices":[],"usage":{}}\n\n', done];
    expect(await throughProxy(...events)).toBe(events.join(''));
  });

  it('redact, the transform: masks an address over three tokens, and gives the rest with the last chunk', async () => {
    const sent = [chunk(token('to bob')), chunk(token('@x.')), chunk(token('org')), chunk(stop()), done];
    expect(await throughProxy(...sent)).toBe(
      [
        chunk(token('to ')),
        chunk(token('')),
        chunk(token('')),
        chunk({ index: 0, delta: { content: MASK }, finish_reason: 'stop' }),
        done,
      ].join(''),
    );
  });

  it('redact, the transform: gives the rest in front of [DONE] where no chunk was the last', async () => {
    const sent = [chunk(token('a'), token('bob@x.org', 1), token('', 2)), done];
    expect(await throughProxy(...sent)).toBe(
      [
        chunk(token(''), token('', 1), token('', 2)),
        `data: ${JSON.stringify({
          id: 'chatcmpl-1',
          model: 'm',
          choices: [
            { index: 0, delta: { content: 'a' }, logprobs: null, finish_reason: null },
            { index: 1, delta: { content: MASK }, logprobs: null, finish_reason: null },
          ],
        })}\n\n`,
        done,
      ].join(''),
    );
  });

  it('redact, the transform: does not mix the texts of several choices', async () => {
    const sent = [
      chunk(token('bob', 0)),
      chunk(token('@x.org', 1)),
      chunk(token(' 1', 0), token(' 2', 1)),
      chunk(stop(0)),
      chunk(stop(1)),
      done,
    ];
    const received = await throughProxy(...sent);
    const texts = ['', ''];
    for (const [, data = ''] of received.matchAll(/^data: (\{.*)$/gm)) {
      for (const { index, delta } of JSON.parse(data).choices) texts[index] += delta.content ?? '';
    }
    expect(texts).toEqual(['bob 1', '@x.org 2']);
  });

  it('redact, the transform: takes out the log probabilities, which repeat the tokens', async () => {
    const sent = chunk({ ...token('bob@x.org '), logprobs: { content: [{ token: 'bob@x.org ' }] } });
    expect(await throughProxy(sent, done)).not.toContain('bob');
  });

  it.each(['null', '7', 'no JSON', '{"error":{"message":"overloaded"}}'])(
    'redact, the transform: leaves alone an event of %s',
    (data) => {
      const event: StreamEvent = {
        data,
        json<T>(): T | undefined {
          return data === 'no JSON' ? undefined : JSON.parse(data);
        },
      };
      const exchange = { locals: {} } as Parameters<typeof maskAddresses>[1];
      expect(maskAddresses(event, exchange)).toBe(event);
      expect(event.data).toBe(data);
    },
  );
});
