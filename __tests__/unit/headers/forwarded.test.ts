import { describe, expect, it } from '@jest/globals';
import { setForwarded } from '../../../lib/headers/forwarded.js';
import { requestWith, unconnectedRequest } from '../../support/servers/bare-http.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

describe('X-Forwarded', () => {
  async function forwarded(lines: string[]): Promise<Record<string, unknown>> {
    const request = unconnectedRequest();
    setForwarded(request, { req: await requestWith(lines), isForwarded: true });
    const fields = Object.entries(request.getHeaders()).filter(([name]) => name.startsWith('x-forwarded-'));
    return Object.fromEntries(fields);
  }

  it('X-Forwarded-*: headers say who asked for what', async () => {
    expect(await forwarded([])).toEqual({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-port': '80',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'proxy.example',
    });
  });

  it('X-Forwarded-*: For gains the peer: a client cannot hide it', async () => {
    expect(await forwarded(['X-Forwarded-For: 203.0.113.7', 'X-Forwarded-For: 203.0.113.8'])).toMatchObject({
      'x-forwarded-for': '203.0.113.7, 203.0.113.8, 127.0.0.1',
    });
  });

  it('X-Forwarded-*: headers of a proxy in front stay', async () => {
    const request = await forwarded([
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: a.example',
      'X-Forwarded-Port: 8443',
    ]);
    expect(request).toEqual({ 'x-forwarded-for': '127.0.0.1' });
  });

  it('X-Forwarded-*: headers of the client stay as they are where `xfwd` is off', async () => {
    const request = unconnectedRequest();
    setForwarded(request, { req: await requestWith([]), isForwarded: false });
    expect(request.getHeaderNames().filter((name) => name.startsWith('x-forwarded-'))).toEqual([]);
  });
});
