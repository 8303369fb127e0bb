// @ts-check
// Heartbeats keep a connection busy while a model thinks: what is on the wire, and what a client makes of it.
// `node examples/heartbeat.js`.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { createParser } from 'eventsource-parser';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';

/** An upstream that thinks before its first token, and once more before its third. */
const upstream = createServer(async (_req, res) => {
  res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
  await delay(500);
  res.write('data: {"token":"Forty"}\n\n');
  await delay(30);
  res.write('data: {"token":"-two"}\n\n');
  await delay(350);
  res.write('data: {"token":"."}\n\n');
  res.end('data: [DONE]\n\n');
});
upstream.listen(0, '127.0.0.1');
await once(upstream, 'listening');
const { port: upstreamPort } = /** @type {import('node:net').AddressInfo} */ (upstream.address());

const app = express();
// Load balancers cut a connection after 30 to 100 seconds of silence. 15 seconds, the default, suits all of them.
app.use(createSseProxy({ target: `http://127.0.0.1:${upstreamPort}`, heartbeat: { interval: 100 } }));

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());

/** @type {string[]} */
const events = [];
const parser = createParser({ onEvent: ({ data }) => events.push(data) });

console.log('on the wire:');
const started = performance.now();
const response = await fetch(`http://127.0.0.1:${port}/`);
const decoder = new TextDecoder();
for await (const bytes of response.body ?? []) {
  const text = decoder.decode(bytes, { stream: true });
  console.log(`${(performance.now() - started).toFixed(0).padStart(5)} ms  ${JSON.stringify(text)}`);
  parser.feed(text);
}

console.log('the events that a client finds in it:');
for (const data of events) console.log(`  ${data}`);

server.close();
upstream.close();
