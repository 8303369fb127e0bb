/** Clients for either version of HTTP, and how they begin and read a stream wherever the proxy runs. */

import { once } from 'node:events';
import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type { Duplex, Readable } from 'node:stream';
import { expect } from '@jest/globals';
import { eventStream, type PendingRequest } from '../servers/upstreams.js';
import { onCleanUp } from '../watch/clean-up.js';
import type { Queue } from '../watch/wait.js';
import { reader } from './http.js';

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = http2.constants;

/** What a client asks for: by default `GET /`. */
export interface Question {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** An answer whose head has come. */
export interface Answer {
  status: number | undefined;
  headers: IncomingHttpHeaders;
  /** Resolves with everything up to and including this text; what follows is kept. */
  until(text: string): Promise<string>;
  /** Resolves with the whole body when it has ended, and whether it was cut. */
  ended(): Promise<{ text: string; cut: boolean }>;
  /** Leaves, in the middle of it. */
  leave(): void;
}

export type Ask = (question?: Question) => Promise<Answer>;

/** A client that has a connection of HTTP/1.1 for each question. */
export function http1Asker(connect: () => Duplex): Ask {
  return async ({ body, ...question } = {}) => {
    const req = http.request({ ...question, createConnection: connect });
    onCleanUp(() => void req.destroy());
    req.end(body);
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    const leave = (): void => void response.destroy();
    return answerOf(response, response.statusCode, response.headers, () => !response.complete, leave);
  };
}

/** A client that has a session of HTTP/2 for each question. */
export function http2Asker(connect: () => Duplex): Ask {
  return async ({ method = 'GET', path = '/', headers, body } = {}) => {
    const session = http2.connect('https://localhost', { createConnection: connect });
    session.on('error', () => {});
    onCleanUp(() => session.destroy());
    const stream = session.request({ ...headers, ':method': method, ':path': path }, { endStream: body === undefined });
    if (body !== undefined) stream.end(body);
    const [head] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
    const isCut = (): boolean => stream.rstCode !== NGHTTP2_NO_ERROR;
    return answerOf(stream, Number(head[':status']), head, isCut, () => stream.close(NGHTTP2_CANCEL));
  };
}

function answerOf(
  body: Readable,
  status: number | undefined,
  headers: IncomingHttpHeaders,
  isCut: () => boolean,
  leave: () => void,
): Answer {
  let text = '';
  body.on('data', (chunk) => {
    text += chunk;
  });
  const closed = new Promise<void>((resolve) => void body.once('close', resolve));
  return {
    status,
    headers,
    until: reader(body).until,
    async ended() {
      await closed;
      return { text, cut: isCut() };
    },
    leave,
  };
}

/** For a stream, as a browser asks: what may be compressed would be. */
export const QUESTION = { path: '/stream', headers: { 'accept-encoding': 'gzip' } } satisfies Question;

/** A stream that has begun: what the client got of it, and what the upstream writes it with. */
export type Begun = { answer: Answer } & PendingRequest;

/** Resolves with the head, which comes before the first event is made. */
export async function begin(ask: Ask, requests: Queue<PendingRequest>, path = QUESTION.path): Promise<Begun> {
  const asked = ask({ ...QUESTION, path });
  const received = await requests.next();
  eventStream(received.res);
  return { answer: await asked, ...received };
}

/** Resolves with the first event. Over HTTP/2, nginx has the head wait for it in TLS's buffer. */
export async function beginWithEvent(ask: Ask, requests: Queue<PendingRequest>): Promise<Begun> {
  const asked = ask(QUESTION);
  const received = await requests.next();
  eventStream(received.res).write('data: first\n\n');
  const answer = await asked;
  expect(await answer.until('data: first\n\n')).toBe('data: first\n\n');
  return { answer, ...received };
}

/** Each event is made when the client has the last. */
export async function expectOneByOne(answer: Answer, res: ServerResponse, event = 'data: #\n\n'): Promise<void> {
  for (let i = 0; i < 50; i += 1) {
    const next = event.replace('#', String(i));
    res.write(next);
    expect(await answer.until(next)).toBe(next);
  }
}
