import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';

const exec = promisify(execFile);
jest.setTimeout(60_000);
const root = fileURLToPath(new URL('../..', import.meta.url));
const modules = join(root, 'node_modules');

let directory = '';
let tarball = '';
/** What the tarball holds, without the leading `package/`. */
let files: string[] = [];
/** The dependencies, once installed by npm or, where its cache does not have them, taken from this repository. */
let installed = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'express-sse-proxy-'));
  tarball = await pack();
  const { stdout } = await exec('tar', ['-tzf', tarball]);
  files = stdout
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''));
  installed = join(directory, 'installed');
  await mkdir(installed);
  await writeFile(join(installed, 'package.json'), '{ "private": true }');
  await install(installed);
}, 120_000);

afterAll(() => rm(directory, { recursive: true, force: true }));

/** `npm pack`, without its build: what others read in `dist` stays as it is. */
async function pack(): Promise<string> {
  await exec('npm', ['pack', '--ignore-scripts', '--pack-destination', directory], { cwd: root });
  const name = (await readdir(directory)).find((entry) => entry.endsWith('.tgz'));
  if (name === undefined) throw new Error('npm pack has made no tarball');
  return join(directory, name);
}

async function install(project: string): Promise<void> {
  const offline = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=peer'];
  try {
    await exec('npm', ['install', ...offline, tarball], { cwd: project });
  } catch (error) {
    if (!/ENOTCACHED|ENOTFOUND|request to .* failed/.test(String(error))) throw error;
    const target = join(project, 'node_modules/express-sse-proxy');
    await rm(join(project, 'node_modules'), { recursive: true, force: true });
    await mkdir(target, { recursive: true });
    await exec('tar', ['-xzf', tarball, '-C', target, '--strip-components=1']);
    const { dependencies } = JSON.parse(await readFile(join(target, 'package.json'), 'utf8'));
    for (const name of Object.keys(dependencies)) await borrow(project, name);
  }
}

/** Links a package of this repository's into a project. */
async function borrow(project: string, name: string): Promise<void> {
  const link = join(project, 'node_modules', name);
  await mkdir(dirname(link), { recursive: true });
  if (!existsSync(link)) await symlink(join(modules, name), link);
}

/** A project with the package installed, Express beside it, and these files. */
async function project(name: string, contents: Record<string, string>): Promise<string> {
  const path = join(directory, name);
  await cp(installed, path, { recursive: true, verbatimSymlinks: true });
  for (const dependency of ['express', '@types/express', '@types/node']) await borrow(path, dependency);
  for (const [file, text] of Object.entries(contents)) await writeFile(join(path, file), text);
  return path;
}

/** The output of a Node program; its exit code and errors where it fails. */
async function run(cwd: string, ...args: string[]): Promise<{ failed: boolean; output: string }> {
  try {
    const { stdout } = await exec(process.execPath, args, { cwd, timeout: 60_000 });
    return { failed: false, output: stdout };
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    return { failed: true, output: `${stdout}${stderr}` };
  }
}

/** The upstream sends the second event only after the client has got the first. */
const STREAMING = `
const listen = async (listener) => {
  const server = http.createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return [server, 'http://127.0.0.1:' + server.address().port];
};
async function main() {
  let stream;
  const [upstream, target] = await listen((req, res) => {
    stream = res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.write('data: 1\\n\\n');
  });
  const app = express();
  app.use('/api', createSseProxy({ target }));
  const [server, url] = await listen(app);
  const response = await fetch(url + '/api');
  let text = '';
  for await (const chunk of response.body) {
    text += Buffer.from(chunk);
    if (text.endsWith('1\\n\\n')) stream.end('data: 2\\n\\n');
  }
  console.log(JSON.stringify(text));
  server.close();
  upstream.close();
}
main();
`;
const STREAMED = `${JSON.stringify('data: 1\n\ndata: 2\n\n')}\n`;

