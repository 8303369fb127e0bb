import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import { closeAll, eventStream, proxyApp, reader, request, upstream } from './support/servers.js';

afterEach(closeAll);

describe('an event stream', () => {
  it('sends the head before the first byte of the body', async () => {
    let release = (_res: ServerResponse): void => {};
    const silent = new Promise<ServerResponse>((resolve) => {
      release = resolve;
    });
    const { url } = await upstream((_req, res) => release(eventStream(res)));
    const proxy = await proxyApp({ target: url });

    const response = await request(proxy.url);
    expect(response.statusCode).toBe(200);
    (await silent).end('data: 1\n\n');
    expect(await reader(response).until('\n\n')).toBe('data: 1\n\n');
    await once(response, 'end');
  });

  it('delivers each event before the upstream sends the next', async () => {
    let res: ServerResponse | undefined;
    const { url } = await upstream((_req, response) => {
      res = eventStream(response);
    });
    const proxy = await proxyApp({ target: url });
    const events = reader(await request(proxy.url));
    for (let i = 0; i < 50; i += 1) {
      res?.write(`data: ${i}\n\n`);
      expect(await events.until('\n\n')).toBe(`data: ${i}\n\n`);
    }
    res?.end();
    expect((await proxy.summary()).outcome).toBe('completed');
  });
});
