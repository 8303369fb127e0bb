// @ts-check
/** The proxy in two workers. Prints its port, and the outcome of each exchange; ends on SIGTERM when its streams have. */
import cluster from 'node:cluster';
import http from 'node:http';
import { createSseProxy } from 'express-sse-proxy';

if (cluster.isPrimary) {
  const workers = [cluster.fork(), cluster.fork()];
  let listening = 0;
  cluster.on('listening', (_worker, { port }) => {
    listening += 1;
    if (listening === workers.length) console.log(`listening on ${port}`);
  });
  process.once('SIGTERM', () => {
    console.log('leaving');
    cluster.disconnect();
  });
} else {
  const proxy = createSseProxy({
    ...JSON.parse(process.env.OPTIONS ?? '{}'),
    onFinish: ({ outcome }) => console.log(outcome),
  });
  const server = http.createServer((req, res) => {
    res.setHeader('x-worker', process.pid);
    proxy(req, res);
  });
  server.listen(0, '127.0.0.1');
}
