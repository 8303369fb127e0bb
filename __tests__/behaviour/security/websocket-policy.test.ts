import http, { type IncomingMessage } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { WebSocketServer } from 'ws';
import type { SseProxyErrorCode, SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { rawClient, rawExchange } from '../../support/clients/raw.js';
import { connect, echo, failed, handshake, opened } from '../../support/clients/web-sockets.js';
import { listen } from '../../support/servers/listen.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { echoUpstream, upgradeServer } from '../../support/servers/web-sockets.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const ERROR_FIELDS = ['HTTP/1.1', 'cache-control: no-store', 'content-type: application/json', 'Connection: close'];

/** What a client is answered whose handshake is refused. */
async function refusal(port: number, request: string): Promise<{ status: number; head: string; code: string }> {
  const { text, reset } = await rawExchange(port, request);
  expect(reset).toBe(false);
  const [head = '', body = ''] = text.split('\r\n\r\n');
  expect(Number(/^content-length: (\d+)$/m.exec(head)?.[1])).toBe(body.length);
  return { status: Number(head.split(' ')[1]), head, code: JSON.parse(body).error.code };
}

/** The fields of the handshake that reached the upstream. */
async function sent(options: SseProxyOptions, fields: Record<string, string>): Promise<IncomingMessage['headers']> {
  const { url, handshakes } = await echoUpstream();
  const server = await upgradeServer({ target: url, ...options });
  await opened(server.url, fields);
  return handshakes[0]?.headers ?? {};
}

/** The head of the 101 that the client gets. */
async function switched(options: SseProxyOptions, fields: string): Promise<string> {
  const { url } = await rawUpstream((socket) =>
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${fields}\r\n`),
  );
  const server = await upgradeServer({ target: url, ...options });
  const socket = connect(server.url);
  const response = await new Promise<IncomingMessage>((resolve) => {
    socket.once('upgrade', resolve);
    socket.on('error', () => {});
  });
  const lines = response.rawHeaders.map((part, i) => (i % 2 === 0 ? `${part.toLowerCase()}: ` : `${part}\n`));
  return lines.join('');
}

describe('requestHeaders on a WebSocket handshake', () => {
  it('WebSocket handshake, requestHeaders: remove: withholds credentials, cookies and internal headers, by name and by pattern', async () => {
    const headers = await sent(
      { requestHeaders: { remove: ['authorization', 'cookie', 'x-internal*', /^x-secret/] } },
      { authorization: 'Bearer caller', cookie: 'session=1', 'x-internal': '1', 'x-internal-2': '2', 'x-secret': '3' },
    );
    for (const name of ['authorization', 'cookie', 'x-internal', 'x-internal-2', 'x-secret']) {
      expect(headers).not.toHaveProperty(name);
    }
  });

  it('WebSocket handshake, requestHeaders: set: puts in strings, and what functions of the exchange give, in the place of what came', async () => {
    const seen: object[] = [];
    const headers = await sent(
      {
        requestHeaders: {
          set: {
            authorization: 'Bearer ours',
            'x-user': ({ req }) => String(req.headers['x-name']),
            'x-none': () => undefined,
            'x-seen': (exchange) => {
              seen.push({ ...exchange, path: exchange.path, attempts: [...exchange.attempts] });
              exchange.locals.is = 'there';
              return String(exchange.locals.is);
            },
          },
        },
      },
      { authorization: 'Bearer caller', 'x-name': 'ada', 'x-none': 'client' },
    );
    expect(headers).toMatchObject({ authorization: 'Bearer ours', 'x-user': 'ada', 'x-seen': 'there' });
    expect(headers).toHaveProperty('x-none', 'client');
    expect(seen).toEqual([expect.objectContaining({ path: '/', attempts: [] })]);
  });

  it('WebSocket handshake, requestHeaders: leave what the handshake needs, whatever `remove` says', async () => {
    const headers = await sent({ requestHeaders: { remove: ['*'] } }, { 'x-a': '1' });
    expect(headers).toMatchObject({ connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' });
    expect(headers).not.toHaveProperty('x-a');
    expect(() =>
      upgradeServer({ requestHeaders: { remove: ['Sec-WebSocket-Key'] }, target: 'http://a' }),
    ).rejects.toThrow(TypeError);
  });

  it('WebSocket handshake, requestHeaders: remove subprotocols and extensions where they are named', async () => {
    const headers = await sent({ requestHeaders: { remove: ['sec-websocket-extensions'] } }, {});
    expect(headers).not.toHaveProperty('sec-websocket-extensions');
  });

  it('WebSocket handshake, requestHeaders: what `headers` names is put in whatever is removed', async () => {
    const headers = await sent({ headers: { 'X-Own': '1' }, requestHeaders: { remove: ['x-*'] } }, { 'x-a': '1' });
    expect(headers).toMatchObject({ 'x-own': '1' });
    expect(headers).not.toHaveProperty('x-a');
  });

  it('WebSocket handshake, requestHeaders: come before the listeners of proxyReqWs, which have the last word', async () => {
    const seen: unknown[] = [];
    await sent(
      {
        requestHeaders: { remove: ['authorization'], set: { 'x-a': '1' } },
        on: { proxyReqWs: (request) => seen.push(request.getHeader('authorization'), request.getHeader('x-a')) },
      },
      { authorization: 'Bearer caller' },
    );
    expect(seen).toEqual([undefined, '1']);
  });

  it('WebSocket handshake, requestHeaders: hold where `router` leaves no path', async () => {
    const { url, handshakes } = await echoUpstream();
    const router = (req: IncomingMessage): string => {
      req.url = '';
      return url;
    };
    const server = await upgradeServer({ router, requestHeaders: { set: { authorization: 'Bearer ours' } } });
    const client = await rawClient(server.port);
    client.socket.write(handshake('/', { authorization: 'Bearer caller' }));
    await client.until('HTTP/1.1');
    for (const { headers } of handshakes) expect(headers.authorization).toBe('Bearer ours');
  });

  it('WebSocket handshake, requestHeaders that throw are a 500, and nothing is sent upstream', async () => {
    const { url, handshakes } = await echoUpstream();
    const fail = (): string => {
      throw new Error('mine');
    };
    const server = await upgradeServer({ target: url, requestHeaders: { set: { 'x-a': fail } } });
    expect(await refusal(server.port, handshake())).toMatchObject({ status: 500, code: 'HOOK_FAILED' });
    expect(handshakes).toEqual([]);
  });
});

describe('hop-by-hop fields of a WebSocket handshake', () => {
  it('WebSocket handshake, hop-by-hop headers: do not travel upstream, nor do those that Connection names', async () => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer({ target: url });
    const client = await rawClient(server.port);
    client.socket.write(
      handshake('/', {
        Connection: 'keep-alive, Upgrade, X-Hop',
        'X-Hop': '1',
        'Keep-Alive': 'timeout=5',
        TE: 'trailers',
        Trailer: 'x-t',
        'Proxy-Authorization': 'Basic x',
        'Proxy-Connection': 'keep-alive',
        Expect: '100-continue',
        'X-End': '1',
      }),
    );
    await client.until('\r\n\r\n');
    const headers = handshakes[0]?.headers ?? {};
    expect(headers).toMatchObject({ connection: 'Upgrade', upgrade: 'websocket', 'x-end': '1' });
    for (const name of ['x-hop', 'keep-alive', 'te', 'trailer', 'proxy-authorization', 'proxy-connection', 'expect']) {
      expect(headers).not.toHaveProperty(name);
    }
  });

  it('WebSocket handshake, hop-by-hop headers: stay where the handshake needs them, although Connection names them', async () => {
    const headers = await sent({}, { connection: 'Upgrade, Sec-WebSocket-Key, Sec-WebSocket-Version' });
    expect(headers).toHaveProperty('sec-websocket-key');
  });

  it('WebSocket handshake, hop-by-hop headers: are the app’s where the app has put them there', async () => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer({ target: url });
    server.server.prependListener('upgrade', (req) => {
      req.headers.authorization = 'Bearer ours';
    });
    await opened(server.url, { connection: 'Upgrade, Authorization', authorization: 'Bearer caller' });
    expect(handshakes[0]?.headers.authorization).toBe('Bearer ours');
  });

  it('WebSocket handshake, hop-by-hop headers: do not come back with the 101, nor do those that its Connection names', async () => {
    const fields =
      'Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Hop: 1\r\nX-End: 1\r\nConnection: X-Hop\r\n';
    const head = await switched({}, `${fields}Content-Length: 4\r\n`);
    expect(head).toMatch(/^x-end: 1$/m);
    expect(head).toMatch(/^connection: Upgrade$/m);
    expect(head).toMatch(/^upgrade: websocket$/m);
    expect(head).not.toMatch(/^(keep-alive|proxy-authenticate|x-hop|content-length)/m);
  });

  it('WebSocket handshake, hop-by-hop headers: do not come back with a refusal of the upstream', async () => {
    const { url } = await rawUpstream((socket) =>
      socket.end(
        'HTTP/1.1 403 Forbidden\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n' +
          'Trailer: x-t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nx-t: 1\r\n\r\n',
      ),
    );
    const server = await upgradeServer({ target: url });
    const { text } = await rawExchange(server.port, handshake());
    expect(text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(text).not.toMatch(/x-hop|keep-alive|trailer/i);
    expect(text).toMatch(/\r\nConnection: close\r\n/);
    expect(text).toMatch(/\r\n\r\n2\r\nno\r\n0\r\n\r\n$/);
  });
});

describe('responseHeaders and rewriteHeaders on a WebSocket', () => {
  const options: SseProxyOptions = {
    responseHeaders: { remove: ['x-account*'], set: { 'x-gateway': ({ path }) => `eu${path}` } },
    rewriteHeaders: (head) => {
      delete head.headers['x-odd'];
      head.headers['x-status'] = String(head.statusCode);
    },
  };

  it('WebSocket, responseHeaders and rewriteHeaders: change the head of the 101', async () => {
    const head = await switched(options, 'X-Account: 1\r\nX-Odd: 1\r\nX-Kept: 1\r\n');
    expect(head).toMatch(/^x-kept: 1$/m);
    expect(head).toMatch(/^x-gateway: eu\/$/m);
    expect(head).toMatch(/^x-status: 101$/m);
    expect(head).not.toMatch(/^x-(account|odd)/m);
  });

  it('WebSocket, responseHeaders and rewriteHeaders: change the head of a refusal of the upstream', async () => {
    const { url } = await rawUpstream((socket) =>
      socket.end('HTTP/1.1 401 No\r\nX-Account: 1\r\nX-Odd: 1\r\nContent-Length: 2\r\n\r\nno'),
    );
    const server = await upgradeServer({ ...options, target: url });
    const { text } = await rawExchange(server.port, handshake());
    expect(text).toMatch(/^HTTP\/1\.1 401 No\r\n/);
    expect(text).toMatch(/\r\nx-gateway: eu\/\r\nx-status: 401\r\n/);
    expect(text).not.toMatch(/x-account|x-odd/i);
  });

  it('WebSocket, responseHeaders and rewriteHeaders: change the head of a refusal of the proxy’s own', async () => {
    const server = await upgradeServer({ ...options, target: 'http://a', allow: ['GET /chat'] });
    const { head } = await refusal(server.port, handshake('/other'));
    expect(head).toMatch(/^x-gateway: eu\/other\r$/m);
    expect(head).toMatch(/^x-status: 404\r$/m);
  });

  it('WebSocket, responseHeaders and rewriteHeaders: put nothing on the wire that HTTP forbids', async () => {
    const head = await switched(
      {
        rewriteHeaders: (own) => {
          own.headers['x-cut'] = 'a\r\nx-smuggled: 1';
          own.headers['x bad'] = '1';
          own.statusMessage = 'Fine\r\nx-smuggled: 2';
        },
      },
      'X-Kept: 1\r\n',
    );
    expect(head).toMatch(/^x-kept: 1$/m);
    expect(head).not.toMatch(/smuggled|x-cut|x bad/);
  });

  it.each<[string, SseProxyOptions]>([
    ['rewriteHeaders throws', { rewriteHeaders: (head) => fail(head.statusCode === 101) }],
    [
      'rewriteHeaders gives the 101 another status',
      { rewriteHeaders: (head) => void Object.assign(head, head.statusCode === 101 && { statusCode: 200 }) },
    ],
    ['responseHeaders.set throws', { responseHeaders: { set: { 'x-a': () => fail(true) } } }],
  ])(
    'WebSocket, responseHeaders and rewriteHeaders: are a 502 where %s, and the upstream is let go',
    async (_name, own) => {
      const { url, sockets } = await echoUpstream();
      const opens: unknown[] = [];
      const server = await upgradeServer({ target: url, ...own, on: { open: (socket) => opens.push(socket) } });
      expect((await failed(server.url)).message).toContain('502');
      expect(await server.summaries.next()).toMatchObject({ outcome: 'failed', error: { code: 'HOOK_FAILED' } });
      await until(() => sockets.size === 0);
      expect(opens).toEqual([]);
    },
  );

  function fail(isIt: boolean): undefined {
    if (isIt) throw new Error('mine');
    return undefined;
  }
});

describe('a WebSocket handshake that is not let in', () => {
  it.each<[string, SseProxyOptions, string, number, SseProxyErrorCode]>([
    ['allow: another path', { allow: ['GET /chat'] }, handshake('/admin'), 404, 'NOT_FOUND'],
    ['allow: another method', { allow: ['POST /chat'] }, handshake('/chat'), 405, 'METHOD_NOT_ALLOWED'],
    ['allow: a path in disguise', { allow: ['GET /chat/:id'] }, handshake('/chat/%2e%2e'), 404, 'NOT_FOUND'],
    ['a path that leads out of the target’s', {}, handshake('/../admin'), 400, 'PATH_OUTSIDE_TARGET'],
    ['such a path in disguise', {}, handshake('/a/..%2f..%2fadmin'), 400, 'PATH_OUTSIDE_TARGET'],
    [
      'a pathRewrite that leads there',
      { pathRewrite: () => '/../admin' },
      handshake('/chat'),
      400,
      'PATH_OUTSIDE_TARGET',
    ],
    ['a method that is not GET', {}, handshake('/').replace('GET', 'POST'), 405, 'METHOD_NOT_ALLOWED'],
    ['another protocol', {}, handshake('/', { Upgrade: 'h2c' }), 501, 'UPGRADE_NOT_SUPPORTED'],
  ])('WebSocket handshake that is not let in: is answered: %s', async (_name, options, request, status, code) => {
    const { url, handshakes } = await echoUpstream();
    const errors: unknown[] = [];
    const on = { error: (error: Error) => void errors.push(error) };
    const server = await upgradeServer({ target: url, ...options, on });
    const { head, ...answer } = await refusal(server.port, request);
    expect(answer).toEqual({ status, code });
    for (const field of ERROR_FIELDS) expect(head).toContain(field);
    expect(await server.summaries.next()).toMatchObject({ outcome: 'refused', statusCode: status, error: { code } });
    expect(handshakes).toEqual([]);
    expect(errors).toEqual([]);
    await until(() => server.proxy.active === 0);
  });

  it('WebSocket handshake that is not let in: is not asked of `router` and `pathRewrite`', async () => {
    const calls: string[] = [];
    const server = await upgradeServer({
      allow: ['GET /chat'],
      router: () => void calls.push('router') as unknown as string,
      pathRewrite: () => void calls.push('pathRewrite'),
    });
    await refusal(server.port, handshake('/admin'));
    expect(calls).toEqual([]);
  });

  it('WebSocket handshake that is not let in: names the methods that are allowed', async () => {
    const server = await upgradeServer({ target: 'http://a', allow: ['POST /chat'] });
    expect((await refusal(server.port, handshake('/chat'))).head).toMatch(/^allow: POST\r$/m);
  });

  it('WebSocket handshake that is not let in: is answered in the dialect of a provider, whose credentials no WebSocket gets', async () => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer({ provider: openai({ apiKey: 'sk-ours', target: url }) });
    expect(await refusal(server.port, handshake())).toMatchObject({ status: 501, code: 'UPGRADE_NOT_SUPPORTED' });
    expect(handshakes).toEqual([]);
  });

  it('WebSocket handshake that is not let in: counts an absolute request target as its path', async () => {
    const { url, handshakes } = await echoUpstream();
    const server = await upgradeServer({ target: url, allow: ['GET /chat'] });
    const { status } = await refusal(server.port, handshake('http://other.test/admin'));
    expect(status).toBe(404);
    const socket = connect(`${server.url}/chat`);
    await new Promise((resolve) => socket.once('open', resolve));
    expect(handshakes[0]?.url).toBe('/chat');
  });

  it('WebSocket handshake that is not let in: has its answer whole although it has sent more than its handshake', async () => {
    const server = await upgradeServer({ target: 'http://a', allow: ['GET /chat'] });
    const { status } = await refusal(server.port, handshake('/') + 'x'.repeat(200_000));
    expect(status).toBe(404);
  });
});

describe('pathFilter and a WebSocket handshake', () => {
  it('WebSocket handshake: pathFilter is asked once, and leaves the request as it was to others', async () => {
    const { url } = await echoUpstream();
    const asked: string[] = [];
    const pathFilter = (path: string): boolean => {
      asked.push(path);
      return path === '/ours';
    };
    const server = await upgradeServer({ target: url, pathFilter, allow: [] });
    const others: (string | undefined)[] = [];
    server.server.on('upgrade', (req, socket) => {
      if (req.url === '/ours') return;
      others.push(req.url);
      socket.end('HTTP/1.1 418 Teapot\r\n\r\n');
    });
    const { text } = await rawExchange(server.port, handshake('http://other.test/theirs'));
    expect(text).toMatch(/^HTTP\/1\.1 418/);
    expect(others).toEqual(['http://other.test/theirs']);
    expect((await refusal(server.port, handshake('/ours'))).status).toBe(404);
    expect(asked).toEqual(['/theirs', '/ours']);
    await until(() => server.proxy.active === 0);
  });

  it.each<[string, NonNullable<SseProxyOptions['pathFilter']>]>([
    ['a path', '/api'],
    ['a pattern', '/api/**'],
    ['several', ['/api', '/other']],
  ])('WebSocket handshake: pathFilter may be %s', async (_name, pathFilter) => {
    const { url } = await echoUpstream();
    const server = await upgradeServer({ target: url, pathFilter });
    server.server.on('upgrade', (req, socket) => {
      if (req.url === '/own') socket.end('HTTP/1.1 418 Teapot\r\n\r\n');
    });
    expect((await failed(`${server.url}/own`)).message).toContain('418');
    expect(await echo(await opened(`${server.url}/api/x`), 'hello')).toBe('hello');
  });

  it('WebSocket handshake: pathFilter has each of two proxies on one server take its own, and the first take what both would', async () => {
    const upstreams = [await echoUpstream(), await echoUpstream()] as const;
    const app = http.createServer();
    const proxies = await Promise.all(
      upstreams.map(async ({ url }, i) => upgradeServer({ target: url, pathFilter: [`/${i}`, '/both'] })),
    );
    app.on('upgrade', (req, socket, head) => {
      onCleanUp(() => void socket.destroy());
      for (const { proxy } of proxies) proxy.upgrade(req, socket as never, head);
    });
    const url = `ws://127.0.0.1:${await listen(app)}`;
    for (const path of ['/0', '/1', '/both']) expect(await echo(await opened(url + path), path)).toBe(path);
    expect(upstreams.map(({ handshakes }) => handshakes.map((req) => req.url))).toEqual([['/0', '/both'], ['/1']]);
  });
});

