import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ClientRequest, ServerResponse } from 'node:http';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { openRequest, readUntilCut, request, responseTo } from '../../support/clients/http.js';
import { rawClient } from '../../support/clients/raw.js';
import { eventStream, upstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, Queue, signal } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const TOKEN = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n';
const DONE = 'data: [DONE]\n\n';

/** What becomes of an answer after SIGTERM: how many there are of each kind, and how they are to be accounted for. */
const KINDS = {
  ends: { count: 14, outcome: 'completed', status: '200' },
  'runs-on': { count: 12, outcome: 'drained', status: '200' },
  'answers-late': { count: 4, outcome: 'completed', status: '200' },
  'never-answers': { count: 4, outcome: 'drained', status: '503' },
  breaks: { count: 4, outcome: 'upstream-truncated', status: '200' },
  'is-left': { count: 2, outcome: 'client-closed', status: '200' },
};
type Kind = keyof typeof KINDS;

const pathOf = (kind: Kind | 'is-refused', number: number): string => `/openai/v1/chat/completions?${kind}=${number}`;

interface LoadedUpstream {
  url: string;
  /** An item for each request that came. */
  arrived: Queue<void>;
  /** From now on what is to end does. */
  terminate(): void;
}

/** Under load: each stream sends a token every few milliseconds. */
async function loadedUpstream(): Promise<LoadedUpstream> {
  const arrived = new Queue<void>();
  const terminated = signal();
  let isTerminated = false;
  const { url } = await upstream((req, res) => {
    const [, kind, number] = /\?([a-z-]+)=(\d+)$/.exec(req.url ?? '') ?? [];
    arrived.push();
    if (kind === 'never-answers') return;
    if (kind === 'answers-late') void terminated.promise.then(() => eventStream(res).end(TOKEN + DONE));
    else keepSending(res, kind as Kind, Number(number), () => isTerminated);
  });
  return {
    url,
    arrived,
    terminate() {
      isTerminated = true;
      terminated.resolve();
    },
  };
}

/** Those that end do so one after the other. */
function keepSending(res: ServerResponse, kind: Kind, number: number, isTerminated: () => boolean): void {
  eventStream(res).write(TOKEN);
  let ticksLeft = number + 1;
  const timer = setInterval(() => {
    if (isTerminated()) ticksLeft -= 1;
    if (ticksLeft > 0 || kind === 'runs-on' || kind === 'is-left') res.write(TOKEN);
    else if (kind === 'ends') res.end(DONE);
    else res.destroy();
  }, 5);
  res.once('close', () => clearInterval(timer));
}

interface Line {
  path: string;
  outcome: string;
  status: string;
  bytes: number;
}

interface Server {
  child: ChildProcess;
  port: number;
  url: string;
  /** Resolves with the first line that begins so. */
  line(start: string): Promise<string>;
  /** Resolves when the process has ended by itself: how, and all that it has printed. */
  ended(): Promise<{ code: number | null; account: Line[]; others: string[] }>;
}

