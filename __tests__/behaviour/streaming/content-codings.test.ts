/** Content codings (RFC 9110 8.4) of responses: those that are none, those that nobody knows, and bodies that are cut. */
import zlib from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { openai } from '../../../lib/providers/index.js';
import { proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { manualUpstream, upstream } from '../../support/servers/upstreams.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { signal } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const KEY = 'sk-secret-key-1234567890';
const USAGE = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };
const ANSWER = JSON.stringify({
  model: 'm',
  choices: [{ message: { content: 'hi' }, finish_reason: 'stop' }],
  usage: USAGE,
});
const event = (fields: object): string => `data: ${JSON.stringify(fields)}\n\n`;
const CHUNK = event({ model: 'm', choices: [{ delta: { content: 'hi' } }] });
const LAST = event({ model: 'm', choices: [], usage: USAGE });
const DONE = 'data: [DONE]\n\n';

/** What is sent by people who mean "do not compress this", or who take the field for another one. */
const NO_CODINGS = [
  'none',
  'utf-8',
  'UTF8',
  'chunked',
  'binary',
  '8bit',
  'identity, identity',
  'none, identity',
  'text/plain',
];

describe.each(VERSIONS)('a Content-Encoding that names no coding, to a client of %s', (version) => {
  it.each(NO_CODINGS)(
    'Content-Encoding that names no coding: %s: the stream is read, transformed and kept alive',
    async (coding) => {
      const { url, requests } = await manualUpstream();
      const { ask, summary } = await proxyIn(version, {
        target: url,
        provider: openai({ apiKey: KEY }),
        transformEvent: (read) => ({ ...read, data: read.data.replace('hi', 'ho') }),
        heartbeat: { interval: 20 },
        onUsage: () => {},
      });
      const asked = ask({ path: '/v1/chat/completions' });
      const { res } = await requests.next();
      res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': coding });
      res.write(CHUNK);
      const answer = await asked;
      expect(answer.status).toBe(200);
      await answer.until(': ping\n\n');
      res.end(LAST + DONE);
      expect((await answer.ended()).text).toContain('"ho"');
      expect(await summary()).toMatchObject({ outcome: 'completed', usage: { inputTokens: 3, outputTokens: 4 } });
    },
  );

  it.each(NO_CODINGS)('Content-Encoding that names no coding: %s: usage is read from JSON', async (coding) => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': coding }).end(ANSWER);
    });
    const { ask, summary } = await proxyIn(version, {
      target: url,
      provider: openai({ apiKey: KEY }),
      onUsage: () => {},
    });
    expect(await (await ask()).ended()).toEqual({ text: ANSWER, cut: false });
    expect(await summary()).toMatchObject({ usage: { inputTokens: 3, outputTokens: 4 } });
  });

  it.each(NO_CODINGS)(
    'Content-Encoding that names no coding: %s: an error keeps status, Retry-After and body, without the key',
    async (coding) => {
      const { url } = await upstream((_req, res) => {
        res.writeHead(429, { 'retry-after': '7', 'content-encoding': coding }).end(`slow down, ${KEY}`);
      });
      const { ask } = await proxyIn(version, { target: url, provider: openai({ apiKey: KEY }) });
      const answer = await ask();
      expect([answer.status, answer.headers['retry-after']]).toEqual([429, '7']);
      expect((await answer.ended()).text).toBe(`slow down, ${'*'.repeat(KEY.length)}`);
    },
  );
});

