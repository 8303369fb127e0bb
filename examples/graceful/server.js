// @ts-check
// A server that ends well. At SIGTERM it takes no new requests, lets the running streams finish for a while, cuts the rest,
// and is gone when the last one is accounted for.
import { once } from 'node:events';
import express from 'express';
import { createSseProxy } from 'express-sse-proxy';
import { openai } from 'express-sse-proxy/providers';

const { OPENAI_API_KEY = '', TARGET = 'https://api.openai.com', PORT = '3000', GRACE = '20000' } = process.env;

const proxy = createSseProxy({
  provider: openai({ apiKey: OPENAI_API_KEY, target: TARGET, includeUsage: true }),
  onFinish({ outcome, statusCode, bytes, usage, timings }, { req }) {
    const tokens = usage?.totalTokens ?? '?';
    // Under a router `req.url` is only what is left of the path.
    const { method, originalUrl } = /** @type {import('express').Request} */ (req);
    console.log(
      `${method} ${originalUrl} ${statusCode ?? '-'} ${outcome} ${bytes} B ${tokens} tokens ${Math.round(timings.total)} ms`,
    );
  },
});

const app = express();
app.use('/openai', proxy);

const server = app.listen(Number(PORT), '127.0.0.1');
await once(server, 'listening');
const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
console.log(`listening on http://127.0.0.1:${port}`);

process.once('SIGTERM', async () => {
  // From here on connections are refused; a request that comes on an open one is answered with a 503.
  server.close();
  console.log(`SIGTERM: ${proxy.active} exchanges are running`);
  // Shorter than the time after which the platform kills: 30 s on Kubernetes and Heroku, 10 s with `docker stop`.
  await proxy.drain({ grace: Number(GRACE) });
  // What is left are connections that wait for a request (kept alive, or opened in advance). A process without any ends.
  server.closeAllConnections();
  console.log('drained');
});
