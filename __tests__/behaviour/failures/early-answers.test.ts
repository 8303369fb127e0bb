/** Upstreams that answer in the middle of an upload, and close: the answer wins over the write that fails (RFC 9112 9.5). */
import { once } from 'node:events';
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions, StreamSummary } from '../../../lib/index.js';
import { readUntilCut } from '../../support/clients/http.js';
import { certificate } from '../../support/servers/certificate.js';
import { listen } from '../../support/servers/listen.js';
import { proxyIn, recordedProxy, VERSIONS } from '../../support/servers/proxies.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const FIRST_PART = 'a'.repeat(1_000);
const REST = 'b'.repeat(300_000);

interface Upload {
  socket: Socket;
  /** The same, or what TLS runs on. */
  connection: Socket;
}

/** An upstream of which each test is handed a connection when the first part of an upload has arrived. */
async function uploads(isSecure = false): Promise<{ url: string; next(): Promise<Upload> }> {
  const arrived = new Queue<Upload>();
  const take = (socket: Socket, connection = socket): void => {
    onCleanUp(() => void socket.destroy());
    socket.on('error', () => {});
    let received = '';
    socket.on('data', (data) => {
      received += String(data);
      if (!received.includes(FIRST_PART)) return;
      // What follows is not read.
      socket.pause().removeAllListeners('data');
      arrived.push({ socket, connection });
    });
  };
  const secure = { ...(await certificate()), isServer: true };
  const server = net.createServer((socket) => {
    if (isSecure) take(new tls.TLSSocket(socket, secure), socket);
    else take(socket);
  });
  const port = await listen(server);
  return { url: `${isSecure ? 'https' : 'http'}://127.0.0.1:${port}`, next: () => arrived.next() };
}

/** The request that a proxy makes upstream, so that a test can have it write in the very turn in which the upstream closes. */
function watched(options: SseProxyOptions): { options: SseProxyOptions; request(): ClientRequest } {
  let made: ClientRequest | undefined;
  const proxyReq = (request: ClientRequest): void => {
    made = request;
  };
  return {
    options: { ...options, on: { proxyReq } },
    request() {
      if (made === undefined) throw new Error('no request was made');
      return made;
    },
  };
}

/** Answers and closes so that nothing more can be written; then the proxy writes, before it can have read the answer. */
function answerAndClose({ socket, connection }: Upload, answer: string, request: ClientRequest): void {
  socket.write(answer);
  connection.resetAndDestroy();
  // The first may go to a connection that is not known to be closed.
  request.write(REST);
  request.write(REST);
}

interface Given {
  status: number | undefined;
  text: string;
  summary: StreamSummary;
}

/** Uploads to a proxy with a client of HTTP/1.1 until the upstream has answered. */
async function upload(
  options: SseProxyOptions,
  { next, answer, headers = {} }: { next(): Promise<Upload>; answer: string; headers?: Record<string, string> },
): Promise<Given & { cut: boolean }> {
  const { options: seen, request } = watched(options);
  const { proxy, summaries } = recordedProxy(seen);
  const port = await listen(http.createServer((req, res) => void proxy(req, res)));
  const client = http.request({ port, method: 'POST', headers, agent: false });
  onCleanUp(() => void client.destroy());
  client.on('error', () => {}).write(FIRST_PART);
  const responded = once(client, 'response');
  answerAndClose(await next(), answer, request());
  const [response] = (await responded) as [IncomingMessage];
  const { body, cut } = await readUntilCut(response);
  return { status: response.statusCode, text: String(body), cut, summary: await summaries.next() };
}

type AnswerKind = [name: string, answer: string, text: string];

const SMALL_ANSWERS: AnswerKind[] = [
  ['a Content-Length', 'HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nover', 'over'],
  ['no content', 'HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', ''],
  ['chunks', 'HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nover\r\n0\r\n\r\n', 'over'],
  [
    'an event stream',
    `HTTP/1.1 413 Too Large\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n`,
    'data: a\n\n',
  ],
];

const ANSWERS: AnswerKind[] = [
  ...SMALL_ANSWERS,
  [
    'more than one read',
    `HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n${'c'.repeat(100_000)}`,
    'c'.repeat(100_000),
  ],
];

