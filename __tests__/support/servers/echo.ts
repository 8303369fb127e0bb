import type http from 'node:http';
import type { IncomingMessage } from 'node:http';
import { expect } from '@jest/globals';
import type { Express } from 'express';
import type { SseProxyOptions } from '../../../lib/index.js';
import { readText, request } from '../clients/http.js';
import { rawClient } from '../clients/raw.js';
import { type ProxyUnderTest, proxyApp } from './proxies.js';
import { rawUpstream, upstream } from './upstreams.js';

export interface Echo {
  url: string;
  headers: http.IncomingHttpHeaders;
  raw: string[];
  body: string;
}

/** A proxy in front of an upstream that answers with what it was sent. */
export async function echoingProxy(
  options: SseProxyOptions = {},
  before?: (app: Express) => void,
): Promise<ProxyUnderTest> {
  const { url } = await upstream(async (req, res) => {
    const echo: Echo = {
      url: req.url ?? '',
      headers: req.headers,
      raw: req.rawHeaders,
      body: await readText(req),
    };
    res.setHeader('content-type', 'application/json').end(JSON.stringify(echo));
  });
  return proxyApp({ target: url, ...options }, before);
}

/** What the upstream receives of a request with these header lines. */
export async function receivedUpstream(
  proxy: ProxyUnderTest,
  fields: string[],
  body = '',
  method = 'POST',
): Promise<Echo> {
  const length = body === '' ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
  const head = [`${method} /path HTTP/1.1`, 'Host: front.example:8080', ...fields, ...length];
  const client = await rawClient(proxy.port);
  client.socket.write(`${head.join('\r\n')}\r\n\r\n${body}`, 'latin1');
  const text = Buffer.from(await client.until('"}'), 'latin1').toString();
  return JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as Echo;
}

/** What the client gets of a response with these header lines. */
export async function answeredWith(
  fields: string[],
  options: SseProxyOptions = {},
  before?: (app: Express) => void,
): Promise<IncomingMessage> {
  const { url } = await rawUpstream((socket) => {
    socket.write(`${['HTTP/1.1 200 OK', ...fields, 'Content-Length: 2'].join('\r\n')}\r\n\r\n{}`, 'latin1');
  });
  const proxy = await proxyApp({ target: url, ...options }, before);
  const response = await request(proxy.url);
  expect(await readText(response)).toBe('{}');
  return response;
}