describe('a refusal of the upstream', () => {
  it('WebSocket handshake: a refusal of the upstream is passed on whole where it is larger than what a connection holds', async () => {
    const body = 'x'.repeat(8_000_000);
    const refusing = http.createServer();
    refusing.on('upgrade', (_req, socket) => {
      socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
    const server = await upgradeServer({ target: `http://127.0.0.1:${await listen(refusing)}` });
    const { text } = await rawExchange(server.port, handshake());
    expect(text.split('\r\n\r\n')[1]).toHaveLength(body.length);
    expect(await server.summaries.next()).toMatchObject({ outcome: 'completed', statusCode: 403, bytes: body.length });
    await until(() => server.proxy.active === 0);
  });

  it.each<[string, string]>([
    ['with a length', 'Content-Length: 100\r\n\r\npart'],
    ['chunked', 'Transfer-Encoding: chunked\r\n\r\n64\r\npart'],
  ])('WebSocket handshake: a refusal of the upstream that breaks off is cut, %s', async (_name, rest) => {
    const { url } = await rawUpstream((socket) => socket.end(`HTTP/1.1 403 Forbidden\r\n${rest}`));
    const server = await upgradeServer({ target: url });
    const { text } = await rawExchange(server.port, handshake());
    expect(text).toContain('part');
    expect(text).not.toMatch(/0\r\n\r\n$/);
    expect(await server.summaries.next()).toMatchObject({ outcome: 'upstream-truncated' });
  });

  it.each<[string, string]>([
    ['has a transfer coding that nobody knows', 'HTTP/1.1 403 No\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['is no HTTP', 'garbage\r\n\r\n'],
    ['switches to another protocol', 'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'],
  ])('WebSocket handshake: a refusal of the upstream is a 502 where it %s', async (_name, bytes) => {
    const { url } = await rawUpstream((socket) => socket.end(bytes));
    const server = await upgradeServer({ target: url });
    expect(await refusal(server.port, handshake())).toMatchObject({ status: 502, code: 'UPSTREAM_INVALID_RESPONSE' });
  });
});

describe('subprotocols', () => {
  it('WebSocket subprotocols: are negotiated between the two ends', async () => {
    const server = http.createServer();
    const webSockets = new WebSocketServer({ server, handleProtocols: () => 'b' });
    onCleanUp(() => {
      for (const client of webSockets.clients) client.terminate();
    });
    const proxy = await upgradeServer({ target: `http://127.0.0.1:${await listen(server)}` });
    const socket = connect(proxy.url, { 'sec-websocket-protocol': 'a, b' });
    const response = await new Promise<IncomingMessage>((resolve) => {
      socket.once('upgrade', resolve);
      socket.on('error', () => {});
    });
    expect(response.headers['sec-websocket-protocol']).toBe('b');
  });
});