describe.each(VERSIONS)('a content coding that nobody knows, to a client of %s', (version) => {
  it('unknown content coding: costs an error neither its status nor Retry-After; a body that may hold the key is withheld, and that is logged', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(429, { 'retry-after': '7', 'content-encoding': 'unheard-of' }).end(`slow down, ${KEY}`);
    });
    const { logger, errors } = logbook();
    const { ask, summary } = await proxyIn(version, { logger, target: url, provider: openai({ apiKey: KEY }) });
    const answer = await ask();
    expect([answer.status, answer.headers['retry-after']]).toEqual([429, '7']);
    expect(answer.headers['content-encoding']).toBeUndefined();
    expect(await answer.ended()).toEqual({ text: '', cut: false });
    expect(await summary()).toMatchObject({ outcome: 'completed', statusCode: 429 });
    expect(errors).toEqual([expect.stringContaining('"unheard-of"')]);
  });

  it('unknown content coding: keeps the target of a redirect', async () => {
    const { url } = await upstream((_req, res) => {
      res.writeHead(307, { location: 'https://there.example/', 'content-encoding': 'gzip, br' }).end('there');
    });
    const { ask } = await proxyIn(version, { target: url, provider: openai({ apiKey: KEY }) });
    const answer = await ask();
    expect([answer.status, answer.headers.location]).toEqual([307, 'https://there.example/']);
    expect((await answer.ended()).text).toBe('');
  });

  it('unknown content coding: keeps nobody from trying again', async () => {
    let count = 0;
    const { url } = await upstream((_req, res) => {
      count += 1;
      if (count === 1) res.writeHead(503, { 'content-encoding': 'unheard-of' }).end('later');
      else res.end('fine');
    });
    const { ask } = await proxyIn(version, {
      target: url,
      provider: openai({ apiKey: KEY }),
      retry: { minTimeout: 1 },
    });
    const answer = await ask();
    expect([answer.status, (await answer.ended()).text]).toEqual([200, 'fine']);
  });

  it('unknown content coding: an event stream that is an error keeps its status and Retry-After, although it cannot be transformed', async () => {
    const { url } = await upstream((_req, res) => {
      const head = { 'content-type': 'text/event-stream', 'retry-after': '7', 'content-encoding': 'unheard-of' };
      res.writeHead(429, head).end('data: slow down\n\n');
    });
    const { ask } = await proxyIn(version, { target: url, transformEvent: (read) => read });
    const answer = await ask();
    expect([answer.status, answer.headers['retry-after']]).toEqual([429, '7']);
    expect(JSON.parse((await answer.ended()).text)).toMatchObject({ error: { code: 'EVENTS_UNREADABLE' } });
  });
});

interface Coding {
  coding: string;
  encoder: () => zlib.Gzip | zlib.Deflate | zlib.DeflateRaw | zlib.BrotliCompress;
}
const CODINGS: [string, Coding][] = [
  ['gzip', { coding: 'gzip', encoder: () => zlib.createGzip() }],
  ['deflate', { coding: 'deflate', encoder: () => zlib.createDeflate() }],
  ['raw deflate', { coding: 'deflate', encoder: () => zlib.createDeflateRaw() }],
  ['br', { coding: 'br', encoder: () => zlib.createBrotliCompress() }],
];
if (Number.parseInt(process.versions.node, 10) >= 24) {
  CODINGS.push(['zstd', { coding: 'zstd', encoder: () => zlib.createZstdCompress() as unknown as zlib.Gzip }]);
}

/** The bytes of each text, so that all of it can be decoded when they have come. */
async function encodeEach({ encoder }: Coding, texts: readonly string[]): Promise<Buffer[]> {
  const stream = encoder();
  const parts: Buffer[] = [];
  for (const text of texts) {
    const chunks: Buffer[] = [];
    const onData = (chunk: Buffer): void => void chunks.push(chunk);
    stream.on('data', onData);
    stream.write(text);
    await new Promise<void>((resolve) => stream.flush(() => resolve()));
    stream.removeListener('data', onData);
    parts.push(Buffer.concat(chunks));
  }
  stream.destroy();
  return parts;
}

