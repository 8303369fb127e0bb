import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { beginWithEvent, expectOneByOne } from '../support/clients/ask.js';
import { reader } from '../support/clients/http.js';
import {
  BLOCKS,
  codeOf,
  needsSystem,
  ROOT,
  replaced,
  start,
  tokenByToken,
  withStandIn,
} from '../support/programs/docs.js';
import { caddyOptions, FRONT_SERVERS, nginxAround, startFront } from '../support/programs/front-servers.js';
import { proxyApp } from '../support/servers/proxies.js';
import { manualUpstream } from '../support/servers/upstreams.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

const run = promisify(execFile);

closeAndWatchEachTest();

/** A command of curl's against the program above it: each token is there before the next is sent. */
async function curl(command: string, title: string): Promise<void> {
  const { url: target, requests } = await manualUpstream();
  const { url } = await start(withStandIn(codeOf(title), target));
  const child = spawn('sh', ['-c', replaced(command, 'http://localhost:3000', url)], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onCleanUp(() => void child.kill());
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const { req, res } = await requests.next();
  expect([req.url, req.headers.authorization]).toEqual(['/v1/chat/completions', 'Bearer sk-test']);
  await tokenByToken({ req, res }, Promise.resolve(reader(child.stdout)));
  expect(await exited).toBe(0);
}

/** A server in front with this configuration: each event is there before the next is sent, and a client's leaving is noticed. */
async function front(name: string, config: string): Promise<void> {
  const server = FRONT_SERVERS.find((server) => server.name === name);
  if (server === undefined) throw new Error(`There is no ${name}`);
  const { url: target, requests } = await manualUpstream();
  const { port, summary } = await proxyApp({ target });
  const { http1, http2 } = await startFront(
    { ...server, config: (place) => CONFIGS[name]?.(config, place) ?? '' },
    port,
  );
  for (const ask of [http1, http2]) {
    const { answer, res, closed } = await beginWithEvent(ask, requests);
    await expectOneByOne(answer, res);
    answer.leave();
    await closed;
    expect((await summary()).outcome).toBe('client-closed');
  }
}

type Place = Parameters<(typeof FRONT_SERVERS)[number]['config']>[0];

/** The configurations as a whole, with the test's sockets in the place of ports. */
const CONFIGS: Record<string, (config: string, place: Place) => string> = {
  nginx: (config, { folder, plain, secure, pem, port }) => {
    const listen = `listen unix:${plain}; listen unix:${secure} ssl http2; ssl_certificate ${pem}; ssl_certificate_key ${pem};`;
    const server = replaced(replaced(config, 'listen 80;', listen), '127.0.0.1:3000', `127.0.0.1:${port}`);
    return nginxAround({ folder }, server);
  },
  haproxy: (config, { plain, secure, pem, port }) => {
    const bind = `bind unix@${plain}\n  bind unix@${secure} ssl crt ${pem} alpn h2`;
    return replaced(replaced(config, 'bind :80', bind), '127.0.0.1:3000', `127.0.0.1:${port}`);
  },
  caddy: (config, { folder, plain, secure, pem, port }) => {
    const site = (name: string, bind: string): string =>
      replaced(replaced(config, 'example.com {', `${name} {\n  ${bind}`), '127.0.0.1:3000', `127.0.0.1:${port}`);
    const secured = site('https://localhost', `bind unix/${secure}\n  tls ${pem} ${pem}`);
    return caddyOptions({ folder }) + site('http://localhost', `bind unix/${plain}`) + secured;
  },
};

/** What is done with each block that needs a program of the system. */
const RUNS: [title: string, run: (code: string) => Promise<void>][] = [
  ['README.md, Quick start: sh 3', (command) => curl(command, 'README.md, Quick start: js')],
  ['docs/hide-the-key.md, Hide the key: sh', (command) => curl(command, 'docs/hide-the-key.md, Hide the key: js')],
  ['docs/deploy.md, Troubleshooting: sh 2', (command) => curl(command, 'README.md, Quick start: js')],
  ['docs/deploy.md, nginx: nginx', (config) => front('nginx', config)],
  ['docs/deploy.md, HAProxy: haproxy', (config) => front('haproxy', config)],
  ['docs/deploy.md, Caddy: caddyfile', (config) => front('caddy', config)],
];

describe('the code blocks', () => {
  it('are each run once, here or where nothing of the system is needed', () => {
    const here = BLOCKS.filter(needsSystem).map(({ title }) => title);
    expect(RUNS.map(([title]) => title).sort()).toEqual(here.sort());
  });

  it.each(RUNS)('%s', (title, run) => run(codeOf(title)), 30_000);
});

describe('the API reference', () => {
  it('is what TypeDoc makes of the sources, without a warning', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'express-sse-proxy-api-'));
    onCleanUp(() => rm(folder, { recursive: true, force: true }));
    await run(process.execPath, ['node_modules/typedoc/bin/typedoc', '--out', folder], { cwd: ROOT });
    const made = await pagesIn(folder);
    expect(made.size).toBeGreaterThan(2);
    expect(await pagesIn(join(ROOT, 'docs/api'))).toEqual(made);
  }, 60_000);
});

/** The files of a folder with what is in them. */
async function pagesIn(folder: string): Promise<Map<string, string>> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.md')).sort();
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const)),
  );
}
