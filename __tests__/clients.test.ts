import type { ServerResponse } from 'node:http';
import Anthropic from '@anthropic-ai/sdk';
import { afterEach, describe, expect, it } from '@jest/globals';
import { EventSource } from 'eventsource';
import express from 'express';
import OpenAI from 'openai';
import { type Provider, provider } from './support/provider.js';
import { closeAll, eventStream, onCleanUp, type ProxyUnderTest, proxyApp, upstream } from './support/servers.js';
import { signal } from './support/wire.js';

afterEach(closeAll);

const messages = [{ role: 'user' as const, content: 'Hi' }];

/** With a body parser in front, as many apps have it. */
async function proxied(): Promise<{ standIn: Provider; proxy: ProxyUnderTest }> {
  const standIn = await provider();
  const proxy = await proxyApp({ target: standIn.url, headers: { 'x-of-the-app': '1' } }, (app) => {
    app.use('/parsed', express.json());
  });
  return { standIn, proxy };
}

describe('the openai client', () => {
  async function openai(): Promise<{ client: OpenAI; standIn: Provider; proxy: ProxyUnderTest }> {
    const { standIn, proxy } = await proxied();
    return { client: new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: 'key', maxRetries: 0 }), standIn, proxy };
  }

  it('streams each token before the provider has the next', async () => {
    const { client, standIn, proxy } = await openai();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    expect(answer.headers).toMatchObject({ authorization: 'Bearer key', 'x-of-the-app': '1' });
    expect(answer.body).toMatchObject({ model: 'm', stream: true });
    const chunks = (await coming)[Symbol.asyncIterator]();
    await chunks.next();
    for (const text of ['Hel', 'lo, ', '世界 🙂']) {
      answer.token(text);
      expect((await chunks.next()).value?.choices[0]?.delta.content).toBe(text);
    }
    answer.end();
    expect((await chunks.next()).value?.choices[0]?.finish_reason).toBe('stop');
    expect((await chunks.next()).done).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('gets an answer that is not streamed', async () => {
    const { client } = await openai();
    const answer = await client.chat.completions.create({ model: 'm', messages });
    expect(answer.choices[0]?.message.content).toBe('Hello');
  });

  it('sends its body through a parser', async () => {
    const { client, standIn } = await openai();
    const parsed = client.withOptions({ baseURL: client.baseURL.replace('/v1', '/parsed/v1') });
    const coming = parsed.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    answer.end();
    expect(answer.body).toMatchObject({ model: 'm', messages });
    for await (const _chunk of await coming);
  });

  it.each([
    ['limited', 429, OpenAI.RateLimitError, 'Too many.'],
    ['broken', 500, OpenAI.InternalServerError, 'Broken.'],
  ])('throws the error of the provider: %s', async (model, status, type, message) => {
    const { client } = await openai();
    const error: unknown = await client.chat.completions.create({ model, stream: true, messages }).catch((e) => e);
    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject({
      status,
      requestID: `req_${status}`,
      error: { message, param: null },
      message: expect.stringContaining(message),
    });
  });

  it('obeys the retry headers of the provider', async () => {
    const { client } = await openai();
    const error = await client.chat.completions.create({ model: 'limited', messages }).catch((e) => e);
    expect((error as InstanceType<typeof OpenAI.RateLimitError>).headers.get('retry-after')).toBe('7');
  });

  it('throws where the provider dies', async () => {
    const { client, standIn, proxy } = await openai();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    const texts: (string | null | undefined)[] = [];
    const read = async (): Promise<void> => {
      for await (const chunk of await coming) {
        texts.push(chunk.choices[0]?.delta.content);
        if (texts.length === 2) answer.die();
      }
    };
    answer.token('Hel');
    await expect(read()).rejects.toThrow();
    expect(texts).toEqual(['', 'Hel']);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('throws the error of the proxy where there is no provider', async () => {
    const proxy = await proxyApp({ target: 'http://127.0.0.1:1' });
    const client = new OpenAI({ baseURL: proxy.url, apiKey: 'key', maxRetries: 0 });
    const error: unknown = await client.chat.completions.create({ model: 'm', messages }).catch((e) => e);
    expect(error).toBeInstanceOf(OpenAI.InternalServerError);
    expect(error).toMatchObject({ status: 502, code: 'UPSTREAM_UNREACHABLE', type: 'proxy_error' });
  });

  it('stops the provider when it aborts', async () => {
    const { client, standIn, proxy } = await openai();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    const stream = await coming;
    for await (const _chunk of stream) stream.controller.abort();
    await answer.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('stops the provider when it leaves the loop', async () => {
    const { client, standIn, proxy } = await openai();
    const coming = client.chat.completions.create({ model: 'm', stream: true, messages });
    const answer = await standIn.nextStream();
    for await (const _chunk of await coming) break;
    await answer.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });
});

describe('the Anthropic client', () => {
  async function anthropic(): Promise<{ client: Anthropic; standIn: Provider; proxy: ProxyUnderTest }> {
    const { standIn, proxy } = await proxied();
    // Whatever the environment holds.
    const client = new Anthropic({ baseURL: proxy.url, apiKey: 'key', authToken: null, maxRetries: 0 });
    return { client, standIn, proxy };
  }
  const params = { model: 'm', max_tokens: 10, messages };

  it('streams each event before the provider has the next', async () => {
    const { client, standIn, proxy } = await anthropic();
    const coming = client.messages.create({ ...params, stream: true });
    const answer = await standIn.nextStream();
    expect(answer.headers).toMatchObject({ authorization: 'Bearer key', 'anthropic-version': expect.any(String) });
    const events = (await coming)[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({ type: 'message_start' });
    expect((await events.next()).value).toMatchObject({ type: 'content_block_start' });
    for (const text of ['Hel', 'lo, ', '世界 🙂']) {
      answer.token(text);
      expect((await events.next()).value).toMatchObject({ type: 'content_block_delta', delta: { text } });
    }
    answer.end();
    for (const type of ['content_block_stop', 'message_delta', 'message_stop']) {
      expect((await events.next()).value).toMatchObject({ type });
    }
    expect((await events.next()).done).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('puts the message together with .stream()', async () => {
    const { client, standIn } = await anthropic();
    const stream = client.messages.stream(params);
    const answer = await standIn.nextStream();
    for (const text of ['Hel', 'lo']) {
      const seen = stream.emitted('text');
      answer.token(text);
      await seen;
    }
    answer.end();
    expect(await stream.finalMessage()).toMatchObject({
      content: [{ type: 'text', text: 'Hello' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 3, output_tokens: 2 },
    });
  });

  it('gets an answer that is not streamed', async () => {
    const { client } = await anthropic();
    expect(await client.messages.create(params)).toMatchObject({ content: [{ text: 'Hello' }] });
  });

  it.each([
    ['limited', 429, Anthropic.RateLimitError, 'rate_limit_error'],
    ['broken', 500, Anthropic.InternalServerError, 'api_error'],
  ])('throws the error of the provider: %s', async (model, status, type, errorType) => {
    const { client } = await anthropic();
    const error: unknown = await client.messages.create({ ...params, model, stream: true }).catch((e) => e);
    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject({ status, requestID: `req_${status}`, error: { error: { type: errorType } } });
  });

  it('throws where the provider dies, raw and with .stream()', async () => {
    const { client, standIn, proxy } = await anthropic();
    const raw = client.messages.create({ ...params, stream: true });
    const first = await standIn.nextStream();
    const read = async (): Promise<void> => {
      for await (const event of await raw) if (event.type === 'content_block_start') first.die();
    };
    await expect(read()).rejects.toThrow();

    const stream = client.messages.stream(params);
    const second = await standIn.nextStream();
    stream.on('text', () => second.die());
    second.token('Hel');
    await expect(stream.finalMessage()).rejects.toThrow();
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('stops the provider when it aborts', async () => {
    const { client, standIn, proxy } = await anthropic();
    const stream = client.messages.stream(params);
    const answer = await standIn.nextStream();
    stream.on('text', () => stream.abort());
    answer.token('Hel');
    await expect(stream.done()).rejects.toBeInstanceOf(Anthropic.APIUserAbortError);
    await answer.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });
});

describe('EventSource', () => {
  interface Subscription {
    lastEventId: string | string[] | undefined;
    res: ServerResponse;
    closed: Promise<void>;
  }

  /** An upstream that hands each subscription to the test, and an EventSource that asks for it through the proxy. */
  async function subscribe(): Promise<{ source: EventSource; proxy: ProxyUnderTest; next(): Promise<Subscription> }> {
    const subscriptions: Subscription[] = [];
    let wake = (): void => {};
    const { url } = await upstream((req, res) => {
      const closed = signal();
      res.once('close', closed.resolve);
      subscriptions.push({ lastEventId: req.headers['last-event-id'], res: eventStream(res), closed: closed.promise });
      wake();
    });
    const proxy = await proxyApp({ target: url });
    const source = new EventSource(proxy.url);
    onCleanUp(() => source.close());
    return {
      source,
      proxy,
      async next() {
        while (subscriptions.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        return subscriptions.shift() as Subscription;
      },
    };
  }

  const event = (source: EventSource, type: string): Promise<MessageEvent | Event> =>
    new Promise((resolve) => source.addEventListener(type, resolve, { once: true }));

  it('is open before the first event, and has each before the next is sent', async () => {
    const { source, next } = await subscribe();
    const opened = event(source, 'open');
    const { res } = await next();
    await opened;
    for (const data of ['one', 'zwei\n2', '三']) {
      const message = event(source, 'message');
      res.write(`${data.replace(/^/gm, 'data: ')}\n\n`);
      expect(await message).toMatchObject({ data });
    }
    const named = event(source, 'named');
    res.write('event: named\nid: 序\ndata: {}\n\n');
    expect(await named).toMatchObject({ data: '{}', lastEventId: '序' });
  });

  it('reconnects with Last-Event-ID', async () => {
    const { source, next } = await subscribe();
    const first = await next();
    expect(first.lastEventId).toBeUndefined();
    const message = event(source, 'message');
    first.res.write('retry: 1\nid: 41\ndata: 1\n\n');
    await message;
    const again = event(source, 'message');
    first.res.end('id: 42\ndata: 2\n\n');
    expect(await again).toMatchObject({ lastEventId: '42' });
    const second = await next();
    expect(second.lastEventId).toBe('42');
  });

  it('reconnects after the upstream has died', async () => {
    const { source, next, proxy } = await subscribe();
    const first = await next();
    const message = event(source, 'message');
    first.res.write('retry: 1\nid: 7\ndata: 1\n\n');
    await message;
    first.res.destroy();
    expect((await next()).lastEventId).toBe('7');
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('closes the upstream when it is closed', async () => {
    const { source, next, proxy } = await subscribe();
    const opened = event(source, 'open');
    const { closed } = await next();
    await opened;
    source.close();
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('gives up where the upstream has no event stream', async () => {
    const { url } = await upstream((_req, res) => res.writeHead(204).end());
    const proxy = await proxyApp({ target: url });
    const source = new EventSource(proxy.url);
    onCleanUp(() => source.close());
    await event(source, 'error');
    expect(source.readyState).toBe(source.CLOSED);
  });
});

describe('fetch', () => {
  async function fetching(): Promise<{
    response: Response;
    res: ServerResponse;
    proxy: ProxyUnderTest;
    controller: AbortController;
    closed: Promise<void>;
  }> {
    const held = signal<ServerResponse>();
    const closed = signal();
    const { url } = await upstream((_req, res) => {
      res.once('close', closed.resolve);
      held.resolve(eventStream(res));
    });
    const proxy = await proxyApp({ target: url });
    const controller = new AbortController();
    const response = await fetch(proxy.url, { signal: controller.signal });
    return { response, res: await held.promise, proxy, controller, closed: closed.promise };
  }

  it('resolves with the head, and reads each chunk before the next is sent', async () => {
    const { response, res, proxy } = await fetching();
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const reader = response.body?.getReader();
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      res.write(event);
      expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe(event);
    }
    res.end();
    expect((await reader?.read())?.done).toBe(true);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('stops the upstream when it is aborted', async () => {
    const { response, controller, proxy, closed } = await fetching();
    controller.abort();
    await expect(response.text()).rejects.toThrow();
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('stops the upstream when its body is cancelled', async () => {
    const { response, proxy, closed } = await fetching();
    await response.body?.cancel();
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('rejects where the upstream dies', async () => {
    const { response, res } = await fetching();
    res.write('data: 1\n\n', () => res.destroy());
    await expect(response.text()).rejects.toThrow('terminated');
  });
});
