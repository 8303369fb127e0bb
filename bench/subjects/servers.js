// @ts-check
// The subjects that run on Node. Each is as its documentation shows it first, but for what its name says.
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';

/** @typedef {import('../../dist/index.js').SseProxyOptions} SseProxyOptions */

/** @type {Record<string, (target: URL) => net.Server | Promise<net.Server>>} */
export const SERVERS = {
  /** Bytes from one socket into another: no proxy can cost less on Node. */
  tcp: ({ hostname, port }) =>
    net.createServer({ noDelay: true }, (client) => {
      const upstream = net.connect({ host: hostname, port: Number(port), noDelay: true });
      client.pipe(upstream).pipe(client);
      client.once('close', () => upstream.destroy()).on('error', () => {});
      upstream.once('close', () => client.destroy()).on('error', () => {});
    }),

  /** What one writes by hand: no check of anything. */
  'node-http': (target) => {
    const { request, Agent } = target.protocol === 'https:' ? https : http;
    const agent = new Agent({ keepAlive: true });
    return http.createServer((req, res) => {
      const { connection: _, ...headers } = req.headers;
      const upstream = request(target, { agent, method: req.method, path: req.url, headers }, (answer) => {
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
        answer.on('error', () => res.destroy());
      });
      upstream.on('error', () => res.destroy());
      res.once('close', () => upstream.destroy());
      req.pipe(upstream);
    });
  },

  hpm: async (target) => {
    const { createProxyMiddleware } = await import('http-proxy-middleware');
    return app(createProxyMiddleware({ target: target.origin, changeOrigin: true }));
  },

  'hpm-unlimited': async (target) => {
    const { createProxyMiddleware } = await import('http-proxy-middleware');
    const { Agent } = target.protocol === 'https:' ? https : http;
    const agent = new Agent({ keepAlive: true });
    return app(createProxyMiddleware({ target: target.origin, changeOrigin: true, agent }));
  },

  'http-proxy-3': async (target) => {
    const { createProxyServer } = await import('http-proxy-3');
    const proxy = createProxyServer({ target: target.origin, changeOrigin: true });
    proxy.on('error', (_error, _req, res) => void res.destroy());
    return http.createServer((req, res) => proxy.web(req, res));
  },

  'express-http-proxy': async (target) => {
    // @ts-expect-error It has no types.
    const { default: proxy } = await import('express-http-proxy');
    return app(proxy(target.origin));
  },

  'fastify-http-proxy': async (target) => {
    const { default: Fastify } = await import('fastify');
    const { default: proxy } = await import('@fastify/http-proxy');
    const fastify = Fastify();
    fastify.register(proxy, { upstream: target.origin });
    await fastify.ready();
    return fastify.server;
  },

  ours: (target) => ours({ target: target.origin }),
  'ours-onEvent': (target) => ours({ target: target.origin, onEvent() {} }),
  'ours-usage': async (target) => ours({ ...(await openai(target)), onUsage() {} }),
  'ours-transformEvent': (target) => ours({ target: target.origin, transformEvent() {} }),
  'ours-heartbeat': (target) => ours({ target: target.origin, heartbeat: {} }),
};

/** @param {import('express').RequestHandler} middleware */
async function app(middleware) {
  const { default: express } = await import('express');
  return http.createServer(express().use(middleware));
}

/** @param {SseProxyOptions} options */
async function ours(options) {
  const { createSseProxy } = await import('../../dist/index.js');
  return app(createSseProxy(options));
}

/** @param {URL} target */
async function openai({ origin }) {
  const { openai } = await import('../../dist/providers/index.js');
  return { provider: openai({ target: origin, apiKey: 'sk-secret' }) };
}
