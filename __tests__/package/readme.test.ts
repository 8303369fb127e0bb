import { existsSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { SseProxyError, type SseProxyErrorCode } from '../../lib/index.js';
import { resolveOptions } from '../../lib/options/resolve.js';
import { ACCOUNT_HEADERS } from '../../lib/providers/auth/account-headers.js';
import { textOf } from '../support/programs/docs.js';

/** The rows of the table below this header, each as its cells. */
function table(page: string, header: string): string[][] {
  const text = textOf(page);
  const start = text.indexOf(`${header}\n`);
  if (start < 0) throw new Error(`${page} has no table ${header}`);
  const [, , ...rows] = text.slice(start).split('\n\n', 1)[0]?.split('\n') ?? [];
  return rows.map((row) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe('the threat model', () => {
  it('threat model: names for each threat the tests that hold what stands against it', () => {
    const rows = [...textOf('SECURITY.md').matchAll(/^\| (?!threat|-)(.+) \| .+ \| (.+) \|$/gm)];
    expect(rows.length).toBeGreaterThan(20);
    for (const [, threat, held = ''] of rows) {
      const files = [...held.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file]) => file);
      expect([threat, files.length]).not.toEqual([threat, 0]);
      for (const file of files)
        expect([file, existsSync(new URL(`../${file}`, import.meta.url))]).toEqual([file, true]);
    }
  });
});

describe('the error codes', () => {
  const sections = textOf('docs/errors.md').split(/^### (?=[A-Z_]+ \()/m);
  sections.shift();

  it('error codes: are all there, in order', () => {
    const known = [...textOf('lib/errors.ts').matchAll(/^ {2}([A-Z_]+): \[/gm)].map(([, code]) => code);
    expect(known.length).toBeGreaterThan(20);
    expect(sections.map((section) => section.split(' ', 1)[0])).toEqual(known);
  });

  it.each(sections.map((section) => [section.split(' ', 1)[0] as SseProxyErrorCode, section] as const))(
    'error codes: %s has its status, its message, and what to do',
    (code, section) => {
      const { statusCode, message } = new SseProxyError(code);
      const [, statuses, quoted, text = ''] = /^[A-Z_]+ \(([\d, ]+)\)\n\n> ([^\n]*)\n\n(.*)$/s.exec(section) ?? [];
      expect(statuses?.split(', ')).toContain(String(statusCode));
      expect(quoted).toBe(message);
      // What happened, what the client gets, and what to do.
      expect(text.split(/[.:]\s/).length).toBeGreaterThan(2);
    },
  );
});

describe('the documentation', () => {
  it('documentation: has every option of our own, in the table', () => {
    const [, own = ''] = /const OWN_OPTIONS = \{(.*?)\n\}/s.exec(textOf('lib/options/schema.ts')) ?? [];
    const known = [...own.matchAll(/^ {2}(\w+): /gm)].map(([, name]) => name);
    const rows = table('README.md', '| option | type | default | meaning |').map(([name]) => name ?? '');
    const named = new Set(rows.flatMap((cell) => [...cell.matchAll(/`(\w+)/g)].map(([, name]) => name)));
    expect(known.length).toBeGreaterThan(10);
    expect(named).toEqual(new Set(['target', ...known]));
  });

  it('documentation: has every figure of the usage', () => {
    const [, usage = ''] = /export interface Usage \{(.*?)\n\}/s.exec(textOf('lib/types/summary.ts')) ?? [];
    const known = [...usage.matchAll(/^ {2}(\w+)\??: /gm)].map(([, name]) => name);
    const text = textOf('docs/count-the-tokens.md');
    const start = text.indexOf('| `inputTokens` |');
    const named = [...text.slice(start, text.indexOf('\n\n', start)).matchAll(/^\| (.*?) \|/gm)].flatMap(
      ([, cell = '']) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name),
    );
    expect(known.length).toBeGreaterThan(5);
    expect(new Set(named)).toEqual(new Set(known));
  });

  it('documentation: has every diagnostics channel, with the members of its messages', () => {
    const source = textOf('lib/types/diagnostics.ts');
    const membersOf = (name: string): string[] => {
      const [, own = ''] = new RegExp(`export interface ${name} extends .*?\\{(.*?)\\n\\}`, 's').exec(source) ?? [];
      return [...own.matchAll(/^ {2}readonly (\w+\??): /gm)].map(([, member = '']) => member);
    };
    const [, channels = ''] = /export interface ExchangeMessages \{(.*?)\n\}/s.exec(source) ?? [];
    const known = [...channels.matchAll(/^ {2}'(.+)': (\w+);/gm)].map(([, channel, name = '']) => [
      channel,
      membersOf(name),
    ]);
    const named = table('docs/observe.md', '| channel | when | in the message, beside `id` |').map(
      ([channel, , members = '']) => [
        channel?.replaceAll('`', ''),
        [...members.matchAll(/`(\w+\??)`/g)].map(([, member]) => member),
      ],
    );
    expect(known.length).toBeGreaterThan(5);
    // The end has the summary, which is documented elsewhere.
    expect(named).toEqual(
      known.map(([channel, members]) => [
        channel,
        String(channel).endsWith(':ended') ? ['onFinish', 'error'] : members,
      ]),
    );
  });

  it('documentation: has every member of a line of JSON', () => {
    const [, line = ''] =
      /function jsonLine\(.*?JSON\.stringify\(\{(.*?)\n {2}\}\);/s.exec(textOf('lib/observe/access-log.ts')) ?? [];
    const own = [...line.matchAll(/^ {4}(?:'([\w.]+)'|(\w+))[:,]/gm)].map(([, quoted, name]) => quoted ?? name);
    const known = [...own, 'server.address', 'server.port'];
    const named = table('docs/count-the-tokens.md', '| member | |').flatMap(([names = '']) =>
      [...names.matchAll(/`([\w.]+)`/g)].map(([, name]) => name),
    );
    expect(known.length).toBeGreaterThan(15);
    expect(named.sort()).toEqual(known.sort());
  });

  it('documentation: has the defaults of the deadlines and of the retries', () => {
    const { timeouts, retry } = resolveOptions({ target: 'http://127.0.0.1:1', retry: {} });
    const rows = table('docs/survive-an-outage.md', '| `timeouts` | default | how long |');
    expect(Object.fromEntries(rows.map(([name, value]) => [name, value]))).toEqual(
      Object.fromEntries(
        Object.entries(timeouts).map(([name, value]) => [
          `\`${name}\``,
          value === false ? '`false`' : `${value / 1000} s`,
        ]),
      ),
    );
    const retries = new Map(
      table('docs/survive-an-outage.md', '| `retry` | default | |').map(([name, value]) => [name, value]),
    );
    expect(retries.get('`maxRetries`')).toBe(String(retry.maxRetries));
    expect(retries.get('`statusCodes`')).toBe(retry.statusCodes.join(', '));
    expect(retries.get('`methods`')).toContain(retry.methods.join(', '));
    expect(retries.get('`maxBodySize`')).toBe("`'1mb'`");
    expect(retries.get('`minTimeout`, `maxTimeout`, `timeoutFactor`')).toBe(
      [retry.minTimeout, retry.maxTimeout, retry.timeoutFactor].map((n) => n.toLocaleString('en-US')).join(', '),
    );
  });

  it('documentation: has every header that is withheld', () => {
    const source = textOf('lib/headers/header-policy.ts');
    const known = (table: string): string[] => {
      const [, list = ''] = new RegExp(`const ${table} = \\[(.*?)\\];`, 's').exec(source) ?? [];
      return [...list.matchAll(/'([^']+)'/g)].map(([, name = '']) => name);
    };
    const named = (header: string): string[] =>
      table('docs/hide-the-key.md', header).flatMap(([names = '']) =>
        [...names.matchAll(/`([^`?]+)`/g)].map(([, name = '']) => name),
      );
    expect(known('PROVIDER_SURROUNDINGS').length).toBeGreaterThan(10);
    expect(named('| not sent to the provider | |')).toEqual([
      ...known('CALLER_CREDENTIALS'),
      ...known('CALLER_SURROUNDINGS'),
    ]);
    expect(named('| not sent to the client | |')).toEqual([...ACCOUNT_HEADERS, ...known('PROVIDER_SURROUNDINGS')]);
  });

  it('documentation: has the versions of Node and Express that the package takes', () => {
    const { engines, peerDependencies } = JSON.parse(textOf('package.json'));
    expect([engines.node, peerDependencies.express]).toEqual(['^22.15.0 || ^24.0.0 || >=26.0.0', '^4.18.0 || ^5.0.0']);
    expect(textOf('README.md')).toMatch(/^Node 22 \(from 22\.15 on\), 24, or 26 and later .*, Express 4\.18 or 5,/m);
  });

  it('documentation: justifies each runtime dependency', () => {
    const { dependencies } = JSON.parse(textOf('package.json')) as { dependencies: object };
    const [, sentence = ''] = /^Runtime dependencies: (.*?)\n\n/ms.exec(textOf('README.md')) ?? [];
    const named = [...sentence.matchAll(/`([a-z-]+)`(?: \(|;)/g)].map(([, name]) => name);
    expect(new Set(named)).toEqual(new Set(Object.keys(dependencies)));
  });

  it('documentation: has every outcome', () => {
    const rows = table('docs/errors.md', '| what happened | the client sees | `summary.outcome` |');
    expect(new Set(rows.map(([, , outcome]) => outcome))).toEqual(
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
});
