import type { IncomingMessage } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import { receivedBody } from '../../../lib/request/parsed-body.js';
import { ReplayedBody } from '../../../lib/request/replayed-body.js';
import { readAll } from '../../support/clients/http.js';
import { receive, requestWith } from '../../support/servers/bare-http.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

/** A request whose body was read, and what a parser left on it. */
async function parsed(
  type: string,
  left: { body?: unknown; rawBody?: unknown },
  lines: string[] = [],
): Promise<IncomingMessage> {
  const text = 'was here';
  const head = ['POST / HTTP/1.1', 'Host: x', `Content-Type: ${type}`, ...lines];
  if (!lines.some((line) => /^(content-length|transfer-encoding):/i.test(line)))
    head.push(`Content-Length: ${text.length}`);
  const chunked = lines.includes('Transfer-Encoding: chunked');
  const body = chunked ? `${text.length}\r\n${text}\r\n0\r\n\r\n` : text;
  const { req } = await receive(`${head.join('\r\n')}\r\n\r\n${body}`);
  await readAll(req);
  return Object.assign(req, left);
}

async function replayed(
  type: string,
  left: { body?: unknown; rawBody?: unknown },
  lines?: string[],
): Promise<ReplayedBody> {
  const body = receivedBody(await parsed(type, left, lines));
  if (!(body instanceof ReplayedBody)) throw new Error(`not replayed: ${body}`);
  return body;
}

describe('a body that nobody has read is streamed', () => {
  it.each([[['Content-Length: 2']], [['Transfer-Encoding: chunked']], [[]]])(
    'request body: one that nobody has read is streamed with %p',
    async (lines) => {
      expect(receivedBody(await requestWith(lines, 'POST'))).toBe('stream');
    },
  );

  it('request body: one that nobody has read is streamed also where middleware has left a body of its own', async () => {
    const req = Object.assign(await requestWith(['Content-Length: 2'], 'POST'), { body: {} });
    expect(receivedBody(req)).toBe('stream');
  });

  it.each([[['Content-Length: 0']], [[]]])(
    'request body: one that nobody has read is streamed and one that is not there needs no replay: %p',
    async (lines) => {
      const req = await requestWith(lines, 'POST');
      await readAll(req);
      expect(receivedBody(Object.assign(req, { body: {} }))).toBe('stream');
    },
  );
});

describe('a body that was read is sent from what was left of it', () => {
  it.each([
    ['application/json', { a: [1, 'ż'] }, '{"a":[1,"ż"]}'],
    ['application/vnd.api+json; charset=utf-8', [1], '[1]'],
    ['APPLICATION/JSON', null, 'null'],
    ['application/json', false, 'false'],
    ['application/json', 'text', '"text"'],
    // 8 bytes, as the request says: `express.text()` has read it.
    ['application/json', '{"a": 1}', '{"a": 1}'],
    ['application/x-www-form-urlencoded', { a: '1', b: ['2', '3'], c: 'ż &' }, 'a=1&b=2&b=3&c=%C5%BC%20%26'],
    ['application/x-www-form-urlencoded', { a: { b: 'c' } }, 'a%5Bb%5D=c'],
    ['text/plain', 'text', 'text'],
    ['text/plain', '', ''],
    ['application/octet-stream', Buffer.from([1, 2]), '\x01\x02'],
  ])('parsed request body: %s %p', async (type, body, expected) => {
    expect((await replayed(type, { body })).bytes.toString()).toBe(expected);
  });

  it('parsed request body: keeps the members of objects in an array of a form together', async () => {
    const { bytes } = await replayed('application/x-www-form-urlencoded', {
      body: {
        a: [
          { b: '1', c: '2' },
          { b: '3', c: '4' },
        ],
      },
    });
    expect(decodeURIComponent(bytes.toString())).toBe('a[0][b]=1&a[0][c]=2&a[1][b]=3&a[1][c]=4');
  });

  it.each(['raw bytes', Buffer.from('raw bytes'), new Uint8Array(Buffer.from('raw bytes'))])(
    'parsed request body: rawBody comes first: %p',
    async (rawBody) => {
      expect((await replayed('application/json', { rawBody, body: {} })).bytes.toString()).toBe('raw bytes');
    },
  );

  it('parsed request body: knows by the length whether the bytes are still encoded', async () => {
    const lines = ['Content-Encoding: gzip'];
    expect((await replayed('application/json', { rawBody: '8 bytes.' }, lines)).encoded).toBe(true);
    expect((await replayed('application/json', { rawBody: 'more than 8 bytes' }, lines)).encoded).toBe(false);
    expect((await replayed('application/json', { body: {} }, lines)).encoded).toBe(false);
  });

  it('parsed request body: says so where the charset is another now', async () => {
    expect((await replayed('text/plain; charset=latin1', { body: 'ż' })).contentType).toBe('text/plain;charset=utf-8');
    expect((await replayed('text/plain; charset=UTF-8', { body: 'ż' })).contentType).toBeUndefined();
    expect((await replayed('text/plain', { body: 'ż' })).contentType).toBeUndefined();
  });

  it('parsed request body: works for chunked requests', async () => {
    const { bytes } = await replayed('application/json', { body: { a: 1 } }, ['Transfer-Encoding: chunked']);
    expect(bytes.toString()).toBe('{"a":1}');
  });
});

describe('a body is lost', () => {
  it.each([
    ['nothing was left', 'application/json', {}],
    ['a form with files was parsed', 'multipart/form-data; boundary=x', { body: { a: '1' } }],
    ['an object was made of an unknown type', 'text/xml', { body: { root: {} } }],
    ['there is no type', '', { body: {} }],
  ])('lost request body: it is lost where %s', async (_case, type, left) => {
    expect(receivedBody(await parsed(type, left))).toBe('lost');
  });

  it('lost request body: it is lost where a parser has only begun', async () => {
    const { req } = await receive(
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a"',
    );
    await new Promise((resolve) => req.once('data', resolve));
    expect(receivedBody(Object.assign(req, { body: {} }))).toBe('lost');
  });

  it('lost request body: it is lost where it cannot be written as JSON: no exception', async () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    expect(receivedBody(await parsed('application/json', { body: circular }))).toBe('lost');
  });
});
