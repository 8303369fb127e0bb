import { once } from 'node:events';
import http, { type IncomingMessage, type InformationEvent } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { Express } from 'express';
import { readText } from '../../support/clients/http.js';
import { rawExchange } from '../../support/clients/raw.js';
import { type Echo, echoingProxy } from '../../support/servers/echo.js';
import { type ProxyUnderTest, proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream, upstream } from '../../support/servers/upstreams.js';
import { closeAll } from '../../support/watch/clean-up.js';
import { signal } from '../../support/watch/wait.js';

afterEach(closeAll);

describe('an informational response', () => {
  /** The 1xx responses that a client of HTTP/1.1 sees, and the final one. */
  async function informed(
    informational: string[],
    before?: (app: Express) => void,
  ): Promise<{ seen: InformationEvent[]; response: IncomingMessage; proxy: ProxyUnderTest }> {
    const { url } = await rawUpstream((socket) => {
      socket.write(`${informational.join('')}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}`);
    });
    const proxy = await proxyApp({ target: url }, before);
    const seen: InformationEvent[] = [];
    const req = http.get(proxy.url, { agent: false });
    req.on('information', (information) => seen.push(information));
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(await readText(response)).toBe('{}');
    return { seen, response, proxy };
  }

  it('early hints and other 1xx: 103 is passed on with its links', async () => {
    const { seen, response } = await informed([
      'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\nX-Trace: 1\r\n\r\n',
    ]);
    expect(seen).toEqual([
      expect.objectContaining({
        statusCode: 103,
        headers: expect.objectContaining({ link: '</style.css>; rel=preload; as=style' }),
      }),
    ]);
    expect(response.statusCode).toBe(200);
    expect(response.headers).not.toHaveProperty('link');
  });

  it('early hints and other 1xx: 103 arrives before the final response is there', async () => {
    const hinted = signal();
    const { url } = await upstream((_req, res) => {
      res.writeEarlyHints({ link: '</a>; rel=preload' });
      void hinted.promise.then(() => res.end());
    });
    const proxy = await proxyApp({ target: url });
    const req = http.get(proxy.url, { agent: false });
    const [information] = (await once(req, 'information')) as [InformationEvent];
    expect(information.headers.link).toBe('</a>; rel=preload');
    hinted.resolve();
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(200);
    response.resume();
    await once(response, 'end');
  });

  it('early hints and other 1xx: 103 may come several times', async () => {
    const { seen } = await informed([
      'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n',
      'HTTP/1.1 103 Early Hints\r\nLink: </b>; rel=preload\r\n\r\n',
    ]);
    expect(seen.map(({ headers }) => headers.link)).toEqual(['</a>; rel=preload', '</b>; rel=preload']);
  });

  it.each([
    ['several lines', 'Link: </a>; rel=preload\r\nLink: </b>; rel=preload\r\n', ['</a>', '</b>']],
    ['several links in a line', 'Link: </a>; rel=preload, </b>; rel=preload\r\n', ['</a>', '</b>']],
  ])('early hints and other 1xx: 103 with %s is passed on', async (_name, fields, expected) => {
    const { seen, response } = await informed([`HTTP/1.1 103 Early Hints\r\n${fields}\r\n`]);
    expect(response.statusCode).toBe(200);
    for (const link of expected) expect(String(seen[0]?.headers.link)).toContain(link);
  });

  it.each(['Link: nonsense\r\n', 'Link:\r\n', '', 'Link: </a>; rel=preload; title="a; b"\r\n'])(
    'early hints and other 1xx: 103 that Node cannot send does not cost the response: %j',
    async (fields) => {
      const { response, proxy } = await informed([`HTTP/1.1 103 Early Hints\r\n${fields}\r\n`]);
      expect(response.statusCode).toBe(200);
      expect((await proxy.summary()).outcome).toBe('completed');
    },
  );

  it('early hints and other 1xx: 103 brings no hop-by-hop headers', async () => {
    const { seen } = await informed([
      'HTTP/1.1 103 Early Hints\r\nConnection: x-a\r\nX-A: 1\r\nLink: </a>; rel=preload\r\nKeep-Alive: a\r\n\r\n',
    ]);
    expect(seen).toHaveLength(1);
    for (const name of ['connection', 'x-a', 'keep-alive']) expect(seen[0]?.headers).not.toHaveProperty(name);
  });

  it('early hints and other 1xx: 102 and others are not passed on', async () => {
    const { seen, response } = await informed([
      'HTTP/1.1 102 Processing\r\n\r\n',
      'HTTP/1.1 100 Continue\r\n\r\n',
      'HTTP/1.1 199 Odd\r\nLink: </a>; rel=preload\r\n\r\n',
    ]);
    expect(seen).toEqual([]);
    expect(response.statusCode).toBe(200);
  });

  it('early hints and other 1xx: none for HTTP/1.0', async () => {
    const { url } = await rawUpstream((socket) => {
      socket.write(
        'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}',
      );
    });
    const proxy = await proxyApp({ target: url });
    const { text } = await rawExchange(proxy.port, 'GET / HTTP/1.0\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text).not.toContain('103');
    expect(text.endsWith('\r\n\r\n{}')).toBe(true);
  });

  it('early hints and other 1xx: 100 is what an Expect is answered with', async () => {
    const proxy = await echoingProxy();
    const req = http.request(proxy.url, {
      method: 'POST',
      agent: false,
      headers: { expect: '100-continue', 'content-length': 4 },
    });
    req.flushHeaders();
    await once(req, 'continue');
    req.end('body');
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    const { headers, body } = JSON.parse(await readText(response)) as Echo;
    expect(body).toBe('body');
    expect(headers).not.toHaveProperty('expect');
  });
});
