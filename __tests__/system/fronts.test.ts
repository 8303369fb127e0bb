import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import compression from 'compression';
import type { SseProxyOptions } from '../../lib/index.js';
import { type Ask, begin, beginWithEvent, expectOneByOne, QUESTION } from '../support/clients/ask.js';
import { readText } from '../support/clients/http.js';
import { ABORTS, compatible, ERRORS, HEARTBEATS, STREAMS } from '../support/programs/compatibility.js';
import { FRONT_SERVERS, type FrontServer, nginx, startFront } from '../support/programs/front-servers.js';
import { closedPort } from '../support/servers/listen.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { eventStream, manualUpstream, type PendingRequest, upstream } from '../support/servers/upstreams.js';
import { closeAll } from '../support/watch/clean-up.js';
import { type Queue, signal, turns } from '../support/watch/wait.js';

afterEach(closeAll);

interface Behind {
  http1: Ask;
  http2: Ask;
  proxy: ProxyUnderTest;
  /** The requests that reach the upstream. */
  requests: Queue<PendingRequest>;
}

/** An app with compression and the proxy, behind a front. */
async function behind(front: FrontServer, settings: string, options: SseProxyOptions = {}): Promise<Behind> {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options }, (app) => {
    app.use(compression());
  });
  return { ...(await startFront(front, proxy.port, settings)), proxy, requests };
}

/** Goes on until the proxy closes the connection, as a model does that nobody stops. */
async function sendUntil(closed: Promise<void>, res: ServerResponse): Promise<void> {
  let isClosed = false;
  void closed.then(() => {
    isClosed = true;
  });
  while (!isClosed) {
    res.write('data: more\n\n');
    await turns();
  }
}

/** What a client has that the upstream has left after one event. */
async function broken(ask: Ask, { proxy, requests }: Behind): Promise<{ text: string; cut: boolean }> {
  const { answer, res } = await beginWithEvent(ask, requests);
  res.destroy();
  expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  return answer.ended();
}

const ENDS_WITH_ERROR = /^data: first\n\nevent: error\ndata: \{.*"code":"UPSTREAM_TRUNCATED".*\}\n\n$/;

const brokenTitle = (what: string, isCut: boolean): string => (isCut ? what : `${what}, which looks whole`);

const titled = (front: FrontServer, how = ''): string => compatible('front', `${front.name}${how}`, front.version);

const variants: [title: string, front: FrontServer, settings: string][] = [
  ...FRONT_SERVERS.map((front): [string, FrontServer, string] => [titled(front), front, '']),
  [titled(nginx, ' with HTTP/1.1 to the app'), nginx, 'proxy_http_version 1.1; proxy_set_header Connection "";'],
];