describe.each([
  ['chunked', {}],
  ['with a Content-Length', { 'content-length': '5000000' }],
])('an answer in the middle of an upload that is %s', (_framing, headers) => {
  it.each(ANSWERS)('early answer: wins over the write that fails, with %s', async (_name, answer, text) => {
    const { url, next } = await uploads();
    const got = await upload({ target: url }, { next, answer, headers });
    expect({ status: got.status, text: got.text, cut: got.cut }).toEqual({ status: 413, text, cut: false });
    expect(got.summary).toMatchObject({ outcome: 'completed', statusCode: 413, attempts: [{ statusCode: 413 }] });
    expect(got.summary.attempts).toHaveLength(1);
  });
});

describe('an answer in the middle of an upload', () => {
  // Of a large one, TLS has not handed over all when its connection is destroyed.
  it.each(SMALL_ANSWERS)(
    'early answer: wins over the write that fails, over TLS, with %s',
    async (_name, answer, text) => {
      const { url, next } = await uploads(true);
      const got = await upload({ target: url, secure: false }, { next, answer });
      expect({ status: got.status, text: got.text, cut: got.cut }).toEqual({ status: 413, text, cut: false });
    },
  );

  it.each([
    ["the user's own agent", () => new http.Agent({ keepAlive: true })],
    ['no agent', () => false as unknown as http.Agent],
  ])('early answer: wins over the write that fails, with %s', async (_name, agent) => {
    const { url, next } = await uploads();
    const answer = 'HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
    expect((await upload({ target: url, agent: agent() }, { next, answer })).status).toBe(401);
  });

  it('early answer: one that is not whole is cut behind what is there of it', async () => {
    const { url, next } = await uploads();
    const answer = 'HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n';
    const { status, text, cut, summary } = await upload({ target: url }, { next, answer });
    expect({ status, text, cut }).toEqual({ status: 413, text: 'half', cut: true });
    expect(summary.outcome).toBe('upstream-truncated');
  });

  it('early answer: where a connection that was reset is the only end of it, it counts as one that is not whole', async () => {
    const { url, next } = await uploads();
    const answer = 'HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nhalf';
    const { status, text, cut } = await upload({ target: url }, { next, answer });
    expect({ status, text, cut }).toEqual({ status: 413, text: 'half', cut: true });
  });

  it('early answer: without one, the failed write is a 502', async () => {
    const { url, next } = await uploads();
    const { status, summary } = await upload({ target: url }, { next, answer: '' });
    expect(status).toBe(502);
    expect(summary.outcome).toBe('upstream-error');
  });

  it('early answer: a 503 that comes so is tried again, with the whole body', async () => {
    const { url, next } = await uploads();
    const { options, request } = watched({ target: url, retry: { methods: ['POST'], minTimeout: 1 } });
    const { proxy, summaries } = recordedProxy(options);
    const port = await listen(http.createServer((req, res) => void proxy(req, res)));
    const client = http.request({ port, method: 'POST', agent: false });
    onCleanUp(() => void client.destroy());
    const responded = once(client, 'response');
    client.write(FIRST_PART);
    const busy = 'HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
    answerAndClose(await next(), busy, request());
    client.end();
    const { socket } = await next();
    socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    const [response] = (await responded) as [IncomingMessage];
    expect(response.resume().statusCode).toBe(200);
    expect((await summaries.next()).attempts).toMatchObject([{ statusCode: 503 }, { statusCode: 200 }]);
  });
});

it.each(VERSIONS)('early answer: wins over the write that fails, for a client of %s', async (version) => {
  const { url, next } = await uploads();
  const { options, request } = watched({ target: url });
  const { ask, summary } = await proxyIn(version, options);
  const asked = ask({ method: 'POST', body: FIRST_PART + REST.repeat(20) });
  answerAndClose(await next(), ANSWERS[0]?.[1] ?? '', request());
  const answer = await asked;
  expect([answer.status, (await answer.ended()).text]).toEqual([413, 'over']);
  expect(await summary()).toMatchObject({ statusCode: 413, attempts: [{ statusCode: 413 }] });
});
