/** The code blocks of the documentation, and what those that are programs run with. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from '@jest/globals';
import { readText } from '../clients/http.js';
import { eventStream, type PendingRequest } from '../servers/upstreams.js';
import { onCleanUp } from '../watch/clean-up.js';
import { Queue } from '../watch/wait.js';
import { stop } from './run.js';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** The pages that people write, from the root of the repository. */
export const PAGES = [
  'README.md',
  'SECURITY.md',
  '__tests__/README.md',
  'CHANGELOG.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'CODE_OF_CONDUCT.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

export const textOf = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

export interface Block {
  /** Where it is: `docs/deploy.md, nginx: nginx`; with a number where the heading has several of the language. */
  title: string;
  language: string;
  code: string;
}

export const BLOCKS: readonly Block[] = PAGES.flatMap(blocksOf);

function blocksOf(page: string): Block[] {
  const titles = new Map<string, number>();
  const blocks: Block[] = [];
  let heading = '';
  let block: Block | undefined;
  for (const line of textOf(page).split('\n')) {
    const [, level, text = ''] = /^(#+|```) ?(.*)$/.exec(line) ?? [];
    if (level === '```' && block === undefined) {
      const place = `${page}, ${heading}: ${text}`;
      const count = (titles.get(place) ?? 0) + 1;
      titles.set(place, count);
      block = { title: count === 1 ? place : `${place} ${count}`, language: text, code: '' };
    } else if (block === undefined) {
      // What is fenced in another way would not be found.
      if (/^\s*(```|~~~)/.test(line)) throw new Error(`${page} has a block that is fenced in another way: ${line}`);
      if (level !== undefined) heading = text;
    } else if (line === '```') {
      blocks.push(block);
      block = undefined;
    } else {
      block.code += `${line}\n`;
    }
  }
  if (block !== undefined) throw new Error(`${block.title} does not end`);
  return blocks;
}

export function codeOf(title: string): string {
  const block = BLOCKS.find((block) => block.title === title);
  if (block === undefined) throw new Error(`There is no block ${title}`);
  return block.code;
}

/** Blocks whose programs are only where the system tests run. */
export function needsSystem({ language, code }: Block): boolean {
  return ['nginx', 'haproxy', 'caddyfile'].includes(language) || (language === 'sh' && code.startsWith('curl '));
}

/** With this in the place of `what`, which must be there. */
export function replaced(code: string, what: string, by: string): string {
  if (!code.includes(what)) throw new Error(`There is no ${what} in ${code}`);
  return code.replaceAll(what, by);
}

/** A folder with these files, in which the package and what is installed beside it are found by name, as in a user's project. */
export async function project(files: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'express-sse-proxy-docs-'));
  onCleanUp(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, 'node_modules'));
  await symlink(ROOT, join(folder, 'node_modules/express-sse-proxy'));
  for (const name of ['express', 'supertest']) {
    await symlink(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}

export interface Program {
  url: string;
  port: number;
  /** The lines of its standard output. */
  printed: Queue<string>;
  /** Ends it; resolves with its standard error. */
  stopped(): Promise<string>;
}

/** A program that has `openai()`, with a stand-in for the API. */
export function withStandIn(code: string, target: string): string {
  return replaced(code, 'openai({ ', `openai({ target: '${target}', `);
}

/** Runs a program that listens on port 3000, on a free port, by this command. */
export async function start(code: string, command = 'node app.mjs'): Promise<Program> {
  const [, name = '', value, file = ''] = /^(?:(\w+)=(\S+) )?node (\S+)\n?$/.exec(command) ?? [];
  const listening = `const server = app.listen(0, '127.0.0.1');
server.once('listening', () => console.log(server.address().port));`;
  const program = replaced(code, 'app.listen(3000);', listening);
  // As `npm init` makes it.
  const cwd = await project({ 'package.json': '{ "type": "commonjs" }', [file]: program });
  const child = spawn(process.execPath, [file], {
    cwd,
    env: { ...process.env, OPENAI_API_KEY: 'sk-test', [name]: value },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onCleanUp(() => stop(child));
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const printed = new Queue<string>();
  createInterface({ input: child.stdout }).on('line', (line) => printed.push(line));
  const died = once(child, 'close').then(() => {
    throw new Error(`${command} has ended: ${errors}`);
  });
  died.catch(() => {});
  const port = Number(await Promise.race([printed.next(), died]));
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    printed,
    async stopped() {
      await stop(child);
      return errors;
    },
  };
}

const chunk = (members: object): string =>
  `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', model: 'gpt-5-mini', ...members })}\n\n`;

export const tokenEvent = (content: string): string => chunk({ choices: [{ index: 0, delta: { content } }] });

const STOP = chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });

/** It comes only where it is asked for, by the client or by `includeUsage`. */
const USAGE = chunk({ choices: [], usage: { prompt_tokens: 12, completion_tokens: 345, total_tokens: 357 } });

export const DONE = 'data: [DONE]\n\n';

/** What the API is asked. */
export interface ChatRequest {
  stream_options?: { include_usage: boolean };
}

/**
 * Answers a chat completion: each event is sent when the client has the last. `until` is the client's.
 *
 * @returns what was asked for
 */
export async function tokenByToken(
  { req, res }: Pick<PendingRequest, 'req' | 'res'>,
  read: Promise<{ until(text: string): Promise<string> }>,
): Promise<ChatRequest> {
  const body: ChatRequest = JSON.parse(await readText(req));
  eventStream(res);
  const { until } = await read;
  for (const event of [tokenEvent('One'), tokenEvent(' two'), STOP]) {
    res.write(event);
    expect(await until(event)).toContain(event);
  }
  res.end(body.stream_options?.include_usage ? USAGE + DONE : DONE);
  // The client has not asked for the usage.
  expect(await until(DONE)).toBe(DONE);
  return body;
}
