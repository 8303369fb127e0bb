import { existsSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { SseProxyError, type SseProxyErrorCode } from '../lib/index.js';
import { resolveOptions } from '../lib/options.js';
import { closeAll, proxyApp, upstream } from './support/servers.js';

afterEach(closeAll);

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

/** The rows of the table below this header, each as its cells. */
function table(header: string): string[][] {
  const start = readme.indexOf(`${header}\n`);
  if (start < 0) throw new Error(`The README has no table ${header}`);
  const [, , ...rows] = readme.slice(start).split('\n\n', 1)[0]?.split('\n') ?? [];
  return rows.map((row) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe('the threat model', () => {
  it('names for each threat the tests that hold what stands against it', () => {
    const security = readFileSync(new URL('../SECURITY.md', import.meta.url), 'utf8');
    const rows = [...security.matchAll(/^\| (?!threat|-)(.+) \| .+ \| (.+) \|$/gm)];
    expect(rows.length).toBeGreaterThan(20);
    for (const [, threat, held = ''] of rows) {
      const files = [...held.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file]) => file);
      expect([threat, files.length]).not.toEqual([threat, 0]);
      for (const file of files) expect([file, existsSync(new URL(file ?? '', import.meta.url))]).toEqual([file, true]);
    }
  });
});

describe('the README', () => {
  it('has every error code, with its status', () => {
    const source = readFileSync(new URL('../lib/errors.ts', import.meta.url), 'utf8');
    const known = [...source.matchAll(/^ {2}([A-Z_]+): \[/gm)].map(([, code]) => code);
    const rows = table('| `code` | status | |');
    expect(rows.map(([code]) => code?.replaceAll('`', ''))).toEqual(known);
    for (const [code, statuses] of rows) {
      const { statusCode } = new SseProxyError(code?.replaceAll('`', '') as SseProxyErrorCode);
      if (statuses !== '') expect(statuses?.split(', ')).toContain(String(statusCode));
    }
  });

  it('has every option of our own, in the table', () => {
    const source = readFileSync(new URL('../lib/options.ts', import.meta.url), 'utf8');
    const [, own = ''] = /const OWN_OPTIONS = \{(.*?)\n\}/s.exec(source) ?? [];
    const known = [...own.matchAll(/^ {2}(\w+): /gm)].map(([, name]) => name);
    const rows = table('| option | type | default | meaning |').map(([name]) => name ?? '');
    const named = new Set(rows.flatMap((cell) => [...cell.matchAll(/`(\w+)/g)].map(([, name]) => name)));
    expect(known.length).toBeGreaterThan(10);
    expect(named).toEqual(new Set(['target', ...known]));
  });

  it('has every figure of the usage', () => {
    const source = readFileSync(new URL('../lib/types.ts', import.meta.url), 'utf8');
    const [, usage = ''] = /export interface Usage \{(.*?)\n\}/s.exec(source) ?? [];
    const known = [...usage.matchAll(/^ {2}(\w+)\??: /gm)].map(([, name]) => name);
    const start = readme.indexOf('| `inputTokens` |');
    const named = [...readme.slice(start, readme.indexOf('\n\n', start)).matchAll(/^\| (.*?) \|/gm)].flatMap(
      ([, cell = '']) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name),
    );
    expect(new Set(named)).toEqual(new Set(known));
  });

  it('has the defaults of the deadlines and of the retries', () => {
    const { timeouts, retry } = resolveOptions({ target: 'http://127.0.0.1:1', retry: {} });
    const rows = table('| `timeouts` | default | how long |');
    expect(Object.fromEntries(rows.map(([name, value]) => [name, value]))).toEqual(
      Object.fromEntries(
        Object.entries(timeouts).map(([name, value]) => [
          `\`${name}\``,
          value === false ? '`false`' : `${value / 1000} s`,
        ]),
      ),
    );
    const retries = new Map(table('| `retry` | default | |').map(([name, value]) => [name, value]));
    expect(retries.get('`maxRetries`')).toBe(String(retry.maxRetries));
    expect(retries.get('`statusCodes`')).toBe(retry.statusCodes.join(', '));
    expect(retries.get('`methods`')).toContain(retry.methods.join(', '));
    expect(retries.get('`maxBodySize`')).toBe("`'1mb'`");
    expect(retries.get('`minTimeout`, `maxTimeout`, `timeoutFactor`')).toBe(
      [retry.minTimeout, retry.maxTimeout, retry.timeoutFactor].map((n) => n.toLocaleString('en-US')).join(', '),
    );
  });

  it('has every header field that is withheld', () => {
    const source = readFileSync(new URL('../lib/header-policy.ts', import.meta.url), 'utf8');
    const known = (table: string): string[] => {
      const [, list = ''] = new RegExp(`const ${table} = \\[(.*?)\\];`, 's').exec(source) ?? [];
      return [...list.matchAll(/'([^']+)'/g)].map(([, name = '']) => name);
    };
    const named = (header: string): string[] =>
      table(header).flatMap(([names = '']) => [...names.matchAll(/`([^`?]+)`/g)].map(([, name = '']) => name));
    expect(known('PROVIDER_SURROUNDINGS').length).toBeGreaterThan(10);
    expect(named('| not sent to the provider | |')).toEqual([
      ...known('CALLER_CREDENTIALS'),
      ...known('CALLER_SURROUNDINGS'),
    ]);
    expect(named('| not sent to the client | |')).toEqual(known('PROVIDER_SURROUNDINGS'));
  });

  it('justifies each runtime dependency', () => {
    const { dependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
      dependencies: object;
    };
    const [, sentence = ''] = /^Runtime dependencies: (.*?)\n\n/ms.exec(readme) ?? [];
    const named = [...sentence.matchAll(/`([a-z-]+)`(?: \(|;)/g)].map(([, name]) => name);
    expect(new Set(named)).toEqual(new Set(Object.keys(dependencies)));
  });

  it('has every outcome', () => {
    const outcomes = table('| what happened | the client sees | `summary.outcome` |').map(([, , outcome]) => outcome);
    expect(new Set(outcomes)).toEqual(
      new Set(
        [
          'completed',
          'client-closed',
          'upstream-error',
          'timeout',
          'upstream-truncated',
          'refused',
          'drained',
          'failed',
        ].map((o) => `\`${o}\``),
      ),
    );
  });

  it('shows a rewriteHeaders that does what it says', async () => {
    const { url } = await upstream((_req, res) => res.setHeader('openai-organization', 'org').end('ok'));
    const proxy = await proxyApp({
      target: url,
      rewriteHeaders(head) {
        delete head.headers['openai-organization'];
        head.headers['x-served-by'] = 'my-gateway';
      },
    });
    const { headers } = await supertest(proxy.app).get('/').expect(200, 'ok').expect('x-served-by', 'my-gateway');
    expect(headers).not.toHaveProperty('openai-organization');
  });

  it('shows the body of an error as it is sent', async () => {
    const { url, server } = await upstream(() => {});
    server.close();
    const proxy = await proxyApp({ target: url });
    await supertest(proxy.app)
      .get('/')
      .expect(502)
      .expect('content-type', 'application/json; charset=utf-8')
      .expect({
        error: {
          message: 'The upstream could not be reached.',
          type: 'proxy_error',
          code: 'UPSTREAM_UNREACHABLE',
        },
      });
  });
});
