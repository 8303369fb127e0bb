import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { BodyCapture } from '../../../lib/request/body-capture.js';
import { ReplayedBody } from '../../../lib/request/replayed-body.js';
import { readAll, readText } from '../../support/clients/http.js';
import { receive, requestWith } from '../../support/servers/bare-http.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

describe('a copy of what is streamed', () => {
  const LIMIT = 256 * 1024;

  async function streamed(size: number): Promise<{ copy: BodyCapture; sent: Buffer }> {
    const body = 'x'.repeat(size);
    const { req } = await receive(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n${body}`);
    const copy = new BodyCapture(req, LIMIT);
    const sink = req.pipe(new PassThrough());
    return { copy, sent: await readAll(sink) };
  }

  it('body capture: the copy of a stream is whole once all has come, and takes nothing from the stream', async () => {
    const { copy, sent } = await streamed(200_000);
    expect(sent.length).toBe(200_000);
    expect(copy.take()).toEqual(new ReplayedBody(sent, true));
  });

  it('body capture: the copy of a stream is empty where there was no body', async () => {
    const req = await requestWith([]);
    const copy = new BodyCapture(req, LIMIT);
    await finished(req);
    expect(copy.take()).toEqual(new ReplayedBody(Buffer.alloc(0), true));
  });

  it('body capture: the copy of a stream is given up for a large body', async () => {
    const { copy, sent } = await streamed(300_000);
    expect(sent.length).toBe(300_000);
    expect(copy.take()).toBeUndefined();
  });

  it('body capture: the copy of a stream is put back into the stream before all has come', async () => {
    const { req, client } = await receive('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfour');
    const copy = new BodyCapture(req, LIMIT);
    await new Promise((resolve) => req.once('data', resolve));
    expect(copy.take()).toBe('stream');
    client.write(' five');
    expect(await readText(req)).toBe('four five');
  });

  it('body capture: the copy of a stream ends when it is stopped, without a listener left', async () => {
    const req = await requestWith([]);
    const before = req.listenerCount('data');
    const copy = new BodyCapture(req, LIMIT);
    copy.stop();
    copy.stop();
    await finished(req.resume());
    expect(copy.take()).toBeUndefined();
    expect(req.listenerCount('data')).toBe(before);
  });
});
