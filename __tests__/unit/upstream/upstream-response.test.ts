import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { PassThrough, Stream, type Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from '@jest/globals';
import { UpstreamResponse } from '../../../lib/upstream/upstream-response.js';
import { request } from '../../support/clients/http.js';
import { receive } from '../../support/servers/bare-http.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

const never = (): never => {
  throw new Error('must not be called');
};

async function response(
  onBody: (source: IncomingMessage) => void = never,
  onEmpty: () => void = never,
): Promise<UpstreamResponse> {
  const { res } = await receive('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  return new UpstreamResponse(res, onBody, onEmpty);
}

describe('the fields', () => {
  it('upstream response: headers are found in any letter case, and remembered in the one they were set in', async () => {
    const head = await response();
    head.setHeader('X-Two-Words', 'a').setHeader('Set-Cookie', ['a=1', 'b=2']).setHeader('content-length', 5);
    expect(head.getHeader('x-TWO-words')).toBe('a');
    expect(head.getHeaders()).toEqual({ 'x-two-words': 'a', 'set-cookie': ['a=1', 'b=2'], 'content-length': '5' });
    expect(head.nameOf('x-two-words')).toBe('X-Two-Words');
    expect(head.nameOf('x-other')).toBe('x-other');
    expect(head.hasHeader('SET-COOKIE')).toBe(true);
    head.removeHeader('SET-cookie');
    expect(head.hasHeader('set-cookie')).toBe(false);
  });

  it('upstream response: headers are a copy: a list that changes later does not change them', async () => {
    const cookies = ['a=1'];
    const head = await response();
    head.setHeader('set-cookie', cookies);
    cookies.push('b=2');
    expect(head.getHeader('set-cookie')).toEqual(['a=1']);
  });

  it('upstream response: headers named like members of Object are only headers', async () => {
    const head = await response();
    head.setHeader('__proto__', 'a').setHeader('constructor', 'b');
    expect(Object.entries(head.getHeaders())).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
  });
});

describe('the head', () => {
  /** The response that an upstream sends as these lines, and the head that is made of it. */
  async function headOf(lines: string[]): Promise<ReturnType<UpstreamResponse['head']>> {
    const { url } = await rawUpstream((socket) => {
      socket.end(`HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n${lines.join('\r\n')}\r\n\r\n`);
    });
    const source = await request(url);
    source.resume();
    const head = await response();
    head.statusCode = source.statusCode ?? 0;
    head.statusMessage = source.statusMessage ?? '';
    for (const [name, value] of Object.entries(source.headers)) if (value !== undefined) head.setHeader(name, value);
    // httpxy adds one where there is none.
    if (!head.hasHeader('connection')) head.setHeader('connection', 'keep-alive');
    const { headers, ...rest } = head.head(source);
    delete headers.connection;
    return { headers, ...rest };
  }

  it('upstream response: the head has status, reason and headers', async () => {
    const headers = { 'content-length': '0', 'x-a': '1' };
    expect(await headOf(['X-A: 1'])).toEqual({ statusCode: 200, statusMessage: 'Fine', headers });
  });

  it.each([
    ['without a Connection field', []],
    ['with one', ['Connection: close']],
  ])('upstream response: the head keeps lines apart that came apart, %s', async (_case, lines) => {
    expect((await headOf([...lines, 'Link: <a>', 'Link: <b>'])).headers.link).toEqual(['<a>', '<b>']);
  });

  it('upstream response: the head keeps cookies apart', async () => {
    expect((await headOf(['Set-Cookie: a=1', 'Set-Cookie: b=2'])).headers['set-cookie']).toEqual(['a=1', 'b=2']);
  });

  it('upstream response: the head keeps one line one line', async () => {
    expect((await headOf(['Link: <a>, <b>'])).headers.link).toBe('<a>, <b>');
  });
});

describe('the body', () => {
  /** As httpxy does, which takes the response for a stream. */
  const pipe = (source: IncomingMessage, sink: UpstreamResponse): unknown => source.pipe(sink as unknown as Writable);

  it('upstream response: the body is handed over as its source, once', async () => {
    const sources: IncomingMessage[] = [];
    const sink = await response((source) => sources.push(source));
    const source = new IncomingMessage(new Socket());
    sink.expect(source);
    expect(pipe(source, sink)).toBe(sink);
    source.push('bytes');
    source.push(null);
    expect(await text(source)).toBe('bytes');
    expect(sources).toEqual([source]);
  });

  it('upstream response: the body is piped wherever else a hook pipes it', async () => {
    const sink = await response(never);
    const source = new IncomingMessage(new Socket());
    sink.expect(source);
    const copy = new PassThrough();
    expect(source.pipe(copy)).toBe(copy);
    source.push('bytes');
    source.push(null);
    expect(await text(copy)).toBe('bytes');
  });

  it('upstream response: the body is none where the response is ended without one', async () => {
    const empty = new Promise<void>((resolve, reject) => {
      response(never, resolve).then((sink) => sink.end(), reject);
    });
    await expect(empty).resolves.toBeUndefined();
  });

  it('upstream response: the body is not reported empty after it was handed over', async () => {
    const sink = await response(() => {});
    const source = new IncomingMessage(new Socket());
    sink.expect(source);
    pipe(source, sink);
    const closed = new Promise((resolve) => sink.once('close', resolve));
    sink.end();
    await closed;
    expect(sink.writableFinished).toBe(true);
  });
});

it('upstream response: is no stream: Node 24 would keep it, and all it refers to, until the next major garbage collection', async () => {
  expect(await response()).not.toBeInstanceOf(Stream);
});

describe('the client', () => {
  it('upstream response: a client that was answered by a hook is seen by httpxy', async () => {
    const { res } = await receive('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const head = new UpstreamResponse(res, never, never);
    expect([head.headersSent, head.finished]).toEqual([false, false]);
    res.end('answered');
    expect([head.headersSent, head.finished]).toEqual([true, true]);
  });

  it('upstream response: a client for whom nothing is fetched any more gets nothing', async () => {
    const head = await response();
    head.destroy();
    expect(head.finished).toBe(true);
  });
});