/** The server of the example, in a process of its own. */
async function startServer(target: string, grace: number): Promise<Server> {
  const example = fileURLToPath(new URL('../../../examples/graceful/server.js', import.meta.url));
  const env = { ...process.env, OPENAI_API_KEY: 'sk-servers', TARGET: target, PORT: '0', GRACE: `${grace}` };
  const child = spawn(process.execPath, [example], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const close = once(child, 'close');
  onCleanUp(async () => {
    child.kill('SIGKILL');
    await close;
  });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const lines: string[] = [];
  const changes = new Queue<void>();
  const output = createInterface({ input: child.stdout });
  output.on('line', (text) => {
    lines.push(text);
    changes.push();
  });
  output.once('close', () => changes.push());
  const line = async (start: string): Promise<string> => {
    for (;;) {
      const found = lines.find((text) => text.startsWith(start));
      if (found !== undefined) return found;
      if (child.stdout.closed) throw new Error(`The server has ended: ${errors}`);
      await changes.next();
    }
  };
  const url = (await line('listening on ')).replace('listening on ', '');
  return {
    child,
    port: Number(new URL(url).port),
    url,
    line,
    async ended() {
      const [code] = await close;
      expect(errors).toBe('');
      const account = lines.flatMap((text) => lineOf(text) ?? []);
      return { code, account, others: lines.filter((text) => lineOf(text) === undefined) };
    },
  };
}

function lineOf(text: string): Line | undefined {
  const [, path = '', status = '', outcome = '', bytes] =
    /^POST (\S+) (\d+|-) ([a-z-]+) (\d+) B \S+ tokens \d+ ms$/.exec(text) ?? [];
  return bytes === undefined ? undefined : { path, outcome, status, bytes: Number(bytes) };
}

interface Client {
  kind: Kind;
  path: string;
  req: ClientRequest;
  /** The head and the first token are there. */
  begun: Promise<unknown>;
  /** What the client has got in the end. */
  seen: Promise<{ status: number | undefined; text: string; cut: boolean }>;
}

function openClient(server: Server, kind: Kind, number: number): Client {
  const path = pathOf(kind, number);
  const req = openRequest(`${server.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' } });
  req.end('{"model":"gpt","stream":true,"messages":[]}');
  const response = responseTo(req);
  const begun = response.then((message) => once(message, 'readable'));
  const seen = Promise.all([response, begun]).then(async ([message]) => {
    const { body, cut } = await readUntilCut(message);
    return { status: message.statusCode, text: body.toString(), cut };
  });
  return { kind, path, req, begun, seen };
}

/** What a client makes of what it has got, without knowing what it was to be. */
function outcomeSeen({ status, text, cut }: Awaited<Client['seen']>): string {
  if (status === 200 && !cut) return text.endsWith(DONE) && !text.includes('error') ? 'completed' : 'looks whole';
  if (text.includes(DONE)) return 'looks whole';
  const code = /"code":"(\w+)"/.exec(text)?.[1] ?? 'no code';
  return { DRAINED: 'drained', UPSTREAM_TRUNCATED: 'upstream-truncated' }[code] ?? code;
}

describe('a server that gets SIGTERM under load', () => {
  it('graceful shutdown: a server that gets SIGTERM ends each stream whole or visibly cut, as its account says, and is gone', async () => {
    const { url, arrived, terminate } = await loadedUpstream();
    const server = await startServer(url, 2_000);
    const clients = Object.entries(KINDS).flatMap(([kind, { count }]) =>
      Array.from({ length: count }, (_, i) => openClient(server, kind as Kind, i)),
    );
    for (const _ of clients) await arrived.next();
    const isPending = ({ kind }: Client): boolean => kind === 'answers-late' || kind === 'never-answers';
    await Promise.all(clients.filter((client) => !isPending(client)).map(({ begun }) => begun));
    const keptAlive = await rawClient(server.port);
    const ask = (path: string): boolean =>
      keptAlive.socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}`);
    ask(pathOf('ends', 20));
    await keptAlive.until(TOKEN);

    server.child.kill('SIGTERM');
    expect(await server.line('SIGTERM')).toBe('SIGTERM: 41 exchanges are running');
    await expect(request(server.url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    ask(pathOf('is-refused', 1));
    terminate();
    const left = clients.filter(({ kind }) => kind === 'is-left');
    for (const { req } of left) req.destroy();

    const staying = clients.filter((client) => !left.includes(client));
    for (const { kind, path, seen } of staying) {
      expect([path, outcomeSeen(await seen)]).toEqual([path, KINDS[kind].outcome]);
    }
    const { text } = await keptAlive.end();
    const [whole, refused] = text.split(/(?=HTTP\/1\.1 503 )/);
    expect(whole).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(whole).toMatch(/data: \[DONE\]\n\n\r\n0\r\n\r\n$/);
    expect(refused).toMatch(/\r\nconnection: close\r\n/i);
    expect(refused).toContain('"code":"DRAINING"');

    const { code, account, others } = await server.ended();
    const wanted = clients.map(({ kind, path }) => ({
      path,
      outcome: KINDS[kind].outcome,
      status: KINDS[kind].status,
    }));
    wanted.push({ path: pathOf('ends', 20), outcome: 'completed', status: '200' });
    wanted.push({ path: pathOf('is-refused', 1), outcome: 'refused', status: '503' });
    const byPath = (a: { path: string }, b: { path: string }): number => (a.path < b.path ? -1 : 1);
    expect(account.map(({ path, outcome, status }) => ({ path, outcome, status })).sort(byPath)).toEqual(
      wanted.sort(byPath),
    );
    for (const { path, seen } of staying) {
      const { status, text } = await seen;
      const bytes = account.find((line) => line.path === path)?.bytes;
      if (status === 200) expect([path, bytes]).toEqual([path, text.length]);
    }
    expect(others).toEqual([`listening on ${server.url}`, 'SIGTERM: 41 exchanges are running', 'drained']);
    expect(code).toBe(0);
  }, 20_000);

  it('graceful shutdown: a server that gets SIGTERM is gone at once where nothing is running, whatever connections are open', async () => {
    const { url } = await loadedUpstream();
    const server = await startServer(url, 600_000);
    const unused = net.connect(server.port, '127.0.0.1');
    await once(unused, 'connect');
    const keptAlive = await rawClient(server.port);
    keptAlive.socket.write('GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n');
    await keptAlive.until('Cannot GET /nowhere');

    server.child.kill('SIGTERM');
    expect(await server.ended()).toEqual({
      code: 0,
      account: [],
      others: [`listening on ${server.url}`, 'SIGTERM: 0 exchanges are running', 'drained'],
    });
    await Promise.all([closed(unused.resume()), keptAlive.closed]);
  }, 20_000);
});
