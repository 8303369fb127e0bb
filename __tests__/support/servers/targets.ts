import type { IncomingMessage, ServerResponse } from 'node:http';
import { readText } from '../clients/http.js';
import { bytesOf, type ProviderAnswer } from '../streams/dialects.js';
import { closedPort } from './listen.js';
import { upstream } from './upstreams.js';

interface Seen {
  url: string | undefined;
  headers: IncomingMessage['headers'];
  body: string;
}

export interface Target {
  url: string;
  seen: Seen[];
}

/** A target that answers every request like this, once it has all of it. */
export async function target(reply: (res: ServerResponse, req: IncomingMessage) => void): Promise<Target> {
  const seen: Seen[] = [];
  const { url } = await upstream(async (req, res) => {
    seen.push({ url: req.url, headers: req.headers, body: await readText(req) });
    reply(res, req);
  });
  return { url, seen };
}

export const goodTarget = (text = 'good'): Promise<Target> => target((res) => res.end(text));

export const badTarget = (statusCode = 503): Promise<Target> =>
  target((res) => res.writeHead(statusCode).end(`bad ${statusCode}`));

export const answeringTarget = (answer: ProviderAnswer): Promise<Target> =>
  target((res) => res.writeHead(200, { 'content-type': answer.contentType }).end(bytesOf(answer.parts)));

export const refusingTarget = async (): Promise<string> => `http://127.0.0.1:${await closedPort()}`;
