import { readFileSync } from 'node:fs';
import net from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { STREAMING_CLIENTS, type StreamingClient } from '../support/clients/streaming-clients.js';
import { ABORTS, compatible, ERRORS, HEARTBEATS, STREAMS, versionOf } from '../support/programs/compatibility.js';
import { listen } from '../support/servers/listen.js';
import { proxiedProvider } from '../support/servers/provider.js';
import { exchangeFor, partsWithText, TEXT } from '../support/streams/dialects.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

// What the proxy puts into streams, and answers in their place, as the users of other people's clients see it.

closeAndWatchEachTest();

const BROKEN = 'The upstream closed the connection before its response was complete.';

/** What is thrown by a client to which an event makes no sense. */
const NO_SENSE = /Zod|Validation|Syntax|Parse/;

/** What clients say of a connection that was cut. */
const CUT = /terminated|other side closed|Error reading from the stream/;

/** A text as a client yields it. */
function reading(pieces: AsyncGenerator<string>): {
  until(text: string): Promise<void>;
  toEnd(): Promise<string>;
} {
  let text = '';
  const next = async (): Promise<boolean> => {
    const { done, value } = await pieces.next();
    if (done !== true) text += value;
    return done !== true;
  };
  return {
    async until(piece) {
      while (!text.includes(piece)) if (!(await next())) throw new Error(`The text has ended without ${piece}`);
    },
    async toEnd() {
      while (await next());
      return text;
    },
  };
}

/** A way to the proxy on which the bytes for the client are counted, whatever the client asks with. */
async function watched(
  port: number,
): Promise<{ url: string; readonly wire: string; until(is: () => boolean): Promise<void> }> {
  let wire = '';
  let notify = (): void => {};
  const server = net.createServer((client) => {
    const proxy = net.connect(port, '127.0.0.1');
    onCleanUp(() => {
      client.destroy();
      proxy.destroy();
    });
    client.on('error', () => {}).pipe(proxy);
    proxy.on('error', () => {}).pipe(client);
    proxy.on('data', (bytes) => {
      wire += bytes.toString();
      notify();
    });
  });
  return {
    url: `http://127.0.0.1:${await listen(server)}`,
    get wire() {
      return wire;
    },
    async until(is) {
      while (!is()) {
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      }
    },
  };
}

/** An error, and what has caused it. Those of Node's own are none of Jest's `Error`. */
function causesOf(error: unknown): Error[] {
  const isError = typeof error === 'object' && error !== null && 'message' in error;
  return isError ? [error as Error, ...causesOf((error as Error).cause)] : [];
}

const namesOf = (error: unknown): string =>
  causesOf(error)
    .map((each) => `${each.name} ${each.constructor.name}`)
    .join();
const messagesOf = (error: unknown): string =>
  causesOf(error)
    .map(({ message }) => message)
    .join('\n');

function statusOf(error: unknown): unknown {
  const { status, statusCode, status_code } = error as Record<string, unknown>;
  return status ?? statusCode ?? status_code;
}

