// @ts-check
// The smallest proxy, and what curl sees of it: `node examples/curl.js`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';
import { startStandIn } from './chat/provider.js';

const standIn = await startStandIn();

const app = express();
app.use('/openai', createSseProxy({ target: standIn.url }));

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');

const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
const url = `http://127.0.0.1:${port}/openai/v1/chat/completions`;
const headers = { authorization: 'Bearer any', 'content-type': 'application/json' };
const body = JSON.stringify({ stream: true, max_tokens: 12, messages: [{ role: 'user', content: 'Hello' }] });

const flags = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
const args = ['--no-buffer', '--silent', '--show-error', url, ...flags, '-d', body];
console.log(`curl ${args.map((arg) => (/[^\w:/.-]/.test(arg) ? `'${arg}'` : arg)).join(' ')}\n`);

const started = performance.now();
for await (const line of createInterface({ input: await curl() })) {
  if (line !== '') console.log(`${(performance.now() - started).toFixed(0).padStart(5)} ms  ${line}`);
}

server.close();
await standIn.close();

/** The output of curl, or of fetch() where there is no curl. */
async function curl() {
  const child = spawn('curl', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(child, 'spawn');
    return child.stdout;
  } catch {
    const response = await fetch(url, { method: 'POST', headers, body });
    if (!response.body) throw new Error(`No body: ${response.status}`);
    return Readable.fromWeb(/** @type {import('node:stream/web').ReadableStream} */ (response.body));
  }
}