describe('the tarball', () => {
  it('tarball: holds what is published, and nothing else', () => {
    expect(files).toEqual(
      expect.arrayContaining(['package.json', 'LICENSE', 'dist/index.js', 'dist/index.d.ts', 'lib/index.ts']),
    );
    const published =
      /^(package\.json|LICENSE|README\.md|CHANGELOG\.md|lib\/[\w/-]+\.ts|lib\/fast-path\/README\.md|dist\/[\w/-]+\.(js|d\.ts)(\.map)?)$/;
    expect(files.filter((file) => !published.test(file))).toEqual([]);
  });

  it('tarball: has every source built, with types and maps', () => {
    const sources = files.filter((file) => /^lib\/.*\.ts$/.test(file)).map((file) => file.slice(4, -3));
    for (const ending of ['.js', '.js.map', '.d.ts', '.d.ts.map']) {
      const built = files.filter((file) => file.startsWith('dist/') && file.endsWith(ending));
      const names = built.map((file) => file.slice(5, -ending.length)).filter((name) => !name.endsWith('.d'));
      expect(names.sort()).toEqual([...sources].sort());
    }
  });

  it('tarball: has source maps that lead to sources in it', async () => {
    const maps = files.filter((file) => file.endsWith('.map'));
    expect(maps.length).toBeGreaterThan(0);
    for (const map of maps) {
      const text = await readFile(join(installed, 'node_modules/express-sse-proxy', map), 'utf8');
      const { sources, sourceRoot = '' } = JSON.parse(text) as { sources: string[]; sourceRoot?: string };
      const paths = sources.map((source) => posix.join(posix.dirname(map), sourceRoot, source));
      expect(paths).toHaveLength(1);
      expect(files).toContain(paths[0]);
    }
  });

  it('tarball: names files that are there, and depends on no tool', async () => {
    const { exports, types, dependencies, scripts } = JSON.parse(
      await readFile(join(installed, 'node_modules/express-sse-proxy/package.json'), 'utf8'),
    );
    for (const entry of [exports['.'], exports['./providers']]) {
      for (const path of [entry.types, entry.default]) expect(files).toContain(posix.normalize(path));
      expect(Object.keys(entry)[0]).toBe('types');
    }
    expect(files).toContain(posix.normalize(types));
    expect(Object.keys(dependencies)).not.toContain('express');
    for (const script of ['preinstall', 'install', 'postinstall']) expect(scripts).not.toHaveProperty(script);
  });
});

