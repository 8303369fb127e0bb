import { once } from 'node:events';
import http, { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { expect } from '@jest/globals';
import type { SseProxyErrorCode } from '../../../lib/index.js';
import { onCleanUp } from '../watch/clean-up.js';

/** A plain request with `node:http`; resolves with the head, the body still to come. */
export async function request(
  url: string,
  options: http.RequestOptions & { body?: string | Uint8Array } = {},
): Promise<IncomingMessage> {
  const { body, ...rest } = options;
  const req = http.request(url, { agent: false, ...rest });
  req.end(body);
  const [response] = (await once(req, 'response')) as [IncomingMessage];
  return response;
}

/** The whole body; rejects where it was cut. */
export async function readAll(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Buffer));
  return Buffer.concat(chunks);
}

/** The same as text. */
export async function readText(stream: NodeJS.ReadableStream): Promise<string> {
  return (await readAll(stream)).toString();
}

/** What the body brought, and whether it was cut: for tests of truncation. */
export async function readUntilCut(stream: IncomingMessage): Promise<{ body: Buffer; cut: boolean }> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream) chunks.push(Buffer.from(chunk as Buffer));
    return { body: Buffer.concat(chunks), cut: !stream.complete };
  } catch {
    return { body: Buffer.concat(chunks), cut: true };
  }
}

/** Reads an open stream piece by piece: `next()` resolves with the bytes that came since. */
export function reader(stream: NodeJS.ReadableStream): { until(text: string): Promise<string> } {
  let buffered = '';
  let wake: (() => void) | undefined;
  stream.on('data', (chunk: Buffer) => {
    buffered += chunk.toString('latin1');
    wake?.();
  });
  stream.on('error', () => wake?.());
  return {
    /** Resolves with everything up to and including `text`; what follows is kept. */
    async until(text) {
      while (!buffered.includes(text)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const end = buffered.indexOf(text) + text.length;
      const found = buffered.slice(0, end);
      buffered = buffered.slice(end);
      return found;
    },
  };
}

/** A request that the test may leave half-way: its errors are expected. */
export function openRequest(url: string, options: http.RequestOptions = {}): ClientRequest {
  const req = http.request(url, { agent: false, ...options });
  req.on('error', () => {});
  onCleanUp(() => {
    req.destroy();
  });
  return req;
}

export async function responseTo(req: ClientRequest): Promise<IncomingMessage> {
  const [response] = await once(req, 'response');
  response.on('error', () => {});
  return response;
}

/** A keep-alive agent that the test's end closes. */
export function keepAliveAgent(maxSockets = 64): http.Agent {
  const agent = new http.Agent({ keepAlive: true, maxSockets });
  onCleanUp(() => agent.destroy());
  return agent;
}

/** A request that has ended: status, headers and the whole body as text. */
export async function exchange(
  url: string,
  options: http.RequestOptions & { body?: string | Uint8Array } = {},
): Promise<{ status: number | undefined; reason: string | undefined; headers: IncomingHttpHeaders; body: string }> {
  const response = await request(url, options);
  const body = await readText(response);
  return { status: response.statusCode, reason: response.statusMessage, headers: response.headers, body };
}

export async function expectErrorResponse(
  response: IncomingMessage,
  status: number,
  code: SseProxyErrorCode,
): Promise<void> {
  expect(response.statusCode).toBe(status);
  expect(JSON.parse(await readText(response)).error).toMatchObject({ code, message: expect.any(String) });
}
