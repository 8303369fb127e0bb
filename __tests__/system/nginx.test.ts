import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import compression from 'compression';
import {
  closeAll,
  eventStream,
  onCleanUp,
  type ProxyUnderTest,
  proxyApp,
  readAll,
  reader,
  readUntilCut,
  upstream,
} from '../support/servers.js';
import { signal } from '../support/wire.js';

afterEach(closeAll);

/** nginx with its defaults, `proxy_buffering on` among them, in front of a port; it listens on a Unix socket. */
async function nginx(port: number, directives = ''): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nginx-'));
  onCleanUp(() => rm(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'nginx.sock');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder};`);
  await writeFile(
    join(folder, 'nginx.conf'),
    `
      daemon off;
      # One process: it runs as whoever runs the test, and ends at once.
      master_process off;
      pid ${folder}/nginx.pid;
      error_log stderr warn;
      events {}
      http {
        access_log off;
        ${temporary.join('\n')}
        server {
          listen unix:${socketPath};
          location / {
            proxy_pass http://127.0.0.1:${port};
            ${directives}
          }
        }
      }
    `,
  );
  const child = spawn(process.env.NGINX_PATH ?? '/usr/sbin/nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += chunk;
  });
  onCleanUp(() => stopped(child));
  while (!(await accepts(socketPath))) {
    if (child.exitCode !== null) throw new Error(`nginx did not start: ${log}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return socketPath;
}

async function stopped(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await exit;
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

interface Setup {
  socketPath: string;
  proxy: ProxyUnderTest;
  /** The upstream's next response. */
  response: Promise<ServerResponse>;
  /** The upstream's response has closed. */
  closed: Promise<void>;
}

async function behindNginx(directives?: string): Promise<Setup> {
  const response = signal<ServerResponse>();
  const closed = signal();
  const { url } = await upstream((req, res) => {
    if (req.url === '/json') {
      res.setHeader('content-type', 'application/json').end(JSON.stringify({ text: 'again '.repeat(1_000) }));
      return;
    }
    res.once('close', closed.resolve);
    response.resolve(eventStream(res));
  });
  const proxy = await proxyApp({ target: url }, (app) => {
    app.use(compression());
  });
  const socketPath = await nginx(proxy.port, directives);
  return { socketPath, proxy, response: response.promise, closed: closed.promise };
}

async function get(socketPath: string, path: string): Promise<IncomingMessage> {
  const headers = { 'accept-encoding': 'gzip' };
  const req = http.get({ socketPath, path, headers, agent: false });
  const [response] = (await once(req, 'response')) as [IncomingMessage];
  return response;
}

describe.each([
  ['with its defaults', ''],
  ['with HTTP/1.1 to its upstream', 'proxy_http_version 1.1; proxy_set_header Connection "";'],
])('behind nginx %s', (_name, directives) => {
  it('the head comes before the first token, and each token before the next is sent', async () => {
    const { socketPath, proxy, response } = await behindNginx(directives);
    const answer = await get(socketPath, '/stream');
    expect(answer.headers).toMatchObject({ 'content-type': 'text/event-stream', 'cache-control': 'no-transform' });
    expect(answer.headers).not.toHaveProperty('content-encoding');
    const tokens = reader(answer);
    const res = await response;
    for (let i = 0; i < 50; i += 1) {
      res.write(`data: ${i}\n\n`);
      expect(await tokens.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    res.end();
    await once(answer, 'end');
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('a client that leaves stops the upstream', async () => {
    const { socketPath, proxy, response, closed } = await behindNginx(directives);
    const answer = await get(socketPath, '/stream');
    const tokens = reader(answer);
    (await response).write('data: 1\n\n');
    await tokens.until('\n\n');
    answer.destroy();
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it('an upstream that dies does not look finished', async () => {
    const { socketPath, proxy, response } = await behindNginx(directives);
    const answer = await get(socketPath, '/stream');
    const rest = readUntilCut(answer);
    const res = await response;
    res.write('data: 1\n\n', () => res.destroy());
    expect((await rest).cut).toBe(true);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });

  it('JSON comes whole', async () => {
    const { socketPath } = await behindNginx(directives);
    const answer = await get(socketPath, '/json');
    expect(answer.statusCode).toBe(200);
    expect((await readAll(answer)).length).toBeGreaterThan(0);
  });
});

it('nginx holds a stream back that does not say otherwise (the test of these tests)', async () => {
  const held = signal<ServerResponse>();
  const { port } = await upstream((req, res) => {
    if (req.url === '/stream') held.resolve(eventStream(res));
    else res.end('other');
  });
  const socketPath = await nginx(port);
  let arrived = false;
  const answer = get(socketPath, '/stream').then((response) => {
    response.once('data', () => {
      arrived = true;
    });
    return once(response, 'end');
  });
  const res = await held.promise;
  res.write('data: 1\n\n');
  for (let i = 0; i < 50; i += 1) await readAll(await get(socketPath, '/other'));
  expect(arrived).toBe(false);
  res.end();
  await answer;
  expect(arrived).toBe(true);
});
