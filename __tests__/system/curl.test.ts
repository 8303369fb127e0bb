import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../lib/index.js';
import { reader } from '../support/clients/http.js';
import { ABORTS, compatible, ERRORS, HEARTBEATS, STREAMS } from '../support/programs/compatibility.js';
import { stop } from '../support/programs/run.js';
import { appStack } from '../support/servers/app-stack.js';
import { type ProxyUnderTest, proxyApp } from '../support/servers/proxies.js';
import { eventStream, manualUpstream, type PendingRequest } from '../support/servers/upstreams.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

closeAndWatchEachTest();

/** https://curl.se/docs/manpage.html#EXIT */
const PARTIAL_FILE = 18;
const HTTP_RETURNED_ERROR = 22;

const [version = ''] = /\d+\.\d+\.\d+/.exec(execFileSync('curl', ['--version'], { encoding: 'utf8' })) ?? [];

interface Asking extends PendingRequest {
  curl: ChildProcess & { stdout: Readable };
  /** Its exit code. */
  exit: Promise<number | null>;
  proxy: ProxyUnderTest;
}

/** curl asks through the proxy of an app, as the README does. */
async function ask(options: SseProxyOptions = {}, ...args: string[]): Promise<Asking> {
  const { url, requests } = await manualUpstream();
  const proxy = await proxyApp({ target: url, ...options }, appStack());
  const given = ['--silent', '--no-buffer', ...args, `${proxy.url}/v1/chat`, '--json', '{ "stream": true }'];
  const curl = spawn('curl', given, { stdio: ['ignore', 'pipe', 'ignore'] });
  const exit = once(curl, 'exit').then(([code]) => code as number | null);
  onCleanUp(() => stop(curl));
  return { curl, exit, proxy, ...(await requests.next()) };
}

describe(compatible('client', 'curl', version), () => {
  it(STREAMS, async () => {
    const { curl, exit, res, proxy } = await ask();
    const { until } = reader(curl.stdout);
    eventStream(res);
    for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: [DONE]\n\n']) {
      res.write(event);
      expect(await until(event)).toBe(event);
    }
    res.end();
    expect(await exit).toBe(0);
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it('asks for compression', async () => {
    const { curl, exit, res } = await ask({}, '--compressed');
    const { until } = reader(curl.stdout);
    eventStream(res).write('data: 1\n\n');
    expect(await until('data: 1\n\n')).toBe('data: 1\n\n');
    res.end();
    expect(await exit).toBe(0);
  });

  it(ABORTS, async () => {
    const { curl, res, closed, proxy } = await ask();
    const { until } = reader(curl.stdout);
    eventStream(res).write('data: 1\n\n');
    await until('data: 1\n\n');
    curl.kill('SIGINT');
    await closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });

  it(ERRORS, async () => {
    // The exit code is the same for every status.
    const { curl, exit, res } = await ask({}, '--fail-with-body', '--write-out', ' %{http_code}');
    const said = text(curl.stdout);
    res.writeHead(429, { 'content-type': 'application/json' }).end('{"error":{}}');
    expect(await said).toBe('{"error":{}} 429');
    expect(await exit).toBe(HTTP_RETURNED_ERROR);
  });

  it(HEARTBEATS, async () => {
    const { curl, exit, res } = await ask({ heartbeat: { interval: 10 } });
    const { until } = reader(curl.stdout);
    eventStream(res);
    await until(': ping\n\n: ping\n\n');
    res.end('data: 1\n\n');
    expect(await until('data: 1\n\n')).toMatch(/^(: ping\n\n)*data: 1\n\n$/);
    expect(await exit).toBe(0);
  });

  it('an upstream that dies', async () => {
    const { curl, exit, res, proxy } = await ask();
    const { until } = reader(curl.stdout);
    eventStream(res).write('data: 1\n\n');
    await until('data: 1\n\n');
    res.destroy();
    expect(await exit).toBe(PARTIAL_FILE);
    expect((await proxy.summary()).outcome).toBe('upstream-truncated');
  });
});