describe('a project that installs it', () => {
  it('installed package: a project streams from an ES module', async () => {
    const imports = [
      "import http from 'node:http';",
      "import { once } from 'node:events';",
      "import express from 'express';",
      "import { createSseProxy } from 'express-sse-proxy';",
    ];
    const path = await project('esm', { 'main.mjs': imports.join('\n') + STREAMING });
    expect(await run(path, 'main.mjs')).toEqual({ failed: false, output: STREAMED });
  });

  it('installed package: a project streams from CommonJS, where Node can require an ES module', async () => {
    const requires = [
      "const http = require('node:http');",
      "const { once } = require('node:events');",
      "const express = require('express');",
      "const { createSseProxy } = require('express-sse-proxy');",
    ];
    const path = await project('cjs', { 'main.cjs': requires.join('\n') + STREAMING });
    const { failed, output } = await run(path, 'main.cjs');
    // Jest's `process` is a copy without this.
    const { output: canRequire } = await run(path, '-p', 'process.features.require_module === true');
    if (canRequire === 'true\n') expect({ failed, output }).toEqual({ failed: false, output: STREAMED });
    else expect({ failed, output }).toEqual({ failed: true, output: expect.stringContaining('ERR_REQUIRE_ESM') });
  });

  it('installed package: a project reaches its exports only, and its package.json', async () => {
    const script = `
      const keys = Object.keys(await import('express-sse-proxy'));
      const providers = Object.keys(await import('express-sse-proxy/providers'));
      const inner = await import('express-sse-proxy/dist/options.js').catch((error) => error.code);
      const { default: { name } } = await import('express-sse-proxy/package.json', { with: { type: 'json' } });
      console.log(JSON.stringify([keys, providers, inner, name]));`;
    const path = await project('exports', { 'main.mjs': script });
    const { output } = await run(path, '--no-warnings', 'main.mjs');
    const [keys, providers, inner, name] = JSON.parse(output);
    expect(keys).toEqual(expect.arrayContaining(['SseProxyError', 'createSseProxy']));
    const source = await readFile(join(root, 'lib/providers/index.ts'), 'utf8');
    const named = [...source.matchAll(/^export \{([^}]*)\}/gm)].flatMap(([, list = '']) => list.split(','));
    const values = named.map((name) => name.trim()).filter((name) => name !== '' && !name.startsWith('type '));
    expect(providers).toEqual(values.sort());
    expect(values).toEqual(expect.arrayContaining(['anthropic', 'openai', 'openaiCompatible']));
    expect([inner, name]).toEqual(['ERR_PACKAGE_PATH_NOT_EXPORTED', 'express-sse-proxy']);
  });

  it('installed package: a project needs the packages for Bedrock only where it uses them, and is told which', async () => {
    const script = `
      const { bedrock } = await import('express-sse-proxy/providers');
      const { name } = bedrock({ region: 'us-east-1', apiKey: 'key' });
      const credentials = { accessKeyId: 'id', secretAccessKey: 'secret' };
      try {
        bedrock({ region: 'us-east-1', credentials });
      } catch ({ message }) {
        console.log(name, message);
      }`;
    const path = await project('bedrock', { 'main.mjs': script });
    const { output } = await run(path, 'main.mjs');
    expect(output).toContain('aws.bedrock `credentials` of bedrock() needs the package @smithy/signature-v4');
  });
});

