import '../../support/streams/fast-path-on.js';
import type { IncomingMessage } from 'node:http';
import { finished } from 'node:stream/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { takeWhole } from '../../../lib/request/read-body.js';
import { receive, requestWith, unconnectedRequest } from '../../support/servers/bare-http.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

describe('takeWhole', () => {
  it('takeWhole: takes a body that has come in several reads', async () => {
    const req = await requestWith(['Content-Length: 8'], 'POST');
    req.push('two ');
    req.push('bits');
    expect(String(takeWhole(req)?.bytes)).toBe('two bits');
  });

  /** A request whose body has come as far as this. */
  async function arrived(lines: readonly string[], body: string): Promise<IncomingMessage> {
    const { req } = await receive(`POST / HTTP/1.1\r\nHost: x\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
    return req;
  }

  it('takeWhole: takes what is all there, and the request ends', async () => {
    const req = await arrived(['Content-Length: 4'], 'body');
    const ended = finished(req);
    expect(String(takeWhole(req)?.bytes)).toBe('body');
    await ended;
  });

  it('takeWhole: takes it in the coding in which it came', async () => {
    const req = await arrived(['Content-Length: 4', 'Content-Encoding: gzip'], 'body');
    expect(takeWhole(req)?.encoded).toBe(true);
  });

  it.each([
    ['has not come to its end', ['Content-Length: 5'], 'body'],
    ['is chunked, and goes on so', ['Transfer-Encoding: chunked'], '4\r\nbody\r\n0\r\n\r\n'],
    ['is empty', ['Content-Length: 0'], ''],
    ['is not there', [], ''],
  ])('takeWhole: leaves alone what %s', async (_what, lines, body) => {
    const req = await arrived(lines, body);
    expect(takeWhole(req)).toBeUndefined();
    expect(req.readableDidRead).toBe(false);
  });

  it.each<[string, (req: IncomingMessage) => unknown]>([
    ['listens to it', (req) => req.on('data', () => {})],
    ['waits for it', (req) => req.on('readable', () => {})],
    ['has paused it', (req) => req.pause()],
    ['wants text', (req) => req.setEncoding('utf8')],
  ])('takeWhole: leaves alone what somebody else %s', async (_what, read) => {
    const req = await arrived(['Content-Length: 4'], 'body');
    read(req);
    expect(takeWhole(req)).toBeUndefined();
  });

  it('takeWhole: takes it up to a limit', async () => {
    const req = await arrived(['Content-Length: 4'], 'body');
    expect(takeWhole(req, 3)).toBeUndefined();
    expect(String(takeWhole(req, 4)?.bytes)).toBe('body');
  });

  it('takeWhole: is sent in one piece', async () => {
    const request = unconnectedRequest({ method: 'POST', headers: { 'content-length': 4 } });
    const body = takeWhole(await arrived(['Content-Length: 4'], 'body'));
    expect(body?.toSource(1).pipe(request)).toBe(request);
    expect(request.writableEnded).toBe(true);
  });
});
