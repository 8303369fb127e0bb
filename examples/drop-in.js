// @ts-check
// An app that was written for http-proxy-middleware. Its import used to be
//
//     import { createProxyMiddleware } from 'http-proxy-middleware';
//
// and nothing else has changed: `node examples/drop-in.js`.
import { once } from 'node:events';
import express from 'express';
import { createSseProxy as createProxyMiddleware } from 'express-sse-proxy';
import { startStandIn } from './chat/provider.js';

const standIn = await startStandIn();

const app = express();

app.use(
  '/api/chat',
  createProxyMiddleware({
    target: standIn.url,
    changeOrigin: true,
    pathRewrite: { '^/': '/v1/chat/completions' },
    on: {
      proxyReq(proxyReq) {
        proxyReq.setHeader('authorization', 'Bearer any');
      },
      proxyRes(proxyRes) {
        proxyRes.headers['x-served-by'] = 'drop-in';
      },
    },
  }),
);

const server = app.listen(0, '127.0.0.1');
await once(server, 'listening');

const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
const started = performance.now();
const response = await fetch(`http://127.0.0.1:${port}/api/chat`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ stream: true, max_tokens: 12, messages: [{ role: 'user', content: 'Hello' }] }),
});
const elapsed = () => `${(performance.now() - started).toFixed(0).padStart(5)} ms `;

console.log(elapsed(), response.status, response.headers.get('content-type'));
console.log(elapsed(), 'x-served-by:', response.headers.get('x-served-by'));
let chunks = 0;
const decoder = new TextDecoder();
for await (const chunk of response.body ?? []) {
  chunks += 1;
  console.log(elapsed(), decoder.decode(chunk, { stream: true }).trimEnd());
}
console.log(`${chunks} chunks`);

server.close();
await standIn.close();