function testsOf(client: StreamingClient): void {
  const { streamed, provider, failed } = client.api;
  const begun = streamed.parts.slice(0, partsWithText(streamed));

  it(STREAMS, async () => {
    const { upstream, proxy } = await proxiedProvider(provider);
    const { until, toEnd } = reading(client.text(proxy.url, new AbortController().signal));
    // It asks when it is read.
    let seen = until(TEXT[0]);
    const asked = await Promise.race([upstream.next(), seen.then(() => upstream.next())]);
    asked.start(streamed);
    for (const part of streamed.parts) {
      asked.send([part]);
      if (!part.bytes.includes(JSON.stringify(TEXT[0])) && !part.bytes.includes(JSON.stringify(TEXT[1]))) continue;
      await seen;
      seen = until(TEXT.join(''));
    }
    asked.end();
    await seen;
    expect(await toEnd()).toBe(TEXT.join(''));
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it(ABORTS, async () => {
    const { upstream, proxy } = await proxiedProvider(provider);
    const controller = new AbortController();
    const { until, toEnd } = reading(client.text(proxy.url, controller.signal));
    const first = until(TEXT[0]);
    const asked = await Promise.race([upstream.next(), first.then(() => upstream.next())]);
    asked.start(streamed);
    asked.send(begun);
    await first;
    controller.abort();
    if (client.abortsLate) asked.send(streamed.parts.slice(begun.length, begun.length + 1));
    // Some throw at an abort of their own, others end.
    await toEnd().catch(() => {});
    await asked.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(ERRORS, async () => {
    const { upstream, proxy } = await proxiedProvider(provider);
    const text = reading(client.text(proxy.url, new AbortController().signal)).toEnd();
    const { req, res } = await Promise.race([upstream.next(), text.then(() => upstream.next())]);
    const failure = { message: 'Too many.', code: 'rate_limited', statusCode: 429 };
    const body = provider({ target: proxy.url, apiKey: 'sk' }).errorBody(failure, exchangeFor(req.url ?? ''));
    res.writeHead(429, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    const error: unknown = await text.catch((reason) => reason);
    expect(statusOf(error)).toBe(429);
    expect(messagesOf(error)).toContain('Too many.');
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 429 });
  });

  it(`a broken stream: shows ${client.shows === 'message' ? 'the message' : 'a cut'}`, async () => {
    const { upstream, proxy } = await proxiedProvider(provider);
    const { until, toEnd } = reading(client.text(proxy.url, new AbortController().signal));
    const first = until(TEXT[0]);
    const asked = await Promise.race([upstream.next(), first.then(() => upstream.next())]);
    asked.start(streamed);
    asked.send(begun);
    await first;
    asked.die();
    const error: unknown = await toEnd().catch((reason) => reason);
    expect(namesOf(error)).not.toMatch(NO_SENSE);
    if (client.shows === 'message') expect(messagesOf(error)).toContain(BROKEN);
    else expect(messagesOf(error)).toMatch(CUT);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  // No heartbeat can stand in NDJSON, and none is sent there: see `clients-models.test.ts`.
  const heartbeat = streamed.contentType.includes('event-stream') && /(?:: ping|data: \{\})\n\n/g;
  if (heartbeat) {
    it(HEARTBEATS, async () => {
      const { upstream, proxy } = await proxiedProvider(provider, { heartbeat: { interval: 5 } });
      const tap = await watched(proxy.port);
      const text = reading(client.text(tap.url, new AbortController().signal)).toEnd();
      const asked = await Promise.race([upstream.next(), text.then(() => upstream.next())]);
      asked.start(streamed);
      const beats = (): number => tap.wire.match(heartbeat)?.length ?? 0;
      for (const part of streamed.parts) {
        const before = beats();
        // The second has certainly been sent after the last part. Behind the last of all, clients may have left.
        await tap.until(() => beats() >= before + 2);
        asked.send([part]);
      }
      asked.end();
      expect(await text).toBe(TEXT.join(''));
    });
  }

  it('an error event inside a 200: is an error of the API, where it is the first', async () => {
    const { upstream, proxy } = await proxiedProvider(provider, { commit: 'first-event' });
    const text = reading(client.text(proxy.url, new AbortController().signal)).toEnd();
    const asked = await Promise.race([upstream.next(), text.then(() => upstream.next())]);
    asked.give({ ...streamed, parts: [failed.part] });
    const error: unknown = await text.catch((reason) => reason);
    expect(namesOf(error)).not.toMatch(NO_SENSE);
    expect(statusOf(error)).toBe(failed.status);
    expect(messagesOf(error)).toContain(failed.message);
    expect(await proxy.summary()).toMatchObject({ statusCode: failed.status, error: { code: 'UPSTREAM_ERROR_EVENT' } });
  });
}

const names = [...new Set(STREAMING_CLIENTS.map(({ name }) => name))];

for (const name of names) {
  const clients = STREAMING_CLIENTS.filter((client) => client.name === name);
  describe(compatible('client', name, versionOf(clients[0]?.versionOf ?? name)), () => {
    for (const client of clients) {
      if (client.part === undefined) testsOf(client);
      else describe(client.part, () => testsOf(client));
    }
  });
}

it('docs/errors.md says of each client what its user sees of a stream that broke off', () => {
  const shown = { message: 'the message', cut: 'a cut' };
  const documentation = readFileSync('docs/errors.md', 'utf8');
  const rows = [...documentation.matchAll(/^\| `([^`]+)`(?:, ([^|]+?))? \| (the message|a cut)\b/gm)];
  const documented = rows.flatMap(([, name, part, sees]) => (part ?? '').split(', ').map((each) => [name, each, sees]));
  const clients = STREAMING_CLIENTS.map(({ name, part, shows }) => [
    name.replace(/^ai with /, ''),
    part ?? '',
    shown[shows],
  ]);
  expect(documented.sort()).toEqual(clients.sort());
});