describe.each(CODINGS)('a stream in %s', (_name, coding) => {
  const head = { 'content-type': 'text/event-stream', 'content-encoding': coding.coding };

  describe.each(VERSIONS)('to a client of %s', (version) => {
    it.each([
      ['that needs it decoded', 'identity'],
      ['that decodes it', coding.coding],
    ])(
      'compressed stream: %s: nothing that arrived is lost where it is cut behind a whole chunk',
      async (_client, accepted) => {
        const texts = [CHUNK, CHUNK, LAST];
        const parts = await encodeEach(coding, texts);
        const { url } = await upstream((_req, res) => {
          res.writeHead(200, head);
          // In one segment with the end of the connection, as a cut comes most often.
          res.socket?.cork();
          for (const part of parts) res.write(part);
          res.socket?.end();
          res.socket?.uncork();
        });
        const { ask, summary } = await proxyIn(version, {
          target: url,
          provider: openai({ apiKey: KEY }),
          truncation: 'destroy',
          onUsage: () => {},
        });
        const answer = await ask({ headers: { 'accept-encoding': accepted } });
        const { text, cut } = await answer.ended();
        expect(cut).toBe(true);
        if (accepted === 'identity') expect(text).toBe(texts.join(''));
        expect(await summary()).toMatchObject({
          outcome: 'upstream-truncated',
          usage: { inputTokens: 3, outputTokens: 4 },
        });
      },
    );

    it('compressed stream to a client that decodes it and leaves: what it was sent is in the account', async () => {
      const [first = Buffer.alloc(0), last = Buffer.alloc(0)] = await encodeEach(coding, [CHUNK, LAST]);
      const seen = signal();
      const { url, requests } = await manualUpstream();
      const { ask, summary } = await proxyIn(version, {
        target: url,
        provider: openai({ apiKey: KEY }),
        onUsage: () => {},
      });
      const asked = ask({ headers: { 'accept-encoding': coding.coding } });
      const { res } = await requests.next();
      res.writeHead(200, head).write(first);
      const answer = await asked;
      void answer.until(last.toString('latin1').slice(0, 4)).then(() => seen.resolve());
      res.write(last);
      await seen.promise;
      answer.leave();
      expect(await summary()).toMatchObject({ outcome: 'client-closed', usage: { inputTokens: 3, outputTokens: 4 } });
    });
  });

  it('compressed stream: a stream that is an answer without an end of its coding is no whole one', async () => {
    const parts = await encodeEach(coding, [CHUNK]);
    const { url } = await upstream((_req, res) => void res.writeHead(200, head).end(Buffer.concat(parts)));
    const { ask, summary } = await proxyIn('HTTP/1.1', { target: url, transformEvent: (read) => read });
    expect(await (await ask()).ended()).toEqual({ text: CHUNK, cut: true });
    expect(await summary()).toMatchObject({ outcome: 'upstream-truncated' });
  });

  it('compressed stream: a stream is decoded to its end for a client that does not read for a while', async () => {
    const text = event({ text: 'x'.repeat(3_000_000) });
    const { url } = await upstream((_req, res) => {
      const encoder = coding.encoder();
      encoder.pipe(res.writeHead(200, head));
      encoder.end(text);
    });
    const { ask } = await proxyIn('HTTP/1.1', { target: url, onEvent: () => {}, limits: { eventSize: '4mb' } });
    expect((await (await ask()).ended()).text).toBe(text);
  });
});

describe.each(CODINGS)('JSON in %s', (_name, coding) => {
  it('compressed JSON: JSON that has several hundred KB and comes at once is read for its usage', async () => {
    const noise = Array.from({ length: 40_000 }, (_, i) => Math.sin(i).toString(36)).join('');
    const text = JSON.stringify({ ...JSON.parse(ANSWER), noise });
    const encoder = coding.encoder();
    encoder.end(text);
    const bytes = Buffer.concat(await encoder.toArray());
    expect(bytes.length).toBeGreaterThan(270_000);
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': coding.coding }).end(bytes);
    });
    const { ask, summary } = await proxyIn('HTTP/1.1', {
      target: url,
      provider: openai({ apiKey: KEY }),
      onUsage: () => {},
    });
    const answer = await ask({ headers: { 'accept-encoding': coding.coding } });
    await answer.ended();
    expect(await summary()).toMatchObject({ usage: { inputTokens: 3, outputTokens: 4 } });
  });
});

it('content coding: an empty body in any coding is no failure', async () => {
  const { url } = await upstream((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'deflate' }).end();
  });
  const { ask, summary } = await proxyIn('HTTP/1.1', { target: url, onEvent: () => {} });
  expect(await (await ask()).ended()).toEqual({ text: '', cut: false });
  expect((await summary()).outcome).toBe('completed');
});
