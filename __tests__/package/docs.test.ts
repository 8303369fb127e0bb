import { execFile } from 'node:child_process';
import { type ChannelListener, channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { EventEmitter, once } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { calcPrice } from '@pydantic/genai-prices';
import { costFromUsage } from 'tokenlens';
import { accessLog } from '../../lib/index.js';
import * as providers from '../../lib/providers/index.js';
import { openRequest, readAll, reader, request, responseTo } from '../support/clients/http.js';
import { echo, failed, opened } from '../support/clients/web-sockets.js';
import {
  BLOCKS,
  codeOf,
  DONE,
  needsSystem,
  project,
  replaced,
  start,
  textOf,
  tokenEvent,
  withStandIn,
} from '../support/programs/docs.js';
import { ask, CHAT, evaluate, listening, mounted, streams } from '../support/programs/snippets.js';
import { closedPort, connections } from '../support/servers/listen.js';
import { post } from '../support/servers/provider.js';
import { manualUpstream, type PendingRequest } from '../support/servers/upstreams.js';
import { echoUpstream } from '../support/servers/web-sockets.js';
import { exchangeFor } from '../support/streams/dialects.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { Queue } from '../support/watch/wait.js';

const run = promisify(execFile);

/** `subscribe` of a block, until its test is over. */
function subscribed(name: string, listener: ChannelListener): void {
  subscribe(name, listener);
  onCleanUp(() => {
    unsubscribe(name, listener);
  });
}

closeAndWatchEachTest();

const EVENT_STREAM = { 'content-type': 'text/event-stream' };
/** Tells the proxy not to wait before it tries again. */
const AT_ONCE: OutgoingHttpHeaders = { 'retry-after-ms': '1' };

const ACCESS_LINE =
  /^POST (\/openai)?\/v1\/chat\/completions 200 completed gpt-5-mini 12\+345 tokens \d+ B first token [\d.]+ m?s total [\d.]+ m?s$/;

/** Commands that are not run, as they would ask npm's registry: they must be of scripts and packages that are there. */
function checkNpm(code: string): void {
  const { scripts, name, peerDependencies, devDependencies } = JSON.parse(textOf('package.json'));
  const packages = [name, ...Object.keys(peerDependencies), ...Object.keys(devDependencies)];
  for (const command of code
    .trim()
    .replace(/ +#.*/g, '')
    .split(/\n| && /)) {
    const [, script, names] = /^npm (?:(start|test)|install(?: --save-dev)?((?: [\w-]+)*))$/.exec(command) ?? [];
    expect([command, script ?? names]).toEqual([command, expect.any(String)]);
    if (script !== undefined) expect(scripts).toHaveProperty(script);
    for (const name of names?.split(' ').slice(1) ?? []) expect(packages).toContain(name);
  }
}

/** What is printed, without what changes from run to run. */
const steady = (lines: string): string =>
  lines
    .replace(/ \d+: /g, ' PID: ')
    .replace(/\+\d+ ms/g, '+N ms')
    .replace(/\d+ bytes/g, 'N bytes');

/** What is done with each block. */
const RUNS: [titles: string[], run: (...codes: string[]) => Promise<void> | void][] = [
  [['README.md, express-sse-proxy: sh'], checkNpm],
  [['README.md, Quick start: sh'], checkNpm],
  [['CONTRIBUTING.md, From nothing to green: sh'], checkNpm],
  [
    ['README.md, Quick start: js', 'README.md, Quick start: sh 2'],
    async (code, command) => {
      const { url: target, requests } = await manualUpstream();
      const { url, printed } = await start(withStandIn(code, target), command);
      const { headers, question } = await streams({ url: `${url}/openai`, requests });
      expect(headers.authorization).toBe('Bearer sk-...');
      expect(question.stream_options).toEqual({ include_usage: true });
      expect(await printed.next()).toMatch(ACCESS_LINE);
    },
  ],
  [
    ['README.md, Moving from http-proxy-middleware: diff'],
    async (diff) => {
      const [, before = '', after = ''] = /^-(.*)\n\+(.*)\n$/.exec(diff) ?? [];
      const { url: target, requests } = await manualUpstream();
      const app = `import express from 'express';
        import { createProxyMiddleware } from 'http-proxy-middleware';
        const app = express();
        app.use('/openai', createProxyMiddleware({ target: '${target}', pathRewrite: { '^/v0': '/v1' } }));
        app.listen(3000);`;
      const { url } = await start(replaced(app, before, after));
      await streams({ url: `${url}/openai`, requests }, '/v0/chat/completions');
    },
  ],

  [
    ['docs/hide-the-key.md, Hide the key: js'],
    async (code) => {
      const { url: target, requests } = await manualUpstream();
      const { url } = await start(withStandIn(code, target));
      const { headers } = await streams({ url: `${url}/openai`, requests });
      expect(headers.authorization).toBe('Bearer sk-test');
    },
  ],
  [
    ['docs/hide-the-key.md, Providers: js'],
    async (code) => {
      const made: string[] = [];
      const keeping = Object.entries(providers).map(([name, create]) => {
        const keep = (options: never): void => void made.push(`${name}: ${create(options).target}`);
        return [name, keep] as const;
      });
      const { OPENAI_API_KEY: before } = process.env;
      process.env.OPENAI_API_KEY = 'sk-of-the-environment';
      await evaluate(code, {
        imports: { 'express-sse-proxy/providers': Object.fromEntries(keeping) },
        process: { env: { CLAUDE_KEY: 'a' } },
      });
      if (before === undefined) delete process.env.OPENAI_API_KEY;
      else process.env.OPENAI_API_KEY = before;
      expect(made).toEqual([
        'openai: https://api.openai.com',
        'anthropic: https://api.anthropic.com',
        'mistral: https://api.mistral.ai',
        'ollama: http://127.0.0.1:11434',
        'openaiCompatible: http://gpu-1:8000',
      ]);
    },
  ],
  [
    ['docs/hide-the-key.md, Header fields: js'],
    async (code) => {
      const asking = { 'x-internal-id': '7', 'x-public-id': '8' };
      const { req, res, response } = await ask(await mounted(code), CHAT, asking);
      expect(req.headers).toMatchObject({ 'x-tenant': 'acme', 'x-public-id': '8' });
      expect(req.headers).not.toHaveProperty('x-internal-id');
      res.writeHead(200, { 'x-ratelimit-remaining-tokens': '9', server: 'api' }).end('{}');
      const { headers } = await response;
      expect(headers).toMatchObject({ 'x-ratelimit-remaining-tokens': '9', 'x-gateway': 'eu-1' });
      expect(headers).not.toHaveProperty('server');
    },
  ],
  [
    ['docs/hide-the-key.md, Header fields: js 2'],
    async (code) => {
      const app = await mounted(code);
      const { res, response } = await ask(app);
      res.writeHead(200, { 'openai-organization': 'org' }).end('ok');
      const answer = await response;
      expect(answer.headers).toHaveProperty('x-served-by', 'my-gateway');
      expect(answer.headers).not.toHaveProperty('openai-organization');
      expect(String(await readAll(answer))).toBe('ok');
      expect(await app.printed.next()).toMatch(/^POST \/v1\/chat\/completions 200 completed 2 B \d+ ms$/);
    },
  ],
  [
    ['docs/hide-the-key.md, Paths and methods: js'],
    async (code) => {
      const app = await mounted(code);
      const refused = async (method: string, path: string) => (await request(app.url + path, { method })).statusCode;
      expect(await refused('GET', '/v1/files')).toBe(404);
      expect(await refused('GET', '/v1/models/a%2Fb')).toBe(404);
      expect(await refused('DELETE', '/v1/models/gpt-5-mini')).toBe(405);
      const answer = request(`${app.url}/v1/models/gpt-5-mini`);
      (await app.requests.next()).res.end('{}');
      expect((await answer).statusCode).toBe(200);
      await streams(app);
      expect(app.requests.count).toBe(2);
    },
  ],

  [
    ['docs/count-the-tokens.md, Count the tokens: js'],
    async (code) => {
      const charged = new Queue<unknown[]>();
      await streams(await mounted(code, { charge: (...values: unknown[]) => charged.push(values) }));
      expect(await charged.next()).toEqual([{ name: 'ada', tenant: 'acme' }, 12, 345, true]);
    },
  ],
  [
    ['docs/count-the-tokens.md, onFinish: js'],
    async (code) => {
      const app = await mounted(code);
      await streams(app);
      expect(await app.printed.next()).toMatch(/^completed gpt-5-mini stop 345 [\d.]+$/);
    },
  ],
  [
    ['docs/count-the-tokens.md, What it cost: js'],
    async (code) => {
      const app = await mounted(code);
      await streams(app);
      // 12 tokens in, 345 out.
      expect(await app.printed.next()).toContain(' 12+345 tokens cost 0.000693 ');
    },
  ],
  [
    ['docs/count-the-tokens.md, What it cost: js 2', 'docs/count-the-tokens.md, What it cost: js 3'],
    async (code) => {
      const imports = { '@pydantic/genai-prices': { calcPrice }, tokenlens: { costFromUsage } };
      const app = await mounted(code, { imports });
      await streams(app);
      // 12 tokens in at 0.25 dollars per million, 345 out at 2.
      expect(await app.printed.next()).toContain(' 12+345 tokens cost 0.000693 ');
    },
  ],
  [
    ['docs/count-the-tokens.md, A line per answer: js'],
    async (code) => {
      const app = await mounted(code);
      await streams(app);
      expect(await app.printed.next()).toMatch(ACCESS_LINE);
    },
  ],
  [
    ['docs/count-the-tokens.md, A line per answer: text'],
    (line) => {
      const written: string[] = [];
      const exchange = exchangeFor(CHAT);
      Object.assign(exchange.req, { method: 'POST', url: `/openai${CHAT}?key=k` });
      accessLog({ write: (line) => written.push(`${line}\n`) })(
        {
          outcome: 'completed',
          statusCode: 200,
          attempts: [{ target: 'https://api.openai.com' }],
          bytes: 17_306,
          usage: { inputTokens: 12, outputTokens: 345, complete: true },
          model: 'gpt-5-mini',
          timings: { firstToken: 312, total: 4_213 },
        },
        exchange,
      );
      expect(written).toEqual([line]);
    },
  ],
  [
    ['docs/count-the-tokens.md, A line per answer: js 2'],
    async (code) => {
      const app = await mounted(code);
      await streams(app);
      expect(JSON.parse(await app.printed.next())).toMatchObject({
        'url.path': CHAT,
        outcome: 'completed',
        'gen_ai.usage.output_tokens': 345,
      });
    },
  ],

  [
    ['docs/read-and-change-events.md, Watch the events: js'],
    async (code) => {
      const app = await mounted(code);
      await streams(app);
      expect(await app.printed.next()).toBe(`${CHAT} One`);
      expect(await app.printed.next()).toBe(`${CHAT}  two`);
    },
  ],
  [
    ['docs/read-and-change-events.md, Change the events: js'],
    async (code) => {
      const { res, response } = await ask(await mounted(code));
      const odd = 'data:  {"id" : 1}\n\n';
      res.writeHead(200, EVENT_STREAM).end(`${odd}data: {"system_fingerprint":"fp","id":2}\n\n${DONE}`);
      expect(String(await readAll(await response))).toBe(`${odd}data: {"id":2}\n\n${DONE}`);
    },
  ],
  [
    ['docs/read-and-change-events.md, Heartbeats: js'],
    async (code) => {
      const { res, response } = await ask(await mounted(replaced(code, '15_000', '20')));
      res.writeHead(200, EVENT_STREAM).write(tokenEvent('One'));
      const { until } = reader(await response);
      await until(tokenEvent('One'));
      expect(await until('\n\n')).toBe(': ping\n\n');
      res.end(DONE);
      await until(DONE);
    },
  ],

  [
    ['docs/survive-an-outage.md, Retries: js'],
    async (code) => {
      const app = await mounted(code);
      const { res, response } = await ask(app, '/v1/messages');
      res.writeHead(529, AT_ONCE).end('{}');
      (await app.requests.next()).res.end('{}');
      expect((await response).statusCode).toBe(200);
    },
  ],
  [
    ['docs/survive-an-outage.md, Fallbacks: js'],
    async (code) => {
      const azure = await manualUpstream();
      const gpu = await manualUpstream();
      const env = { OPENAI_API_KEY: 'sk-test', AZURE_URL: azure.url, AZURE_KEY: 'of-azure' };
      const app = await mounted(replaced(code, 'http://gpu-1:8000', gpu.url), { process: { env } });
      const { res, response } = await ask(app);
      res.writeHead(503, AT_ONCE).end();
      (await app.requests.next()).res.writeHead(503, AT_ONCE).end();
      for (let attempt = 1; attempt <= 2; attempt += 1) {
        const { req, res } = await azure.requests.next();
        expect(req.headers.authorization).toBe('Bearer of-azure');
        res.writeHead(503, AT_ONCE).end();
      }
      const last = await gpu.requests.next();
      expect(last.req.url).toBe(`/api${CHAT}`);
      last.res.end('{}');
      expect((await response).statusCode).toBe(200);
      expect([app.requests.count, azure.requests.count, gpu.requests.count]).toEqual([2, 2, 1]);
    },
  ],
  [
    ['docs/survive-an-outage.md, Errors inside a 200: js'],
    async (code) => {
      const app = await mounted(code);
      const { res, response } = await ask(app, '/v1/messages');
      const error = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
      res.writeHead(200, EVENT_STREAM).end(`event: error\ndata: ${JSON.stringify(error)}\n\n`);
      const answer = 'event: message_stop\ndata: {"type":"message_stop"}\n\n';
      (await app.requests.next()).res.writeHead(200, EVENT_STREAM).end(answer);
      expect(String(await readAll(await response))).toBe(answer);
    },
  ],
  [
    ['docs/survive-an-outage.md, Limits: js'],
    async (code) => {
      const { url, requests } = await mounted(code);
      const tooLarge = { 'content-length': 10 * 1024 * 1024 + 1 };
      const large = openRequest(url, { method: 'POST', headers: tooLarge });
      large.flushHeaders();
      expect((await responseTo(large)).statusCode).toBe(413);

      // 200 run, 50 wait, and one is too many.
      const asked = Array.from({ length: 251 }, () => responseTo(openRequest(url).end()));
      const running: PendingRequest[] = [];
      while (running.length < 200) running.push(await requests.next());
      const refused = await Promise.race(asked);
      expect([refused.statusCode, refused.headers['retry-after']]).toEqual([503, '1']);
      expect(requests.count).toBe(200);
      running[0]?.res.end();
      await requests.next();
    },
  ],

  [
    ['docs/observe.md, One id for all of it: js'],
    async (code) => {
      const app = await mounted(code);
      const { req, res, response } = await ask(app);
      res.end('ok');
      const { headers } = await response;
      const id = String(req.headers['x-request-id']);
      expect(id).toMatch(/^[\da-f-]{36}$/);
      expect(headers['x-request-id']).toBe(id);
      expect(await app.printed.next()).toBe(`${id} completed`);
    },
  ],
  [
    ['docs/observe.md, Diagnostics channels: js', 'docs/observe.md, Stalls: js'],
    async (...codes) => {
      const printed = new Queue<string>();
      const print = (...values: unknown[]): void => printed.push(values.join(' '));
      for (const code of codes) {
        const imports = { 'node:diagnostics_channel': { subscribe: subscribed } };
        await evaluate(code, { imports, console: { log: print, warn: print } });
      }
      const app = await mounted('createSseProxy({ provider: openai({ apiKey, includeUsage: true }), onUsage() {} });');
      await streams(app);
      expect(await printed.next()).toMatch(/^[\da-f-]{36} completed http:\/\/127\.0\.0\.1:\d+ 345 [\d.]+$/);
      channel('express-sse-proxy:exchange:stalled').publish({ id: 1, cause: 'hook', hook: 'router', duration: 10_400 });
      expect(await printed.next()).toBe('1 hook router 10');
    },
  ],
  [
    ['docs/deploy.md, SIGTERM: js'],
    async (code) => {
      const { url: target, requests } = await manualUpstream();
      const process = new EventEmitter();
      const { server, url } = await listening(code.replaceAll('https://api.openai.com', target), { process });
      const idle = openRequest(url);
      await new Promise<void>((resolve) => void idle.once('socket', (socket) => socket.once('connect', resolve)));
      const response = post(url, '{}');
      const { res } = await requests.next();
      res.writeHead(200, EVENT_STREAM).write(tokenEvent('One'));
      const { until } = reader(await response);
      expect(await until(tokenEvent('One'))).toBe(tokenEvent('One'));
      expect(await connections(server)).toBe(2);

      const closed = once(server, 'close');
      process.emit('SIGTERM');
      // What is running goes on.
      res.end(tokenEvent(' two') + DONE);
      expect(await until(DONE)).toBe(tokenEvent(' two') + DONE);
      await closed;
    },
  ],
  [
    ['docs/deploy.md, Troubleshooting: sh', 'docs/deploy.md, Troubleshooting: text'],
    async (command, lines) => {
      const { url: target, requests } = await manualUpstream();
      const program = await start(withStandIn(codeOf('README.md, Quick start: js'), target), command);
      await streams({ url: `${program.url}/openai`, requests });
      // Its account is the last that it says.
      await program.printed.next();
      const said = (await program.stopped()).replaceAll(target, 'https://api.openai.com');
      expect(steady(said)).toBe(steady(lines));
    },
  ],

  [
    ['docs/websockets.md, WebSockets: js'],
    async (code) => {
      const { url, handshakes } = await echoUpstream();
      const env = { REALTIME_KEY: 'sk-realtime' };
      const own = replaced(code, 'http://127.0.0.1:8000', url);
      const { url: address } = await listening(own, { process: { env } });
      const socket = await opened(`${address.replace('http', 'ws')}/v1/realtime`, { cookie: 'a=1' });
      expect(await echo(socket, 'hello')).toBe('hello');
      expect(handshakes[0]?.headers).toMatchObject({ authorization: 'Bearer sk-realtime' });
      expect(handshakes[0]?.headers).not.toHaveProperty('cookie');
      expect((await failed(`${address.replace('http', 'ws')}/other`)).message).toContain('404');
      const closed = once(socket, 'close');
      socket.close();
      await closed;
    },
  ],

  [
    ['docs/errors.md, What an error looks like: json'],
    async (body) => {
      const target = `http://127.0.0.1:${await closedPort()}`;
      const { url } = await listening('express().use(createSseProxy({ target })).listen(3000);', { target });
      const response = await request(url);
      expect([response.statusCode, response.headers['content-type']]).toEqual([502, 'application/json; charset=utf-8']);
      expect(JSON.parse(String(await readAll(response)))).toEqual(JSON.parse(body));
    },
  ],
  [
    ['docs/errors.md, What an error looks like: js'],
    async (code) => {
      const target = `http://127.0.0.1:${await closedPort()}`;
      const { url } = await listening(replaced(code, 'https://api.openai.com', target), {});
      const response = await request(url);
      expect([response.statusCode, String(await readAll(response))]).toEqual([502, '{"sorry":"UPSTREAM_UNREACHABLE"}']);
    },
  ],

  [['docs/test-your-app.md, Test your app: sh'], checkNpm],
  [
    [
      'docs/test-your-app.md, The app: js',
      'docs/test-your-app.md, The stand-in: js',
      'docs/test-your-app.md, The head: js',
      'docs/test-your-app.md, The stream: js',
    ],
    async (...codes) => {
      const files = codes.map((code) => [/^\/\/ (\S+)\n/.exec(code)?.[1] ?? '', code] as const);
      expect(files.map(([name]) => name)).toEqual(['app.js', 'support.js', 'head.test.js', 'stream.test.js']);
      const cwd = await project({ 'package.json': '{ "type": "module" }', ...Object.fromEntries(files) });
      const { stdout } = await run(process.execPath, ['--test', '--test-reporter=tap'], { cwd, timeout: 20_000 });
      expect(stdout).toContain('\n# pass 6\n# fail 0\n# cancelled 0\n# skipped 0\n# todo 0\n');
    },
  ],
];

describe('the code blocks', () => {
  it('code blocks of the documentation: are each run once, here or in the system tests', () => {
    const here = BLOCKS.filter((block) => !needsSystem(block)).map(({ title }) => title);
    expect(RUNS.flatMap(([titles]) => titles).sort()).toEqual(here.sort());
  });

  it.each(RUNS.map(([titles, run]) => ({ titles, run, names: titles.join(', ') })))(
    'code blocks of the documentation: $names',
    ({ titles, run }) => run(...titles.map(codeOf)),
    20_000,
  );
});