describe('a TypeScript project', () => {
  const GOOD = `
import http from 'node:http';
import express, { type NextFunction, type Request, type Response } from 'express';
import { createSseProxy, debugProxyErrorsPlugin, errorResponsePlugin, loggerPlugin, proxyEventsPlugin, type RequestHandler, SseProxyError, type SseProxyErrorCode, type SseProxyOptions, type StreamSummary } from 'express-sse-proxy';
import { openai, type Provider } from 'express-sse-proxy/providers';

const target = 'http://127.0.0.1:1';
const app = express();
app.use('/x', createSseProxy({
  target,
  rewriteHeaders(head) {
    head.statusCode = 200;
    head.headers['x-a'] = ['1', '2'];
    delete head.headers['x-b'];
  },
  on: {
    proxyReq(proxyReq, req, res) {
      proxyReq.setHeader('x-url', req.url ?? '');
      res.setHeader('x-a', '1');
    },
  },
}));

// Express's own types, asked for and inferred.
app.use(createSseProxy<Request, Response>({
  target,
  router: (req) => \`http://\${req.hostname}\`,
  rewriteHeaders: (_head, { req, res }) => { req.originalUrl.length; res.locals.user; },
  onFinish: async (summary, { req }) => { summary.outcome satisfies string; req.ip; },
}));
const typed = createSseProxy<Request, Response, NextFunction>({ target });
app.use((req, res, next) => void typed(req, res, next));
typed satisfies RequestHandler<Request, Response, NextFunction>;
createSseProxy({ target, plugins: [loggerPlugin, debugProxyErrorsPlugin, proxyEventsPlugin, errorResponsePlugin] });
app.get('/users/:id', createSseProxy<Request<{ id: string }>>({ target, router: (req) => \`http://\${req.params.id}\` }));
app.use(createSseProxy({ target, on: { proxyReq: (_proxyReq, req: Request, res: Response) => { req.originalUrl; res.locals; } } }));

// Without Express.
const proxy = createSseProxy({ target, ws: true });
http.createServer(proxy).on('upgrade', proxy.upgrade);
proxy.active satisfies number;

// With a provider, and hooks on its events.
app.use('/openai', createSseProxy<Request>({
  provider: openai({ apiKey: async ({ req }) => req.headers['x-tenant'] === 'a' ? 'sk-a' : undefined, includeUsage: true }),
  onEvent(event, { locals }) { locals.last = event.json<{ id: string }>()?.id; },
  async transformEvent(event) { event.data = event.data.trim(); },
  onUsage({ inputTokens, complete }, { req }) { [inputTokens satisfies number | undefined, complete satisfies boolean, req.ip]; },
  heartbeat: { interval: 15_000 },
  limits: { eventSize: '2mb' },
}));
const split: SseProxyOptions['transformEvent'] = (event) => event.data === '' ? null : [{ comment: 'x' }, { ...event, id: '1' }];
const own: Provider = { name: 'own', target, read() {}, errorEvent: () => ({ data: '' }), errorBody: () => ({}) };
createSseProxy({ provider: own, transformEvent: split });

const options: SseProxyOptions = { target, onError: 'next', isEventStream: ({ headers }) => 'x-stream' in headers };
createSseProxy(options);
const errors = (error: unknown): SseProxyErrorCode | undefined => error instanceof SseProxyError ? error.code : undefined;
const seconds = ({ timings, error }: StreamSummary): number => error === undefined ? timings.total / 1000 : 0;
export { errors, seconds };
`;
  const BAD = `
import { createSseProxy } from 'express-sse-proxy';
const target = 'http://127.0.0.1:1';
createSseProxy({ target, rewriteHeader() {} });
createSseProxy({ target, onError: 'throw' });
createSseProxy({ target, rewriteHeaders(head) { head.statusCode = '200'; } });
createSseProxy({ target, onFinish(summary) { summary.outcome = 'perhaps'; } });
createSseProxy({ target }).active = 1;
createSseProxy({ target, transformEvent: () => 'text' });
createSseProxy({ target, heartbeat: 'yes' });
`;

  /** The messages of the compiler, by line: \`file(line,column): error TSxxxx\`. */
  async function compile(path: string, ...options: string[]): Promise<string[]> {
    const tsc = join(modules, 'typescript/bin/tsc');
    const strict = ['--noEmit', '--strict', '--target', 'es2022', '--types', 'node'];
    const { output } = await run(path, tsc, ...strict, ...options, 'good.ts', 'bad.ts');
    return output.split('\n').filter((line) => /error TS/.test(line));
  }

  it.each([
    ['nodenext, as an ES module', 'module', ['--module', 'nodenext', '--exactOptionalPropertyTypes']],
    ['nodenext, as CommonJS', 'commonjs', ['--module', 'nodenext', '--skipLibCheck']],
    ['a bundler', 'module', ['--module', 'esnext', '--moduleResolution', 'bundler', '--skipLibCheck']],
  ])(
    'types: a TypeScript project compiles what is right, and only that: %s',
    async (name, type, options) => {
      const manifest = `{ "private": true, "type": "${type}" }`;
      const path = await project(`ts-${name.replace(/\W+/g, '-')}`, {
        'good.ts': GOOD,
        'bad.ts': BAD,
        'package.json': manifest,
      });
      const errors = await compile(path, ...options);
      expect(errors.filter((error) => !error.startsWith('bad.ts'))).toEqual([]);
      expect(errors.map((error) => /^bad\.ts\((\d+),\d+\): error (TS\d+)/.exec(error)?.slice(1))).toEqual([
        ['4', 'TS2561'],
        ['5', 'TS2322'],
        ['6', 'TS2322'],
        ['7', 'TS2322'],
        ['8', 'TS2540'],
        ['9', 'TS2322'],
        ['10', 'TS2322'],
      ]);
    },
    60_000,
  );
});