describe.each(variants)('%s', (_title, front, settings) => {
  it(STREAMS, async () => {
    const { http1, proxy, requests } = await behind(front, settings);
    const { answer, res } = await begin(http1, requests);
    expect(answer.headers).toMatchObject({ 'content-type': 'text/event-stream', 'cache-control': 'no-transform' });
    expect(answer.headers).not.toHaveProperty('content-encoding');
    await expectOneByOne(answer, res);
    res.end();
    expect((await answer.ended()).cut).toBe(false);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('NDJSON', async () => {
    const { http1, requests } = await behind(front, settings);
    const asked = http1(QUESTION);
    const { res } = await requests.next();
    res.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
    await expectOneByOne(await asked, res, '{"response":"#"}\n');
  });

  it(ABORTS, async () => {
    const { http1, proxy, requests } = await behind(front, settings);
    const { answer, res, closed } = await beginWithEvent(http1, requests);
    answer.leave();
    await sendUntil(closed, res);
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(`abort in a silence${front.noticing && ` with \`${front.noticing}\``}`, async () => {
    const { http1, proxy, requests } = await behind(front, `${settings} ${front.noticing}`);
    const { answer, closed } = await begin(http1, requests);
    answer.leave();
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('abort between heartbeats', async () => {
    const { http1, proxy, requests } = await behind(front, settings, { heartbeat: { interval: 10 } });
    const { answer, closed } = await begin(http1, requests);
    await answer.until(': ping\n\n');
    answer.leave();
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(ERRORS, async () => {
    const { http1, requests } = await behind(front, settings);
    for (const status of [400, 401, 404, 413, 429, 500, 503, 529]) {
      const asked = http1({ path: '/stream' });
      const { res } = await requests.next();
      const body = JSON.stringify({ error: { type: `error ${status}` } });
      res.writeHead(status, { 'content-type': 'application/json', 'retry-after': '7' }).end(body);
      const answer = await asked;
      expect(answer).toMatchObject({ status, headers: { 'content-type': 'application/json', 'retry-after': '7' } });
      expect(await answer.ended()).toEqual({ text: body, cut: false });
    }
  });

  it('502 of the proxy', async () => {
    const { http1 } = await behind(front, settings, { target: `http://127.0.0.1:${await closedPort()}` });
    const answer = await http1(QUESTION);
    expect(answer.status).toBe(502);
    expect(JSON.parse((await answer.ended()).text).error.code).toBe('UPSTREAM_UNREACHABLE');
  });

  it(HEARTBEATS, async () => {
    const { http1, requests } = await behind(front, settings, { heartbeat: { interval: 10 } });
    const { answer, res } = await begin(http1, requests);
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      // Nothing else has come: the upstream is silent.
      expect(await answer.until(': ping\n\n')).toBe(': ping\n\n');
      res.write(event);
      await answer.until(event);
    }
    res.end();
    const { text, cut } = await answer.ended();
    expect(text.replaceAll(': ping\n\n', '')).toBe('data: 1\n\ndata: 2\n\n');
    expect(cut).toBe(false);
  });

  it(brokenTitle('broken stream', front.cuts.http1), async () => {
    const setup = await behind(front, settings);
    expect(await broken(setup.http1, setup)).toEqual({ text: 'data: first\n\n', cut: front.cuts.http1 });
  });

  it('error event of a broken stream', async () => {
    const setup = await behind(front, settings, { truncation: 'event' });
    expect((await broken(setup.http1, setup)).text).toMatch(ENDS_WITH_ERROR);
  });

  it.each([
    ['request body', { 'content-length': '200000' }],
    ['request body of unknown length', {}],
  ])('%s', async (_title, length) => {
    const { http1, requests } = await behind(front, settings);
    const body = 'again '.repeat(40_000).slice(0, 200_000);
    const asked = http1({ method: 'POST', headers: { 'content-type': 'text/plain', ...length }, body });
    const { req, res } = await requests.next();
    expect(req.method).toBe('POST');
    expect(await readText(req)).toBe(body);
    eventStream(res);
    await expectOneByOne(await asked, res);
  });

  it('compressed JSON', async () => {
    const { http1, requests } = await behind(front, settings);
    const asked = http1(QUESTION);
    const { res } = await requests.next();
    res.setHeader('content-type', 'application/json').end(JSON.stringify({ text: 'again '.repeat(1_000) }));
    const answer = await asked;
    expect(answer).toMatchObject({ status: 200, headers: { 'content-encoding': 'gzip' } });
    expect(await answer.ended()).toMatchObject({ cut: false });
  });

  it('HTTP/2', async () => {
    const { http2, requests } = await behind(front, settings);
    const { answer, res } = await beginWithEvent(http2, requests);
    expect(answer.headers).toMatchObject({ 'content-type': 'text/event-stream', 'cache-control': 'no-transform' });
    expect(answer.headers).not.toHaveProperty('content-encoding');
    await expectOneByOne(answer, res);
    res.end();
    expect((await answer.ended()).cut).toBe(false);
  });

  it('abort over HTTP/2', async () => {
    const { http2, proxy, requests } = await behind(front, settings);
    const { answer, res, closed } = await beginWithEvent(http2, requests);
    answer.leave();
    await sendUntil(closed, res);
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(brokenTitle('broken stream over HTTP/2', front.cuts.http2), async () => {
    const setup = await behind(front, settings);
    expect(await broken(setup.http2, setup)).toEqual({ text: 'data: first\n\n', cut: front.cuts.http2 });
  });

  it('error event of a broken stream over HTTP/2', async () => {
    const setup = await behind(front, settings, { truncation: 'event' });
    expect((await broken(setup.http2, setup)).text).toMatch(ENDS_WITH_ERROR);
  });
});

it('nginx holds a stream back that does not say otherwise (the test of these tests)', async () => {
  const held = signal<ServerResponse>();
  const { port } = await upstream((req, res) => {
    if (req.url === '/stream') held.resolve(eventStream(res));
    else res.end('other');
  });
  const { http1 } = await startFront(nginx, port);
  let hasCome = false;
  const asked = http1(QUESTION).then((answer) => {
    hasCome = true;
    return answer;
  });
  const res = await held.promise;
  res.write('data: 1\n\n');
  for (let i = 0; i < 50; i += 1) await (await http1({ path: '/other' })).ended();
  expect(hasCome).toBe(false);
  res.end();
  expect((await (await asked).ended()).text).toBe('data: 1\n\n');
});
