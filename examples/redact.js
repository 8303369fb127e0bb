// @ts-check
// E-mail addresses are masked on their way to the client, also where one is split over several tokens:
// `node examples/redact.js`. How that is done is in redact/mask.js.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';
import { maskAddresses } from './redact/mask.js';

// Two answers at once (`n: 2`). A `|` is where one token ends and the next one begins.
const ANSWERS = [
  'Write| to| mar|ia.lop|ez|@exam|ple|.org|,| or| see| @maria| online|.',
  'It| is| js|@|x.co|.|uk|.| Or| express@5|.3|?| bob|@example.com',
].map((answer) => answer.split('|'));

/** An upstream that sends one token per event, the answers by turns. */
const upstream = createServer(async (_req, res) => {
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  for (let i = 0; i <= Math.max(...ANSWERS.map((tokens) => tokens.length)); i += 1) {
    for (const [index, tokens] of ANSWERS.entries()) {
      if (i < tokens.length) res.write(chunk({ index, delta: { content: tokens[i] }, finish_reason: null }));
      if (i === tokens.length) res.write(chunk({ index, delta: {}, finish_reason: 'stop' }));
      await delay(5);
    }
  }
  res.end('data: [DONE]\n\n');
});
const upstreamUrl = await listen(upstream);

const app = express();
app.use(
  '/openai',
  createSseProxy({
    target: upstreamUrl,
    transformEvent: maskAddresses,
    // By default an upstream that sends `Cache-Control: no-transform` has its streams passed on as they are.
    noTransform: 'ignore',
  }),
);
// This is for event streams only: an app that masks must not let clients have plain JSON answers, or mask those as well.
const server = createServer(app);
const proxyUrl = await listen(server);

const sent = await read(`${upstreamUrl}/v1/chat/completions`);
const received = await read(`${proxyUrl}/openai/v1/chat/completions`);

console.log(row('choice', 'the upstream sent', 'the client got'));
for (const [i, { index, content }] of sent.entries()) {
  console.log(row(`${index}`, JSON.stringify(content), JSON.stringify(received[i]?.content)));
}
for (const index of ANSWERS.keys()) {
  console.log(`\nchoice ${index}, the upstream sent: ${textOf(sent, index)}`);
  console.log(`choice ${index}, the client got:    ${textOf(received, index)}`);
}

server.close();
upstream.close();

/** @typedef {{ index: number, content: string }} Piece */

/** @param {object} choice */
function chunk(choice) {
  return `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', choices: [choice] })}\n\n`;
}

/**
 * @param {string} url
 * @returns {Promise<Piece[]>}
 */
async function read(url) {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify({ stream: true, n: 2 }) });
  const events = (await response.text()).split('\n\n').map((event) => event.replace(/^data: /, ''));
  return events
    .filter((data) => data !== '' && data !== '[DONE]')
    .flatMap((data) => JSON.parse(data).choices)
    .map(({ index, delta }) => ({ index, content: delta.content ?? '' }));
}

/**
 * @param {Piece[]} pieces
 * @param {number} index
 */
function textOf(pieces, index) {
  return pieces.map((piece) => (piece.index === index ? piece.content : '')).join('');
}

/** @param {string[]} cells */
function row(...cells) {
  return cells
    .map((cell, i) => cell.padEnd(i === 0 ? 8 : 22))
    .join('')
    .trimEnd();
}

/** @param {import('node:http').Server} server */
async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
}
