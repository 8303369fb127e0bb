// @ts-check
// SIGTERM with open streams: what their clients see, and the server's account of each. `node examples/graceful.js`.
// The server is graceful/server.js.
import { spawn } from 'node:child_process';
import { on, once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startStandIn } from './chat/provider.js';

const standIn = await startStandIn({ apiKey: 'sk-secret' });

const child = spawn(process.execPath, [fileURLToPath(new URL('graceful/server.js', import.meta.url))], {
  env: { ...process.env, OPENAI_API_KEY: 'sk-secret', TARGET: standIn.url, PORT: '0', GRACE: '1500' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const exited = once(child, 'close');
const lines = createInterface({ input: child.stdout });
lines.on('line', (line) => console.log(`server   ${line}`));
const url = `${(await line('listening on ')).replace('listening on ', '')}/openai/v1/chat/completions`;

// Some end within the grace period, some would take longer.
const streams = [];
for (const maxTokens of [6, 12, 1000, 18, 1000]) streams.push(await open(streams.length + 1, maxTokens));

child.kill('SIGTERM');
await line('SIGTERM');
await fetch(`${url}?stream=late`).then(
  (response) => console.log(`client   late: ${response.status}`),
  (error) => console.log(`client   late: ${error.cause.code}`),
);

await Promise.all(streams.map(read));
const [code] = await exited;
console.log(`the server has exited with code ${code}`);
await standIn.close();

/**
 * The server's next line that begins so.
 *
 * @param {string} start
 * @returns {Promise<string>}
 */
async function line(start) {
  for await (const [text] of on(lines, 'line', { close: ['close'] })) if (text.startsWith(start)) return text;
  throw new Error('The server has ended.');
}

/** @typedef {{ name: number, response: Response }} Stream */

/**
 * Resolves when the head of the stream is there.
 *
 * @param {number} name
 * @param {number} maxTokens
 * @returns {Promise<Stream>}
 */
async function open(name, maxTokens) {
  const messages = [{ role: 'user', content: 'Hello' }];
  const response = await fetch(`${url}?stream=${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ stream: true, max_tokens: maxTokens, messages }),
  });
  return { name, response };
}

/** @param {Stream} stream */
async function read({ name, response }) {
  const decoder = new TextDecoder();
  let text = '';
  try {
    for await (const bytes of response.body ?? []) text += decoder.decode(bytes, { stream: true });
    console.log(`client   ${name}: whole, ${text.length} characters, the last event: ${lastEvent(text)}`);
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    console.log(`client   ${name}: broken off (${message}), the last event: ${lastEvent(text)}`);
  }
}

/** @param {string} text */
function lastEvent(text) {
  return text.trimEnd().split('\n\n').at(-1);
}
